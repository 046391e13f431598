#include "transports/ncclnet/wire.h"

#include <algorithm>
#include <utility>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "src/base/random.h"
#include "transports/ncclnet/words.h"

namespace tutti::ncclnet {

namespace {

constexpr std::size_t kSmallBytesMax = 16 << 10;
constexpr std::size_t kLargeBytesMax = 4 << 20;
constexpr double kBytesPerSecondGuess = 2.5e9;
// Of the software on both sides; a device's own comes to it.
constexpr Nanoseconds kLatencyGuess = std::chrono::microseconds(10);

}  // namespace

// ---- Port

NcclnetPort::NcclnetPort(NcclnetWire& wire, fabric::PortUser& user, std::uint64_t key)
    : ChunkPort(user, key, kMessageBytesMax - fabric::kPreambleBytes),
      wire_(wire),
      sender_(wire.plugin_, wire.device_.index),
      receiver_(wire.plugin_, wire.device_.index) {
  wire_.ports_.push_back(this);
}

NcclnetPort::~NcclnetPort() {
  close();
  tear_down();
  std::erase(wire_.closing_, this);
}

Status NcclnetPort::listen() {
  TUTTI_RETURN_IF_ERROR(receiver_.listen());
  ByteWriter<std::vector<std::byte>> out;
  out.put(key());
  out.put(std::span<const std::byte>(receiver_.handle().bytes));
  address_ = out.take();
  return {};
}

Status NcclnetPort::connect(std::span<const std::byte> peer_address) {
  if (peer_address.size() != address_.size())
    return {Code::invalid, format("{} bytes are no address of {}", peer_address.size(), wire_.limits_.library)};
  sender_.start(peer_address.subspan(sizeof(std::uint64_t)));
  greet(load_little_endian<std::uint64_t>(peer_address.data()));
  return {};
}

bool NcclnetPort::send(std::span<const std::byte> first, std::span<const std::byte> body, std::uint64_t chunk_of) {
  if (!may_move()) return false;
  const Step step = sender_.send(first, body, chunk_of);
  if (step == Step::failed) fail(sender_.words());
  return step == Step::moved;
}

bool NcclnetPort::say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) {
  return send(first, {body, bytes}, 0);
}

bool NcclnetPort::say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                               std::uint64_t number) {
  return send(first, {body, bytes}, number);
}

std::size_t NcclnetPort::progress() {
  std::size_t moved = come_together();
  if (receiver_.is_connected()) moved += take_messages();
  if (sender_.is_connected()) moved += finish_sends();
  if (may_move() && sender_.is_connected()) static_cast<void>(flush());
  return moved;
}

bool NcclnetPort::has_news() {
  return may_move() && ((receiver_.is_connected() && receiver_.look() != Step::nothing) ||
                        (sender_.is_connected() && sender_.look() != Step::nothing));
}

std::size_t NcclnetPort::come_together() {
  std::size_t moved = 0;
  if (may_move() && !sender_.is_connected()) {
    const Step step = sender_.connect();
    if (step == Step::failed) fail(sender_.words());
    moved += step == Step::moved ? 1 : 0;
  }
  if (may_move() && !receiver_.is_connected()) {
    const Step step = receiver_.accept();
    if (step == Step::failed) fail(receiver_.words());
    moved += step == Step::moved ? 1 : 0;
  }
  return moved;
}

std::size_t NcclnetPort::take_messages() {
  std::size_t moved = 0;
  while (may_move() && moved < kPlaces) {
    std::span<const std::byte> message;
    const Step step = receiver_.receive(message);
    if (step == Step::failed) fail(receiver_.words());
    if (step != Step::moved) break;
    ++moved;
    if (!hear(message, *wire_.user_))
      fail(format("{} bytes came without the key of the link: not from the peer, or not what it sent",
                  message.size()));
    receiver_.give_back();
  }
  return moved;
}

std::size_t NcclnetPort::finish_sends() {
  std::size_t moved = 0;
  while (may_move()) {
    std::uint64_t chunk_of = 0;
    const Step step = sender_.finish(chunk_of);
    if (step == Step::failed) fail(sender_.words());
    if (step != Step::moved) break;
    ++moved;
    if (chunk_of != 0) chunk_said(chunk_of);
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
  abandon_chunks();
}

void NcclnetPort::tear_down() {
  sender_.close();
  receiver_.close();
}

// ---- Wire

NcclnetWire::NcclnetWire(Plugin& plugin, Device device, Log log)
    : plugin_(plugin), device_(std::move(device)), log_(std::move(log)) {
  limits_.name = "ncclnet";
  limits_.library = format("{}, device {}", plugin_.describe(), device_.name);
  // Which version of the interface a process has of a plug-in makes no difference on the wire.
  limits_.kind = format("ncclnet 1 {}", plugin_.name());
  limits_.small_bytes_max = kSmallBytesMax;
  limits_.large_bytes_max = kLargeBytesMax;
  limits_.bytes_per_second = device_.bytes_per_second > 0 ? device_.bytes_per_second : kBytesPerSecondGuess;
  limits_.latency = kLatencyGuess + device_.latency;
  write_words(log_);
}

Result<std::unique_ptr<fabric::Port>> NcclnetWire::open(fabric::PortUser& user) {
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
  return moved + failed.size();
}

// With nothing to sleep on, what has come until now has to be asked for.
bool NcclnetWire::prepare_wait() {
  const auto has_news = [](NcclnetPort* port) { return port->has_news(); };
  return failed_.empty() && closing_.empty() && std::none_of(ports_.begin(), ports_.end(), has_news);
}

}  // namespace tutti::ncclnet
