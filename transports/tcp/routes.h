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

// Same host: loopback, then every address. Otherwise the interfaces that share a subnet with the peer, or all of them
// where none does, rotated by the lane so that lanes spread over NICs on both sides; for each, the peer's addresses:
// same subnet first, then the interface of the same place in the list, then the rest. Empty: not reachable.
std::vector<Route> plan_routes(const Address& local, const Address& peer, std::uint32_t lane);

}  // namespace tutti::tcp
