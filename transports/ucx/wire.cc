#include "transports/ucx/wire.h"

#include <algorithm>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti::ucx {

namespace {

constexpr std::size_t kLargeBytesMax = 4 << 20;
constexpr std::size_t kOpsMax = 128;  // messages of one port
// Estimates, until the planner has measured: UCX does not say which of its transports will be used with whom.
constexpr double kBytesPerSecondGuess = 2.5e9;
constexpr Nanoseconds kLatencyGuess = std::chrono::microseconds(10);

// For the answer to a hello of a peer that has said its own; long after it the port makes another endpoint.
constexpr Nanoseconds kAnswerLimit = std::chrono::milliseconds(100);

}  // namespace

// ---- Port

UcxPort::UcxPort(UcxWire& wire, fabric::PortUser& user, std::uint64_t key)
    : ChunkPort(wire, user, key, wire.worker_->address(), wire.worker_->piece_bytes()), wire_(wire) {}

UcxPort::~UcxPort() {
  close();
  if (endpoint_ != nullptr) endpoint_->port = nullptr;
  std::erase(wire_.greeting_, this);
}

Status UcxPort::connect(std::span<const std::byte> peer_address) {
  if (peer_address.size() <= sizeof(std::uint64_t))
    return {Code::invalid, format("{} bytes are no address of {}", peer_address.size(), wire_.limits().library)};
  peer_address_.assign(peer_address.begin() + sizeof(std::uint64_t), peer_address.end());
  TUTTI_RETURN_IF_ERROR(reach());
  greet(load_little_endian<std::uint64_t>(peer_address.data()));
  wire_.greeting_.push_back(this);
  return {};
}

Status UcxPort::reach() {
  const auto endpoint = wire_.worker_->connect(*this, peer_address_.data());
  if (endpoint) endpoint_ = *endpoint;
  return endpoint.status();
}

void UcxPort::seek_answer(Instant now) {
  if (answer_until_ == kNever) answer_until_ = now + kAnswerLimit;
  if (now < answer_until_) return;
  answer_until_ = now + kAnswerLimit;
  Endpoint* const former = endpoint_;
  if (const Status reached = reach(); !reached) return fail(reached.text());
  former->port = nullptr;
  former_.push_back(former);
  greet_again();
}

bool UcxPort::say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) {
  if (endpoint_->under_way >= kOpsMax) return false;
  Op* const op = wire_.worker_->take_op(*endpoint_);
  std::memcpy(op->first.data(), first.data(), first.size());
  if (bytes > 0) {
    if (!op->body) op->body.reset(new std::byte[kSmallBytesMax]);
    std::memcpy(op->body.get(), body, bytes);
  }
  wire_.worker_->start(op, first.size(), op->body.get(), bytes,
                       is_hello(first) ? Worker::To::own : Worker::To::process);
  return true;
}

bool UcxPort::say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                           std::uint64_t number) {
  if (endpoint_->under_way >= kOpsMax) return false;
  Op* const op = wire_.worker_->take_op(*endpoint_);
  std::memcpy(op->first.data(), first.data(), first.size());
  op->chunk_of = number;
  wire_.worker_->start(op, first.size(), body, bytes);
  return true;
}

void UcxPort::on_error(ucs_status_t status) { fail(words_of(wire_.worker_->api(), status)); }

void UcxPort::let_go() {
  if (endpoint_ != nullptr) wire_.worker_->close(*endpoint_, is_ready());
  for (Endpoint* const each : former_) wire_.worker_->close(*each, false);
}

// What lingers has nothing of the caller's under way.
bool UcxPort::is_closed() const {
  if (!is_closing()) return false;
  return endpoint_ == nullptr || endpoint_->state == Endpoint::State::lingering ||
         (endpoint_->state == Endpoint::State::closed && endpoint_->under_way == 0);
}

// ---- Wire

UcxWire::UcxWire(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {
  worker_->set_wire(this);
  limits_.name = "ucx";
  limits_.library = format("UCX {}", worker_->api().version);
  // What UCX sends to another of its series it understands; the numbers of the messages are ours.
  limits_.kind = format("ucx 2 {}", worker_->piece_bytes());
  limits_.small_bytes_max = kSmallBytesMax;
  limits_.large_bytes_max = kLargeBytesMax;
  limits_.bytes_per_second = kBytesPerSecondGuess;
  limits_.latency = kLatencyGuess;
}

UcxWire::~UcxWire() { Worker::give(std::move(worker_)); }

std::unique_ptr<fabric::ChunkPort> UcxWire::make_port(fabric::PortUser& user, std::uint64_t key) {
  return std::make_unique<UcxPort>(*this, user, key);
}

void UcxWire::on_message(std::span<const std::byte> first, std::span<const std::byte> body) {
  if (fabric::ChunkPort* const port = addressee(first); port != nullptr) port->hear(first, body, user());
}

std::size_t UcxWire::move() {
  const std::size_t moved = worker_->progress();
  if (greeting_.empty()) return moved;
  const Instant now = monotonic_now();
  std::erase_if(greeting_, [&](UcxPort* port) {
    const bool is_over = port->is_ready() || port->is_closing() || port->has_failed();
    if (!is_over && port->awaits_answer()) port->seek_answer(now);
    return is_over;
  });
  return moved;
}

bool UcxWire::prepare_wait() {
  const bool awaits =
      std::any_of(greeting_.begin(), greeting_.end(), [](const auto* each) { return each->awaits_answer(); });
  return !has_failures() && !has_waiting() && !awaits && worker_->prepare_wait();
}

}  // namespace tutti::ucx
