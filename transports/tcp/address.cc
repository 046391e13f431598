#include "transports/tcp/address.h"

#include <net/if.h>

#include "src/base/format.h"
#include "transports/tcp/codec.h"

namespace tutti::tcp {

namespace {

constexpr std::uint32_t kMagic = 0x50435454;  // "TTCP"
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kAddressBytesMax = 4096;
constexpr std::uint8_t kHasIpv6 = 1;  // flags
constexpr std::uint8_t kHasKey = 2;
static_assert(64 + sizeof(SecretKey) + kHostNameBytesMax +
                  kInterfacesMax * (IFNAMSIZ + 8 + kInterfaceAddressesMax * 18) <=
              kAddressBytesMax);

void put_interface(Writer& out, const Interface& interface) {
  const std::size_t count = std::min(interface.addresses.size(), kInterfaceAddressesMax);
  put_text(out, interface.name, IFNAMSIZ);
  out.put(interface.speed_mbps);
  out.put(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) {
    const InterfaceAddress& address = interface.addresses[i];
    out.put(static_cast<std::uint8_t>(address.ip.is_v6 ? 6 : 4));
    out.put(address.prefix_bits);
    out.put(std::span(address.ip.bytes).first(address.ip.is_v6 ? 16 : 4));
  }
}

bool get_interface(ByteReader& in, Interface& interface) {
  interface.name = get_text(in, IFNAMSIZ);
  interface.speed_mbps = in.get<std::uint32_t>();
  const auto count = in.get<std::uint8_t>();
  if (count > kInterfaceAddressesMax) return false;
  for (std::size_t i = 0; i < count; ++i) {
    InterfaceAddress address;
    const auto family = in.get<std::uint8_t>();
    if (family != 4 && family != 6) return false;
    address.ip.is_v6 = family == 6;
    address.prefix_bits = in.get<std::uint8_t>();
    if (address.prefix_bits > (address.ip.is_v6 ? 128 : 32)) return false;
    const auto bytes = in.take(address.ip.is_v6 ? 16 : 4);
    std::copy(bytes.begin(), bytes.end(), address.ip.bytes.begin());
    interface.addresses.push_back(address);
  }
  return !in.failed();
}

}  // namespace

std::vector<std::byte> encode(const Address& address) {
  Writer out;
  out.put(kMagic);
  out.put(kVersion);
  out.put(static_cast<std::uint8_t>((address.has_ipv6 ? kHasIpv6 : 0) | (address.key ? kHasKey : 0)));
  out.put(address.port);
  out.put(address.process.high);
  out.put(address.process.low);
  out.put(address.host.high);
  out.put(address.host.low);
  out.put(address.pid);
  if (address.key) out.put(std::span<const std::byte>(*address.key));
  put_text(out, address.host_name, kHostNameBytesMax);
  const std::size_t count = std::min(address.interfaces.size(), kInterfacesMax);
  out.put(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) put_interface(out, address.interfaces[i]);
  return out.take();
}

Result<Address> parse_address(std::span<const std::byte> bytes) {
  const auto malformed = [&](std::string_view what) {
    return Status(Code::invalid, format("tcp: {} bytes are not the address of a process: {}", bytes.size(), what));
  };
  if (bytes.size() > kAddressBytesMax) return malformed("more than 4096");
  ByteReader in(bytes);
  if (in.get<std::uint32_t>() != kMagic) return malformed("they do not begin like one");
  if (const auto version = in.get<std::uint8_t>(); version != kVersion) {
    return malformed(format("version {}, this process knows {}; run the same Tutti everywhere", version, kVersion));
  }
  Address address;
  const auto flags = in.get<std::uint8_t>();
  if ((flags & ~(kHasIpv6 | kHasKey)) != 0) return malformed(format("flags {} mean nothing", flags));
  address.has_ipv6 = (flags & kHasIpv6) != 0;
  address.port = in.get<std::uint16_t>();
  address.process.high = in.get<std::uint64_t>();
  address.process.low = in.get<std::uint64_t>();
  address.host.high = in.get<std::uint64_t>();
  address.host.low = in.get<std::uint64_t>();
  address.pid = in.get<std::uint32_t>();
  if ((flags & kHasKey) != 0) {
    const auto key = in.take(sizeof(SecretKey));
    if (in.failed()) return malformed("they end too early");
    address.key.emplace();
    std::copy(key.begin(), key.end(), address.key->begin());
  }
  address.host_name = get_text(in, kHostNameBytesMax);
  const auto count = in.get<std::uint8_t>();
  if (in.failed()) return malformed("they end too early");
  if (address.port == 0) return malformed("port 0");
  if (count > kInterfacesMax) return malformed(format("{} interfaces, at most {}", count, kInterfacesMax));
  address.interfaces.resize(count);
  for (Interface& interface : address.interfaces) {
    if (!get_interface(in, interface)) return malformed("an interface is cut off or has an impossible value");
  }
  if (in.left() != 0) return malformed(format("{} bytes follow its end", in.left()));
  return address;
}

}  // namespace tutti::tcp
