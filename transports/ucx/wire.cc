#include "transports/ucx/wire.h"

#include <algorithm>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti::ucx {

namespace {

constexpr std::size_t kLargeBytesMax = 4 << 20;
constexpr std::size_t kOpsMax = 128;  // messages of one port
// Estimates, until the planner has measured: UCX does not say which of its transports will be used with whom.
constexpr double kBytesPerSecondGuess = 2.5e9;
constexpr Nanoseconds kLatencyGuess = std::chrono::microseconds(10);

}  // namespace

// ---- Port

UcxPort::UcxPort(UcxWire& wire, fabric::PortUser& user, std::uint64_t key)
    : ChunkPort(user, key, wire.worker_->piece_bytes()), wire_(wire) {
  ByteWriter<std::vector<std::byte>> out;
  out.put(key);
  out.put(std::span<const std::byte>(wire_.worker_->address()));
  address_ = out.take();
  wire_.ports_[key] = this;
}

UcxPort::~UcxPort() {
  close();
  if (endpoint_ != nullptr) endpoint_->port = nullptr;
  wire_.ports_.erase(key());
  std::erase(wire_.waiting_, this);
}

Status UcxPort::connect(std::span<const std::byte> peer_address) {
  if (peer_address.size() <= sizeof(std::uint64_t))
    return {Code::invalid, format("{} bytes are no address of {}", peer_address.size(), wire_.limits_.library)};
  const auto endpoint = wire_.worker_->connect(*this, peer_address.data() + sizeof(std::uint64_t));
  if (!endpoint) return endpoint.status();
  endpoint_ = *endpoint;
  greet(load_little_endian<std::uint64_t>(peer_address.data()));
  return {};
}

bool UcxPort::say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) {
  if (endpoint_->under_way >= kOpsMax) return false;
  Op* const op = wire_.worker_->take_op(*endpoint_);
  std::memcpy(op->first.data(), first.data(), first.size());
  if (bytes > 0) {
    if (!op->body) op->body.reset(new std::byte[kSmallBytesMax]);
    std::memcpy(op->body.get(), body, bytes);
  }
  wire_.worker_->start(op, first.size(), op->body.get(), bytes);
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

void UcxPort::on_done(std::uint64_t chunk_of) {
  if (is_closing_) return;
  if (chunk_of != 0) chunk_said(chunk_of);
  if (!std::exchange(is_waiting_, true)) wire_.waiting_.push_back(this);
}

void UcxPort::fail(const std::string& words) {
  if (is_closing_ || std::exchange(has_failed_, true)) return;
  wire_.failed_.emplace_back(this, words);
}

void UcxPort::close() {
  if (std::exchange(is_closing_, true)) return;
  std::erase_if(wire_.failed_, [this](const auto& each) { return each.first == this; });
  abandon_chunks();
  if (endpoint_ != nullptr) wire_.worker_->close(*endpoint_, is_ready());
}

// What lingers has nothing of the caller's under way.
bool UcxPort::is_closed() const {
  if (!is_closing_) return false;
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

Result<std::unique_ptr<fabric::Port>> UcxWire::open(fabric::PortUser& user) {
  std::array<std::byte, sizeof(std::uint64_t)> random{};
  TUTTI_RETURN_IF_ERROR(secure_random(random));
  return std::unique_ptr<fabric::Port>(
      std::make_unique<UcxPort>(*this, user, load_little_endian<std::uint64_t>(random.data())));
}

// A message with the key of no port is of one that was closed here, or a stranger's.
void UcxWire::on_message(std::span<const std::byte> first, std::span<const std::byte> body) {
  if (first.size() < sizeof(std::uint64_t)) return;
  const auto found = ports_.find(load_little_endian<std::uint64_t>(first.data()));
  if (found != ports_.end() && !found->second->is_closing_) found->second->hear(first, body, *user_);
}

std::size_t UcxWire::progress() {
  const std::size_t moved = worker_->progress();
  batch_.swap(waiting_);
  for (UcxPort* const port : batch_) {
    port->is_waiting_ = false;
    if (!port->is_closing_ && !port->has_failed_) static_cast<void>(port->flush());
  }
  batch_.clear();
  const auto failed = std::exchange(failed_, {});
  for (const auto& [port, words] : failed) port->user().on_failed(words);
  return moved + failed.size();
}

bool UcxWire::prepare_wait() { return failed_.empty() && waiting_.empty() && worker_->prepare_wait(); }

}  // namespace tutti::ucx
