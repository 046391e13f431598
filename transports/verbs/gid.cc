#include "transports/verbs/gid.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "src/base/format.h"

namespace tutti::verbs {

namespace {

constexpr std::size_t kSubnetBytes = 8;

std::string_view name(GidType type) {
  switch (type) {
    case GidType::infiniband:
      return "InfiniBand";
    case GidType::roce_v1:
      return "RoCE v1";
    case GidType::roce_v2:
      return "RoCE v2";
  }
  return "";
}

std::string_view kind_of(const Gid& gid) {
  return gid.is_ipv4() ? "IPv4" : gid.is_link_local() ? "link-local" : "global";
}

// Smaller is better.
int rank(const GidEntry& entry, LinkLayer layer) {
  if (layer == LinkLayer::infiniband) return entry.index;
  const int version = entry.type == GidType::roce_v2 ? 0 : 10;
  return version + (entry.gid.is_ipv4() ? 0 : entry.gid.is_link_local() ? 2 : 1);
}

// Whether the kernel knows a way; nothing is sent. Routes of network namespaces and policies count so, too.
bool has_route(const Gid& from, const Gid& to) {
  constexpr std::uint16_t kRoceUdpPort = 4791;
  socklen_t bytes = 0;
  const sockaddr_storage source = socket_address(from, 0, bytes);
  const sockaddr_storage target = socket_address(to, kRoceUdpPort, bytes);
  const int fd = socket(source.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool is_routed = bind(fd, reinterpret_cast<const sockaddr*>(&source), bytes) == 0 &&
                         connect(fd, reinterpret_cast<const sockaddr*>(&target), bytes) == 0;
  close(fd);
  return is_routed;
}

}  // namespace

sockaddr_storage socket_address(const Gid& gid, std::uint16_t port, socklen_t& bytes) {
  sockaddr_storage storage{};
  if (gid.is_ipv4()) {
    auto& address = reinterpret_cast<sockaddr_in&>(storage);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    std::memcpy(&address.sin_addr, gid.bytes.data() + 12, 4);
    bytes = sizeof address;
  } else {
    auto& address = reinterpret_cast<sockaddr_in6&>(storage);
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    std::memcpy(&address.sin6_addr, gid.bytes.data(), 16);
    bytes = sizeof address;
  }
  return storage;
}

bool Gid::is_ipv4() const {
  constexpr std::array<std::byte, 12> kPrefix{
      {{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, std::byte{255}, std::byte{255}}};
  return std::equal(kPrefix.begin(), kPrefix.end(), bytes.begin());
}

bool Gid::is_link_local() const {
  if (is_ipv4()) return bytes[12] == std::byte{169} && bytes[13] == std::byte{254};
  return bytes[0] == std::byte{0xfe} && (bytes[1] & std::byte{0xc0}) == std::byte{0x80};
}

std::string to_string(const Gid& gid) {
  char text[INET6_ADDRSTRLEN] = "";
  gid.is_ipv4() ? inet_ntop(AF_INET, gid.bytes.data() + 12, text, sizeof text)
                : inet_ntop(AF_INET6, gid.bytes.data(), text, sizeof text);
  return text;
}

Result<GidChoice> choose_gid(std::span<const GidEntry> entries, LinkLayer layer, int wanted,
                             const std::string& port) {
  const GidEntry* best = nullptr;
  std::size_t usable = 0;
  std::string there;
  for (const GidEntry& entry : entries) {
    if (entry.gid.is_nil()) continue;
    ++usable;
    there += format("{}{}", there.empty() ? "" : ", ", entry.index);
    if (entry.index == wanted) {
      return GidChoice{entry, format("GID index {} ({}, {}) as TUTTI_VERBS_GID_INDEX says", entry.index,
                                     to_string(entry.gid), name(entry.type))};
    }
    if (best == nullptr || rank(entry, layer) < rank(*best, layer)) best = &entry;
  }
  if (best == nullptr) {
    return Status(Code::unsupported,
                  format("{} has no GID: {}", port,
                         layer == LinkLayer::ethernet ? "its network interface has no address; give it one"
                                                      : "no subnet manager has set it up"));
  }
  if (wanted >= 0) {
    return Status(Code::invalid,
                  format("{} has no GID at index {} (TUTTI_VERBS_GID_INDEX); there are {}", port, wanted, there));
  }
  if (layer == LinkLayer::infiniband) {
    return GidChoice{*best, format("GID index {} ({}), the port's own", best->index, to_string(best->gid))};
  }
  return GidChoice{*best,
                   format("GID index {} ({}, {}, {}): the best of {}, as RoCE v2 goes before v1 and IPv4 before "
                          "global before link-local addresses",
                          best->index, to_string(best->gid), name(best->type), kind_of(best->gid), usable)};
}

bool may_reach(const GidEntry& from, LinkLayer from_layer, const GidEntry& to, LinkLayer to_layer) {
  if (from_layer != to_layer || from.type != to.type) return false;
  if (from_layer == LinkLayer::infiniband) {
    return std::equal(from.gid.bytes.begin(), from.gid.bytes.begin() + kSubnetBytes, to.gid.bytes.begin());
  }
  if (from.gid.is_ipv4() != to.gid.is_ipv4() || from.gid.is_link_local() != to.gid.is_link_local()) return false;
  // RoCE v1 and link-local addresses stay on one wire, which addresses cannot tell.
  if (from.type == GidType::roce_v1 || from.gid.is_link_local()) return true;
  return has_route(from.gid, to.gid);
}

}  // namespace tutti::verbs
