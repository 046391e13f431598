// GIDs: by which of a port's addresses this process is reached. A port has several, one for each address of its
// network interface and version of RoCE; which one is taken decides whether packets arrive at all, so the choice is a
// pure function that says why.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "src/base/status.h"

namespace tutti::verbs {

enum class LinkLayer : std::uint8_t { infiniband = 1, ethernet = 2 };
enum class GidType : std::uint8_t { infiniband = 0, roce_v1 = 1, roce_v2 = 2 };

struct Gid {
  std::array<std::byte, 16> bytes{};
  bool operator==(const Gid&) const = default;

  bool is_nil() const { return *this == Gid{}; }
  bool is_ipv4() const;  // IPv4-mapped: ::ffff:a.b.c.d
  bool is_link_local() const;
};

std::string to_string(const Gid& gid);  // "10.0.0.1", "fe80::1"

// As an IP address with a port, of so many `bytes`.
sockaddr_storage socket_address(const Gid& gid, std::uint16_t port, socklen_t& bytes);

struct GidEntry {
  int index = 0;
  GidType type = GidType::infiniband;
  Gid gid;
  std::string interface;  // network interface; empty where there is none
};

struct GidChoice {
  GidEntry entry;
  std::string why;
};

// On Ethernet RoCE v2 before v1, and of these IPv4 before global before link-local addresses, as most networks route
// and configure them; on InfiniBand the port's own. `wanted` names an index and is then taken or refused. `port`
// names the port in errors.
Result<GidChoice> choose_gid(std::span<const GidEntry> entries, LinkLayer layer, int wanted, const std::string& port);

// Whether packets from one to the other have a way, as far as these and this host's routes tell.
bool may_reach(const GidEntry& from, LinkLayer from_layer, const GidEntry& to, LinkLayer to_layer);

}  // namespace tutti::verbs
