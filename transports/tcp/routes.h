// Which ways lead from here to a process, in the order in which to try them: decided from the two addresses alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "transports/tcp/address.h"

namespace tutti::tcp {

struct Route {
  std::string interface;  // the local one, for messages
  IpAddress source;       // where the connection leaves
  Endpoint destination;
  bool operator==(const Route&) const = default;
};

// Same host: loopback, then every address. Otherwise first the ways within a subnet, then those between interfaces of
// the same place in their lists, then the rest; among equals the interfaces are rotated by the lane, so that lanes
// spread over the NICs of both sides. Interfaces that share no subnet come last where others do. Empty: not
// reachable.
std::vector<Route> plan_routes(const Address& local, const Address& peer, std::uint32_t lane);

}  // namespace tutti::tcp
