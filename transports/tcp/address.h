// How others reach this process: the opaque bytes that Transport::address() gives and connect() takes. They come from
// the rendezvous, so parsing believes nothing; any bytes are either an address within the limits or an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/base/hmac.h"
#include "src/base/ids.h"
#include "src/base/status.h"
#include "transports/tcp/interfaces.h"

namespace tutti::tcp {

constexpr std::size_t kHostNameBytesMax = 64;
constexpr std::size_t kInterfacesMax = 16;
constexpr std::size_t kInterfaceAddressesMax = 8;

struct Address {
  ProcessId process;
  HostId host;
  std::uint32_t pid = 0;
  std::uint16_t port = 0;
  bool has_ipv6 = false;  // the listener takes IPv6 connections too
  std::optional<SecretKey>
      key;  // the process's own, where it gives one away with its address (TcpOptions::publish_key)
  std::string host_name;
  std::vector<Interface> interfaces;
  bool operator==(const Address&) const = default;
};

// At most 4 KiB: interfaces, addresses of one and names beyond the limits above are left out.
std::vector<std::byte> encode(const Address& address);
Result<Address> parse_address(std::span<const std::byte> bytes);

}  // namespace tutti::tcp
