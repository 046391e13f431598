// What is told outside the rings: how a process is reached (its address, for the rendezvous), and what both ends of a
// link tell each other over its control link before it is open. Nothing of it is believed: any bytes are either a
// value within the limits or an error.
//
// Each side says `hello` (who it is, which ports it has). Both then know which port of each the lane uses, the same
// on both sides. Each makes its queue pair and says `offer` (how to reach it, where its ring is). Who has connected
// its queue pair to the other's says `ready`; who has said and heard that is open. `farewell` is why the sender ends
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "src/base/status.h"
#include "transports/verbs/gid.h"

namespace tutti::verbs {

constexpr std::size_t kPortsMax = 8;
constexpr std::size_t kNameBytesMax = 64;
constexpr std::size_t kReasonBytesMax = 512;
constexpr std::size_t kAddressBytesMax = 4096;
constexpr std::size_t kControlBytesMax = 1024;  // of one message

// A port as others see it.
struct PortFacts {
  std::string name;  // "mlx5_0 port 1"
  LinkLayer layer = LinkLayer::ethernet;
  GidType type = GidType::infiniband;
  Gid gid;
  bool operator==(const PortFacts&) const = default;
};

struct Address {
  std::vector<PortFacts> ports;
  std::vector<std::byte> control;  // the address of the control transport
  bool operator==(const Address&) const = default;
};

// Fails where the control transport's own address leaves too little room.
Result<std::vector<std::byte>> encode(const Address& address);
Result<Address> parse_address(std::span<const std::byte> bytes);

struct Hello {
  std::uint32_t pid = 0;
  std::string host_name;
  std::uint64_t frame_bytes_max = 0;
  std::vector<PortFacts> ports;
  bool operator==(const Hello&) const = default;
};

struct Offer {
  std::uint32_t queue_pair = 0;
  std::uint32_t first_number = 0;  // of its packets
  std::uint16_t lid = 0;
  std::uint8_t mtu = 0;  // as enum ibv_mtu has it: 1 is 256 bytes, 5 is 4096
  std::uint64_t ring_address = 0;
  std::uint32_t ring_key = 0;
  std::uint32_t ring_unit_bytes = 0;
  // Where queue pairs are connected by a connection manager (connector.h): the port's listener, otherwise 0, and what
  // a request has to bring.
  std::uint16_t listener = 0;
  std::uint64_t key = 0;
  bool operator==(const Offer&) const = default;
};

struct Ready {
  bool operator==(const Ready&) const = default;
};

struct Farewell {
  bool is_cut_off = false;
  std::string reason;
  bool operator==(const Farewell&) const = default;
};

using Message = std::variant<Hello, Offer, Ready, Farewell>;

std::vector<std::byte> encode(const Message& message);
std::optional<Message> parse_message(std::span<const std::byte> bytes);

// Which port of each side a lane uses: {of `first`, of `second`}; nothing where no two can talk. Both sides call it
// with the same two lists in the same order.
std::optional<std::pair<std::size_t, std::size_t>> pair_ports(std::span<const PortFacts> first,
                                                              std::span<const PortFacts> second, std::uint32_t lane);

}  // namespace tutti::verbs
