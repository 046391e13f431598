#include "transports/ofi/wire.h"

#include <algorithm>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti::ofi {

namespace {

constexpr std::size_t kBeforeBody = fabric::kPreambleBytes + fabric::kHeadBytes;
constexpr std::size_t kSmallBytesMax = 16 << 10;
constexpr std::size_t kLargeBytesMax = 4 << 20;
constexpr std::size_t kOpsMax = 64;  // messages of one port
constexpr double kBytesPerSecondGuess = 2.5e9;
constexpr Nanoseconds kLatencyGuess = std::chrono::microseconds(15);
constexpr double kBitsPerByte = 8;

}  // namespace

// ---- Port

OfiPort::OfiPort(OfiWire& wire, fabric::PortUser& user, std::uint64_t key)
    : ChunkPort(user, key, wire.endpoint_->message_bytes_max() - fabric::kPreambleBytes), wire_(wire) {
  ByteWriter<std::vector<std::byte>> out;
  out.put(key);
  out.put(std::span<const std::byte>(wire_.endpoint_->address()));
  address_ = out.take();
  wire_.ports_[key] = this;
}

OfiPort::~OfiPort() {
  close();
  wire_.ports_.erase(key());
}

Status OfiPort::connect(std::span<const std::byte> peer_address) {
  if (peer_address.size() != address_.size())
    return {Code::invalid, format("{} bytes are no address of {}", peer_address.size(), wire_.limits_.library)};
  const auto peer = wire_.endpoint_->add_peer(peer_address.data() + sizeof(std::uint64_t));
  if (!peer) return peer.status();
  peer_ = *peer;
  greet(load_little_endian<std::uint64_t>(peer_address.data()));
  return {};
}

bool OfiPort::send(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                   std::uint64_t chunk_of) {
  if (under_way_ >= kOpsMax || has_failed_) return false;
  Op* const op = wire_.endpoint_->take_op();
  std::memcpy(op->memory.get(), first.data(), first.size());
  if (bytes > 0) std::memcpy(op->memory.get() + first.size(), body, bytes);
  op->port = this;
  op->chunk_of = chunk_of;
  const int error = wire_.endpoint_->send(op, first.size() + bytes, peer_);
  if (error != 0 && error != FI_EAGAIN) fail(words_of(wire_.endpoint_->api(), error));
  if (error != 0) return false;
  ++under_way_;
  return true;
}

bool OfiPort::say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) {
  return send(first, body, bytes, 0);
}

bool OfiPort::say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                           std::uint64_t number) {
  return send(first, body, bytes, number);
}

void OfiPort::on_done(std::uint64_t chunk_of) {
  --under_way_;
  if (chunk_of != 0) chunk_said(chunk_of);
}

void OfiPort::fail(const std::string& words) {
  if (is_closing_ || std::exchange(has_failed_, true)) return;
  wire_.failed_.emplace_back(this, words);
}

// What is under way is libfabric's and the endpoint's.
void OfiPort::close() {
  if (std::exchange(is_closing_, true)) return;
  std::erase_if(wire_.failed_, [this](const auto& each) { return each.first == this; });
  abandon_chunks();
  wire_.endpoint_->forget(*this);
}

// ---- Wire

OfiWire::OfiWire(std::unique_ptr<Endpoint> endpoint) : endpoint_(std::move(endpoint)) {
  endpoint_->set_wire(this);
  const fi_info& info = endpoint_->info();
  limits_.name = "ofi";
  limits_.library = format("libfabric {} ({})", endpoint_->api().version, info.fabric_attr->prov_name);
  limits_.kind = format("ofi 1 {}", info.fabric_attr->prov_name);
  limits_.small_bytes_max = std::min(kSmallBytesMax, endpoint_->message_bytes_max() - kBeforeBody);
  limits_.large_bytes_max = kLargeBytesMax;
  const bool has_speed = info.nic != nullptr && info.nic->link_attr != nullptr && info.nic->link_attr->speed > 0;
  limits_.bytes_per_second =
      has_speed ? static_cast<double>(info.nic->link_attr->speed) / kBitsPerByte : kBytesPerSecondGuess;
  limits_.latency = kLatencyGuess;
}

OfiWire::~OfiWire() { Endpoint::give(std::move(endpoint_)); }

Result<std::unique_ptr<fabric::Port>> OfiWire::open(fabric::PortUser& user) {
  std::array<std::byte, sizeof(std::uint64_t)> random{};
  TUTTI_RETURN_IF_ERROR(secure_random(random));
  return std::unique_ptr<fabric::Port>(
      std::make_unique<OfiPort>(*this, user, load_little_endian<std::uint64_t>(random.data())));
}

// A message with the key of no port is of one that was closed here, or a stranger's.
void OfiWire::on_message(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(std::uint64_t)) return;
  const auto found = ports_.find(load_little_endian<std::uint64_t>(bytes.data()));
  if (found != ports_.end() && !found->second->is_closing_) found->second->hear(bytes, *user_);
}

std::size_t OfiWire::progress() {
  const std::size_t moved = endpoint_->progress();
  for (const auto& [key, port] : ports_) {
    if (!port->is_closing_ && !port->has_failed_) static_cast<void>(port->flush());
  }
  const auto failed = std::exchange(failed_, {});
  for (const auto& [port, words] : failed) port->user().on_failed(words);
  return moved + failed.size();
}

bool OfiWire::prepare_wait() { return failed_.empty() && endpoint_->prepare_wait(); }

}  // namespace tutti::ofi
