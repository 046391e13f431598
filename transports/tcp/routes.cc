#include "transports/tcp/routes.h"

#include <algorithm>

namespace tutti::tcp {

namespace {

constexpr std::size_t kRoutesMax = 32;

struct Candidate {
  int rank;
  Route route;
};

bool shares_subnet(const InterfaceAddress& a, const InterfaceAddress& b) {
  return !a.ip.is_loopback() && same_subnet(a.ip, b.ip, std::min(a.prefix_bits, b.prefix_bits));
}

bool shares_subnet(const Interface& local, const Address& peer) {
  for (const InterfaceAddress& ours : local.addresses) {
    for (const Interface& remote : peer.interfaces) {
      for (const InterfaceAddress& theirs : remote.addresses) {
        if (shares_subnet(ours, theirs)) return true;
      }
    }
  }
  return false;
}

void add_loopback(std::vector<Route>& routes, const Address& peer) {
  routes.push_back({"lo", IpAddress::loopback(false), {IpAddress::loopback(false), peer.port}});
  if (peer.has_ipv6) routes.push_back({"lo", IpAddress::loopback(true), {IpAddress::loopback(true), peer.port}});
}

// The ways over one local interface.
void add_candidates(std::vector<Candidate>& candidates, const Interface& local, std::size_t place,
                    const Address& peer) {
  const std::size_t count = peer.interfaces.size();
  for (std::size_t i = 0; i < count; ++i) {
    const Interface& remote = peer.interfaces[(place + i) % count];
    for (const InterfaceAddress& theirs : remote.addresses) {
      if (theirs.ip.is_loopback() || (theirs.ip.is_v6 && !peer.has_ipv6)) continue;
      const InterfaceAddress* source = nullptr;
      for (const InterfaceAddress& ours : local.addresses) {
        if (ours.ip.is_v6 != theirs.ip.is_v6 || ours.ip.is_loopback()) continue;
        if (source == nullptr || (shares_subnet(ours, theirs) && !shares_subnet(*source, theirs))) source = &ours;
      }
      if (source == nullptr) continue;
      const int rank = shares_subnet(*source, theirs) ? 0 : i == 0 ? 1 : 2;
      candidates.push_back({rank, {local.name, source->ip, {theirs.ip, peer.port}}});
    }
  }
}

}  // namespace

std::vector<Route> plan_routes(const Address& local, const Address& peer, std::uint32_t lane) {
  std::vector<Route> routes;
  if (local.host == peer.host) add_loopback(routes, peer);
  std::vector<Candidate> candidates;
  std::vector<const Interface*> near;
  std::vector<const Interface*> far;
  for (const Interface& interface : local.interfaces) {
    (shares_subnet(interface, peer) ? near : far).push_back(&interface);
  }
  if (near.empty()) near.swap(far);
  for (std::size_t i = 0; i < near.size(); ++i) {
    const std::size_t place = (lane + i) % near.size();
    add_candidates(candidates, *near[place], lane + i, peer);
  }
  for (const Interface* interface : far) add_candidates(candidates, *interface, 0, peer);
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const auto& a, const auto& b) { return a.rank < b.rank; });
  for (Candidate& candidate : candidates) routes.push_back(std::move(candidate.route));
  if (routes.size() > kRoutesMax) routes.resize(kRoutesMax);
  return routes;
}

}  // namespace tutti::tcp
