#include "transports/shm/address.h"

#include <sys/un.h>

#include <array>
#include <cstring>

namespace tutti::shm {

namespace {

constexpr std::array<char, 8> kMagic = {'T', 'u', 't', 't', 'i', 'S', 'h', '2'};

// Never leaves the host, so the host's own byte order will do.
struct Fixed {
  std::array<char, 8> magic;
  std::uint64_t process[2];
  std::uint64_t host[2];
  std::uint32_t user;
  std::uint32_t name_bytes;
  std::uint64_t has_key;
  SecretKey key;
};

constexpr std::size_t kNameBytesMax = sizeof(sockaddr_un::sun_path) - 1;

}  // namespace

std::vector<std::byte> encode(const Address& address) {
  const Fixed fixed{kMagic,
                    {address.process.high, address.process.low},
                    {address.host.high, address.host.low},
                    address.user,
                    static_cast<std::uint32_t>(address.socket_name.size()),
                    address.key ? 1u : 0u,
                    address.key.value_or(SecretKey{})};
  std::vector<std::byte> bytes(sizeof fixed + address.socket_name.size());
  std::memcpy(bytes.data(), &fixed, sizeof fixed);
  std::memcpy(bytes.data() + sizeof fixed, address.socket_name.data(), address.socket_name.size());
  return bytes;
}

std::optional<Address> decode(std::span<const std::byte> bytes) {
  Fixed fixed;
  if (bytes.size() < sizeof fixed) return std::nullopt;
  std::memcpy(&fixed, bytes.data(), sizeof fixed);
  if (fixed.magic != kMagic || fixed.name_bytes == 0 || fixed.name_bytes > kNameBytesMax ||
      bytes.size() != sizeof fixed + fixed.name_bytes) {
    return std::nullopt;
  }
  Address address;
  address.process.high = fixed.process[0];
  address.process.low = fixed.process[1];
  address.host.high = fixed.host[0];
  address.host.low = fixed.host[1];
  address.user = fixed.user;
  if (fixed.has_key != 0) address.key = fixed.key;
  address.socket_name.assign(reinterpret_cast<const char*>(bytes.data() + sizeof fixed), fixed.name_bytes);
  return address;
}

}  // namespace tutti::shm
