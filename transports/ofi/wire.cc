#include "transports/ofi/wire.h"

#include <algorithm>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti::ofi {

namespace {

constexpr std::size_t kBeforeBody = fabric::kPreambleBytes + fabric::kHeadBytes;
constexpr std::size_t kLargeBytesMax = 4 << 20;
constexpr std::size_t kOpsMax = 64;  // messages of one port
constexpr double kBytesPerSecondGuess = 2.5e9;
constexpr Nanoseconds kLatencyGuess = std::chrono::microseconds(15);
constexpr double kBitsPerByte = 8;

}  // namespace

// ---- Port

OfiPort::OfiPort(OfiWire& wire, fabric::PortUser& user, std::uint64_t key)
    : ChunkPort(wire, user, key, wire.domain_->address(), wire.domain_->message_bytes_max() - fabric::kPreambleBytes),
      wire_(wire),
      is_connected_(wire.domain_->connections() == nullptr) {
  if (!is_connected_) wire_.domain_->connections()->expect();
}

OfiPort::~OfiPort() { close(); }

Status OfiPort::connect(std::span<const std::byte> peer_address) {
  if (peer_address.size() != address().size())
    return {Code::invalid, format("{} bytes are no address of {}", peer_address.size(), wire_.limits().library)};
  peer_key_ = load_little_endian<std::uint64_t>(peer_address.data());
  const std::byte* const address = peer_address.data() + sizeof(std::uint64_t);
  if (Connections* const connections = wire_.domain_->connections(); connections != nullptr) {
    const bool connects = key() > *peer_key_;
    if (connects && way_.endpoint != nullptr)
      return {Code::peer_lost, "its peer has connected, though that is for this side: another version of Tutti?"};
    if (connects) TUTTI_RETURN_IF_ERROR(connections->connect(*this, address, *peer_key_));
  } else {
    const auto way = wire_.domain_->find(address);
    if (!way) return way.status();
    way_ = *way;
  }
  greet_if_met();
  return {};
}

void OfiPort::on_connected() {
  if (std::exchange(is_connected_, true)) return;
  wire_.domain_->connections()->expect_no_more();
  greet_if_met();
}

void OfiPort::greet_if_met() {
  if (is_connected_ && peer_key_) greet(*peer_key_);
}

bool OfiPort::send(std::span<const std::byte> first, const std::byte* body, std::size_t bytes, std::size_t copied,
                   std::uint64_t chunk_of) {
  if (under_way_ >= kOpsMax || has_failed()) return false;
  Op* const op = wire_.domain_->take_op();
  std::memcpy(op->memory.get(), first.data(), first.size());
  if (copied > 0) std::memcpy(op->memory.get() + first.size(), body, copied);
  op->port = this;
  op->chunk_of = chunk_of;
  const bool is_injected = first.size() + bytes <= wire_.domain_->injected_bytes_max() && chunk_of == 0;
  const int error = is_injected ? wire_.domain_->inject(op, way_, first.size() + bytes)
                                : wire_.domain_->send(op, way_, first.size() + copied, body + copied, bytes - copied);
  if (error == FI_EAGAIN) want_flush();
  if (error != 0 && error != FI_EAGAIN) fail(words_of(wire_.domain_->api(), error));
  if (error == 0 && !is_injected) ++under_way_;
  return error == 0;
}

bool OfiPort::say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) {
  return send(first, body, bytes, bytes, 0);
}

bool OfiPort::say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                           std::uint64_t number) {
  const bool may_lend = wire_.domain_->connections() != nullptr;
  return send(first, body, bytes, may_lend ? 0 : bytes, number);
}

void OfiPort::on_done(std::uint64_t chunk_of) {
  --under_way_;
  said(chunk_of);
}

// What is under way over an endpoint of all is libfabric's and the domain's.
void OfiPort::let_go() {
  wire_.domain_->forget(*this);
  Connections* const connections = wire_.domain_->connections();
  if (connections == nullptr) return;
  if (!is_connected_) connections->expect_no_more();
  if (way_.endpoint != nullptr) unreleased_ = connections->close(way_.endpoint);
}

// ---- Wire

OfiWire::OfiWire(std::unique_ptr<Domain> domain) : domain_(std::move(domain)) {
  domain_->set_wire(this);
  const fi_info& info = domain_->info();
  limits_.name = "ofi";
  limits_.device = info.domain_attr->name;
  limits_.library = format("libfabric {} ({})", domain_->api().version, info.fabric_attr->prov_name);
  limits_.kind =
      format("ofi {} {}", domain_->connections() != nullptr ? "2 connected" : "1", info.fabric_attr->prov_name);
  limits_.small_bytes_max = std::min(kSmallBytesMax, domain_->message_bytes_max() - kBeforeBody);
  limits_.large_bytes_max = kLargeBytesMax;
  const bool has_speed = info.nic != nullptr && info.nic->link_attr != nullptr && info.nic->link_attr->speed > 0;
  limits_.bytes_per_second =
      has_speed ? static_cast<double>(info.nic->link_attr->speed) / kBitsPerByte : kBytesPerSecondGuess;
  limits_.latency = kLatencyGuess;
}

OfiWire::~OfiWire() { Domain::give(std::move(domain_)); }

std::unique_ptr<fabric::ChunkPort> OfiWire::make_port(fabric::PortUser& user, std::uint64_t key) {
  return std::make_unique<OfiPort>(*this, user, key);
}

void OfiWire::on_message(std::span<const std::byte> bytes) {
  if (fabric::ChunkPort* const port = addressee(bytes); port != nullptr) port->hear(bytes, user());
}

OfiPort* OfiWire::awaits(std::uint64_t key) {
  auto* const port = static_cast<OfiPort*>(find(key));
  return port == nullptr || port->is_connected_ || port->way_.endpoint != nullptr ? nullptr : port;
}

bool OfiWire::prepare_wait() { return !has_failures() && domain_->prepare_wait(); }

}  // namespace tutti::ofi
