// The network interfaces of this host that the transport may use: found once, when it is made.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/status.h"
#include "transports/tcp/ip.h"

namespace tutti::tcp {

struct InterfaceAddress {
  IpAddress ip;
  std::uint8_t prefix_bits = 0;
  bool operator==(const InterfaceAddress&) const = default;
};

struct Interface {
  std::string name;
  std::uint32_t speed_mbps = 0;  // as the driver reports it; 0 where it does not
  std::vector<InterfaceAddress> addresses;
  bool operator==(const Interface&) const = default;
};

// "eth0" admits one interface, "^docker0" every one but it; without an admitting entry all others are admitted.
bool admits(std::span<const std::string> filter, std::string_view name);

// The interfaces that are up, have an address that other hosts can use, and are admitted; loopback alone where there
// is none, or where it is asked for by name. Fails where the filter leaves nothing (names what there is).
Result<std::vector<Interface>> find_interfaces(std::span<const std::string> filter);

}  // namespace tutti::tcp
