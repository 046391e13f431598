#include "transports/tcp/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "src/base/format.h"

namespace tutti::tcp {

IpAddress IpAddress::loopback(bool v6) {
  IpAddress ip{.is_v6 = v6};
  if (v6) {
    ip.bytes[15] = std::byte{1};
  } else {
    ip.bytes[0] = std::byte{127};
    ip.bytes[3] = std::byte{1};
  }
  return ip;
}

bool IpAddress::is_loopback() const { return is_v6 ? *this == loopback(true) : bytes[0] == std::byte{127}; }

bool IpAddress::is_link_local() const {
  if (is_v6) return bytes[0] == std::byte{0xfe} && (bytes[1] & std::byte{0xc0}) == std::byte{0x80};
  return bytes[0] == std::byte{169} && bytes[1] == std::byte{254};
}

bool same_subnet(const IpAddress& a, const IpAddress& b, unsigned prefix_bits) {
  if (a.is_v6 != b.is_v6 || prefix_bits > (a.is_v6 ? 128u : 32u)) return false;
  const unsigned whole = prefix_bits / 8;
  if (!std::equal(a.bytes.begin(), a.bytes.begin() + whole, b.bytes.begin())) return false;
  const unsigned rest = prefix_bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<std::byte>(0xff << (8 - rest));
  return (a.bytes[whole] & mask) == (b.bytes[whole] & mask);
}

std::string to_string(const IpAddress& ip) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(ip.is_v6 ? AF_INET6 : AF_INET, ip.bytes.data(), text, sizeof text);
  return text;
}

std::string to_string(const Endpoint& endpoint) {
  return endpoint.ip.is_v6 ? format("[{}]:{}", to_string(endpoint.ip), endpoint.port)
                           : format("{}:{}", to_string(endpoint.ip), endpoint.port);
}

SocketAddress to_socket_address(const Endpoint& endpoint) {
  SocketAddress address;
  if (endpoint.ip.is_v6) {
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(endpoint.port);
    std::memcpy(&in6.sin6_addr, endpoint.ip.bytes.data(), 16);
    std::memcpy(&address.storage, &in6, sizeof in6);
    address.bytes = sizeof in6;
  } else {
    sockaddr_in in4{};
    in4.sin_family = AF_INET;
    in4.sin_port = htons(endpoint.port);
    std::memcpy(&in4.sin_addr, endpoint.ip.bytes.data(), 4);
    std::memcpy(&address.storage, &in4, sizeof in4);
    address.bytes = sizeof in4;
  }
  return address;
}

Endpoint from_socket_address(const sockaddr* address) {
  Endpoint endpoint;
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 in6;
    std::memcpy(&in6, address, sizeof in6);
    endpoint.port = ntohs(in6.sin6_port);
    endpoint.ip.is_v6 = !IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
    const std::size_t skip = endpoint.ip.is_v6 ? 0 : 12;
    std::memcpy(endpoint.ip.bytes.data(), in6.sin6_addr.s6_addr + skip, 16 - skip);
  } else if (address->sa_family == AF_INET) {
    sockaddr_in in4;
    std::memcpy(&in4, address, sizeof in4);
    endpoint.port = ntohs(in4.sin_port);
    std::memcpy(endpoint.ip.bytes.data(), &in4.sin_addr, 4);
  }
  return endpoint;
}

}  // namespace tutti::tcp
