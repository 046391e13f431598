#include "transports/ncclnet/wire.h"

#include <algorithm>
#include <array>
#include <utility>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "src/base/random.h"
#include "transports/ncclnet/words.h"

namespace tutti::ncclnet {

namespace {

constexpr double kBytesPerSecondGuess = 2.5e9;
constexpr Nanoseconds kLastBodiesLimit = std::chrono::seconds(1);
// Since anything has moved. Longer between two payloads are networks so slow that what the system keeps is enough.
constexpr Nanoseconds kAwakeLimit = std::chrono::milliseconds(1);
// Of the software on both sides; a device's own comes to it.
constexpr Nanoseconds kLatencyGuess = std::chrono::microseconds(10);

}  // namespace

// ---- Port

NcclnetPort::NcclnetPort(NcclnetWire& wire, fabric::PortUser& user, std::uint64_t key)
    : PullPort(user, key),
      wire_(wire),
      sender_(wire.plugin_, wire.device_.index, kPlacesMax),
      receiver_(wire.plugin_, wire.device_.index, kPlacesMax),
      body_sender_(wire.plugin_, wire.device_.index, 1),
      body_receiver_(wire.plugin_, wire.device_.index, 1) {
  wire_.ports_.push_back(this);
}

NcclnetPort::~NcclnetPort() {
  close();
  tear_down();
  std::erase(wire_.closing_, this);
}

Status NcclnetPort::listen() {
  TUTTI_RETURN_IF_ERROR(receiver_.listen());
  TUTTI_RETURN_IF_ERROR(body_receiver_.listen());
  ByteWriter<std::vector<std::byte>> out;
  out.put(key());
  out.put(std::span<const std::byte>(receiver_.handle().bytes));
  out.put(std::span<const std::byte>(body_receiver_.handle().bytes));
  address_ = out.take();
  return {};
}

Status NcclnetPort::connect(std::span<const std::byte> peer_address) {
  if (peer_address.size() != address_.size())
    return {Code::invalid, format("{} bytes are no address of {}", peer_address.size(), wire_.limits_.library)};
  const auto handles = peer_address.subspan(sizeof(std::uint64_t));
  sender_.start(handles.first(kHandleBytes));
  body_sender_.start(handles.subspan(kHandleBytes));
  greet(load_little_endian<std::uint64_t>(peer_address.data()));
  return {};
}

bool NcclnetPort::has_moved(Step step, const Connection& its) {
  if (step == Step::failed && broken_.empty()) {
    broken_ = its.words();
    broken_at_ = monotonic_now();
  }
  return step == Step::moved;
}

// A process that has ended may have sent payloads before, and taken some, which shows later than its end on another
// connection: the port fails once nothing more can come of the connections for bodies.
void NcclnetPort::look_at_failure() {
  if (broken_.empty() || !may_move()) return;
  const auto is_idle = [](const Connection& its) { return its.under_way() == 0 || !its.words().empty(); };
  const bool is_over = monotonic_now() - broken_at_ >= kLastBodiesLimit;
  if (is_over || (is_idle(body_receiver_) && is_idle(body_sender_))) fail(broken_);
}

bool NcclnetPort::say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) {
  return may_send() && has_moved(sender_.send(first, {body, bytes}), sender_);
}

// NCCL's interface knows no const.
bool NcclnetPort::send_body(std::uint64_t, const std::byte* body, std::size_t bytes, std::uint64_t cookie) {
  return may_send() && has_shown_key_ &&
         has_moved(body_sender_.lend(const_cast<std::byte*>(body), bytes, cookie), body_sender_);
}

bool NcclnetPort::take_body(std::uint64_t, std::byte* target, std::size_t bytes, std::uint64_t token) {
  return may_move() && has_moved(body_receiver_.lend(target, bytes, token), body_receiver_);
}

std::size_t NcclnetPort::progress() {
  std::size_t moved = come_together();
  if (receiver_.is_connected()) moved += take_messages();
  if (body_receiver_.is_connected()) moved += take_bodies();
  moved += finish_sends();
  look_at_failure();
  if (may_send() && sender_.is_connected()) static_cast<void>(flush());
  return moved;
}

bool NcclnetPort::has_news() {
  if (!may_move()) return false;
  const std::array<Connection*, 4> all = {&receiver_, &sender_, &body_receiver_, &body_sender_};
  return std::any_of(all.begin(), all.end(), [](Connection* its) { return its->look() != Step::nothing; });
}

std::size_t NcclnetPort::come_together() {
  std::size_t moved = 0;
  for (Sender* const its : {&sender_, &body_sender_}) {
    if (may_send() && !its->is_connected()) moved += has_moved(its->connect(), *its) ? 1 : 0;
  }
  for (Receiver* const its : {&receiver_, &body_receiver_}) {
    if (may_move() && !its->is_connected()) moved += has_moved(its->accept(), *its) ? 1 : 0;
  }
  if (may_send() && !has_shown_key_) {
    std::array<std::byte, sizeof(std::uint64_t)> said;
    store_little_endian(said.data(), peer_key());
    has_shown_key_ = has_moved(body_sender_.send(said, {}), body_sender_);
  }
  return moved;
}

std::size_t NcclnetPort::take_messages() {
  std::size_t moved = 0;
  Arrival arrival;
  while (may_move() && moved < kPlacesMax && has_moved(receiver_.receive(arrival), receiver_)) {
    ++moved;
    if (!hear(arrival.message, *wire_.user_))
      fail(format("{} bytes came without the key of the link: not from the peer, or not what it sent",
                  arrival.message.size()));
    receiver_.give_back();
  }
  return moved;
}

void NcclnetPort::check_key(std::span<const std::byte> said) {
  are_bodies_the_peers_ =
      said.size() == sizeof(std::uint64_t) && load_little_endian<std::uint64_t>(said.data()) == key();
  if (!are_bodies_the_peers_)
    fail(format("a connection for payloads came with {} bytes that are not the key of the link: not from the peer",
                said.size()));
}

std::size_t NcclnetPort::take_bodies() {
  std::size_t moved = 0;
  Arrival arrival;
  while (may_move() && has_moved(body_receiver_.receive(arrival), body_receiver_)) {
    ++moved;
    arrival.is_body ? body_taken(arrival.tag) : check_key(arrival.message);
  }
  return moved;
}

std::size_t NcclnetPort::finish_sends() {
  std::size_t moved = 0;
  Sent sent;
  while (may_move() && has_moved(sender_.finish(sent), sender_)) ++moved;
  while (may_move() && has_moved(body_sender_.finish(sent), body_sender_)) {
    ++moved;
    if (sent.is_body) body_sent(sent.tag);
  }
  return moved;
}

void NcclnetPort::fail(const std::string& words) {
  if (is_closing_ || std::exchange(has_failed_, true)) return;
  wire_.failed_.emplace_back(this, words);
}

void NcclnetPort::close() {
  if (std::exchange(is_closing_, true)) return;
  std::erase_if(wire_.failed_, [this](const auto& each) { return each.first == this; });
  std::erase(wire_.ports_, this);
  wire_.closing_.push_back(this);
  abandon();
}

// Whoever may still be written to is closed first.
void NcclnetPort::tear_down() {
  body_receiver_.close();
  body_sender_.close();
  receiver_.close();
  sender_.close();
  is_torn_down_ = true;
  if (const std::string why = unreleased(); !why.empty()) wire_.plugin_.distrust(why);
}

std::string NcclnetPort::unreleased() const {
  return body_receiver_.refusal().empty() ? body_sender_.refusal() : body_receiver_.refusal();
}

// ---- Wire

NcclnetWire::NcclnetWire(Plugin& plugin, Device device, Log log)
    : plugin_(plugin), device_(std::move(device)), log_(std::move(log)) {
  limits_.name = "ncclnet";
  limits_.device = device_.name;
  limits_.library = format("{}, device {}", plugin_.describe(), device_.name);
  // Which version of the interface a process has of a plug-in makes no difference on the wire.
  limits_.kind = format("ncclnet 2 {}", plugin_.name());
  limits_.small_bytes_max = kSmallBytesMax;
  limits_.large_bytes_max = kLargeBytesMax;
  limits_.bytes_per_second = device_.bytes_per_second > 0 ? device_.bytes_per_second : kBytesPerSecondGuess;
  limits_.latency = kLatencyGuess + device_.latency;
  write_words(log_);
}

Result<std::unique_ptr<fabric::Port>> NcclnetWire::open(fabric::PortUser& user) {
  if (const std::string why = plugin_.distrusted(); !why.empty()) {
    return Status(Code::unsupported, format("{} is not used any more by this process, since it has not let go of "
                                            "memory: {}",
                                            plugin_.describe(), why));
  }
  std::array<std::byte, sizeof(std::uint64_t)> random{};
  TUTTI_RETURN_IF_ERROR(secure_random(random));
  auto port = std::make_unique<NcclnetPort>(*this, user, load_little_endian<std::uint64_t>(random.data()));
  TUTTI_RETURN_IF_ERROR(port->listen());
  return std::unique_ptr<fabric::Port>(std::move(port));
}

// Ports close, and are opened, by what their users do: the list may change while it is walked.
std::size_t NcclnetWire::progress() {
  std::size_t moved = 0;
  for (std::size_t i = 0; i < ports_.size(); ++i) moved += ports_[i]->progress();
  const auto failed = std::exchange(failed_, {});
  for (const auto& [port, words] : failed) port->report(words);
  for (NcclnetPort* const port : std::exchange(closing_, {})) port->tear_down();
  write_words(log_);
  if (moved > 0) moved_at_ = monotonic_now();
  return moved + failed.size();
}

// With nothing to sleep on, what has come until now has to be asked for. A plug-in may move something only while it
// is asked: so nobody sleeps while payloads go fast.
bool NcclnetWire::prepare_wait() {
  const auto has_news = [](NcclnetPort* port) { return port->has_news(); };
  if (!failed_.empty() || !closing_.empty() || std::any_of(ports_.begin(), ports_.end(), has_news)) return false;
  const auto has_bodies = [](const NcclnetPort* port) { return port->has_bodies_under_way(); };
  return monotonic_now() - moved_at_ >= kAwakeLimit || std::none_of(ports_.begin(), ports_.end(), has_bodies);
}

}  // namespace tutti::ncclnet
