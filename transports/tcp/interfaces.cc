#include "transports/tcp/interfaces.h"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>

#include "src/base/format.h"

namespace tutti::tcp {

namespace {

std::uint32_t read_speed_mbps(const std::string& name) {
  std::ifstream file("/sys/class/net/" + name + "/speed");
  long speed = 0;
  return file >> speed && speed > 0 ? static_cast<std::uint32_t>(speed) : 0;
}

std::uint8_t prefix_bits_of(const sockaddr* mask, int family) {
  if (mask == nullptr) return family == AF_INET6 ? 128 : 32;
  sockaddr_storage storage{};
  std::memcpy(&storage, mask, family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
  storage.ss_family = static_cast<sa_family_t>(family);  // the kernel leaves it unset in some masks
  int bits = 0;
  for (const std::byte b : from_socket_address(reinterpret_cast<const sockaddr*>(&storage)).ip.bytes) {
    bits += std::popcount(static_cast<unsigned>(b));
  }
  return static_cast<std::uint8_t>(bits);
}

std::string join(const std::vector<Interface>& interfaces) {
  std::string names;
  for (const Interface& interface : interfaces) names += (names.empty() ? "" : ", ") + interface.name;
  return names;
}

}  // namespace

bool admits(std::span<const std::string> filter, std::string_view name) {
  bool admitted =
      std::none_of(filter.begin(), filter.end(), [](const auto& entry) { return !entry.starts_with('^'); });
  for (const std::string& entry : filter) {
    if (entry.starts_with('^') && name == std::string_view(entry).substr(1)) return false;
    admitted = admitted || name == entry;
  }
  return admitted;
}

Result<std::vector<Interface>> find_interfaces(std::span<const std::string> filter) {
  ifaddrs* raw = nullptr;
  if (getifaddrs(&raw) != 0) return Status::from_errno(errno, "tcp: cannot list the network interfaces");
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> list(raw, &freeifaddrs);
  std::vector<Interface> found;
  std::vector<Interface> loopback;
  for (const ifaddrs* entry = list.get(); entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || (entry->ifa_flags & IFF_UP) == 0 || (entry->ifa_flags & IFF_RUNNING) == 0)
      continue;
    const int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    const IpAddress ip = from_socket_address(entry->ifa_addr).ip;
    if (ip.is_v6 && ip.is_link_local()) continue;  // means nothing without the number of an interface
    auto& group = (entry->ifa_flags & IFF_LOOPBACK) != 0 ? loopback : found;
    const std::string name = entry->ifa_name;
    auto interface = std::find_if(group.begin(), group.end(), [&](const auto& other) { return other.name == name; });
    if (interface == group.end()) {
      group.push_back({name, &group == &found ? read_speed_mbps(name) : 0, {}});
      interface = group.end() - 1;
    }
    interface->addresses.push_back({ip, prefix_bits_of(entry->ifa_netmask, family)});
  }
  std::vector<Interface> all = found;
  all.insert(all.end(), loopback.begin(), loopback.end());
  std::erase_if(found, [&](const auto& interface) { return !admits(filter, interface.name); });
  for (const Interface& interface : loopback) {
    if (std::find(filter.begin(), filter.end(), interface.name) != filter.end()) found.push_back(interface);
  }
  if (!found.empty()) return found;
  if (filter.empty() && !loopback.empty()) return loopback;
  return Status(Code::invalid,
                format("tcp: no network interface that is up with an IP address is among those asked for "
                       "({}); this host has: {}. Nothing listens. Correct the list of interfaces",
                       fmt::join(filter, ", "), all.empty() ? "none" : join(all)));
}

}  // namespace tutti::tcp
