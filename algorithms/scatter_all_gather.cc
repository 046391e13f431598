#include "algorithms/scatter_all_gather.h"

namespace tutti {

void scatter_all_gather_broadcast(Builder& b) {
  const Group ring = everybody(b.call(), b.call().root);
  const std::uint32_t p = ring.size();
  const bool at_root = ring.index == 0;
  const auto chunk = (at_root ? b.input() : b.output()).split(p);
  if (at_root) {
    for (std::uint32_t i = 1; i < p; ++i) b.send(ring.members[i], chunk[i]);
  } else {
    b.receive(ring.members[0], chunk[ring.index]);
  }
  for (std::uint32_t step = 1; step < p; ++step) {
    if (ring.index != p - 1) b.send(ring.next(), chunk[ring.before(step - 1)]);
    if (!at_root) b.receive(ring.previous(), chunk[ring.before(step)]);
  }
  if (at_root) b.copy(b.output(), b.input());
}

Counts scatter_all_gather_broadcast_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {p - 1, 2 * (p - 1), {2 * (p - 1), p}, 0};
}

}  // namespace tutti
