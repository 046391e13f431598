// IP addresses and endpoints as values, and their way into and out of the socket calls. An IPv4 address that a
// dual-stack socket reports in IPv6 clothes is an IPv4 address here.
#pragma once

#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

namespace tutti::tcp {

struct IpAddress {
  bool is_v6 = false;
  std::array<std::byte, 16> bytes{};  // an IPv4 address is in the first four
  auto operator<=>(const IpAddress&) const = default;

  static IpAddress loopback(bool v6);
  bool is_loopback() const;
  bool is_link_local() const;
};

// Whether both are of one family and agree in the first `prefix_bits` bits.
bool same_subnet(const IpAddress& a, const IpAddress& b, unsigned prefix_bits);

struct Endpoint {
  IpAddress ip;
  std::uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;
};

std::string to_string(const IpAddress& ip);
std::string to_string(const Endpoint& endpoint);  // "10.0.0.1:41200", "[fd00::2]:41200"

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = sizeof(sockaddr_storage);
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress to_socket_address(const Endpoint& endpoint);
// Anything but IPv4 and IPv6 gives the unspecified IPv4 address.
Endpoint from_socket_address(const sockaddr* address);

}  // namespace tutti::tcp
