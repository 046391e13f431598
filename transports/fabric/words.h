// What two processes tell each other over the control connection of a link, and how others reach this process. Both
// come from elsewhere and are believed in nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/status.h"

namespace tutti::fabric {

constexpr std::size_t kTransportAddressBytesMax = 4096;
constexpr std::size_t kKindBytesMax = 64;
constexpr std::size_t kNameBytesMax = 80;
constexpr std::size_t kReasonBytesMax = 400;

// How a process is reached: the wire it has, and the address of its control connections.
struct Address {
  std::string kind;
  std::vector<std::byte> control;
  bool operator==(const Address&) const = default;
};

// The first and only word before a link is open, in both directions.
struct Greeting {
  std::uint64_t key = 0;  // what to put before everything that is sent to this process on the link
  std::uint64_t small_bytes_max = 0;
  std::uint64_t large_bytes_max = 0;
  std::string name;  // "node07 (pid 4711)", for messages
  std::string kind;
  std::vector<std::byte> port;  // Port::address
  bool operator==(const Greeting&) const = default;
};

// The last word, of a link that does not end with its process.
struct Farewell {
  bool is_cut_off = false;  // nothing comes through, which is not the other's fault
  std::string reason;
  bool operator==(const Farewell&) const = default;
};

std::vector<std::byte> encode(const Address& address);
std::vector<std::byte> encode(const Greeting& greeting);
std::vector<std::byte> encode(const Farewell& farewell);
Result<Address> parse_address(std::span<const std::byte> bytes);
bool is_farewell(std::span<const std::byte> bytes);
Result<Greeting> parse_greeting(std::span<const std::byte> bytes);
Result<Farewell> parse_farewell(std::span<const std::byte> bytes);

}  // namespace tutti::fabric
