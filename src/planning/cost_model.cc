#include "src/planning/cost_model.h"

#include <algorithm>

namespace tutti {

const Medium& shared_memory_medium() {
  static constexpr Medium medium{"shared memory", 300, 2'500, 12.0, 14.0};
  return medium;
}

const Medium& network_medium() {
  static constexpr Medium medium{"network", 6'000, 8'000, 3.0, 5.0};
  return medium;
}

double reduction_bytes_per_ns() { return 20.0; }

Cost estimate(const Counts& counts, std::uint64_t block_bytes, const Shape& shape, std::uint32_t lanes) {
  const Medium& medium = shape.shared_memory && shape.hosts == 1 ? shared_memory_medium() : network_medium();
  const double bytes = static_cast<double>(block_bytes);
  const bool crowded = shape.ranks_per_core > 1;
  const double round_ns = medium.message_ns + (crowded ? medium.wake_ns * (shape.ranks_per_core - 1) : 0.0);
  // Messages beyond one a round are sent while others travel; they still cost the sender something.
  const double extra = counts.messages > counts.rounds
                           ? 0.25 * medium.message_ns * static_cast<double>(counts.messages - counts.rounds)
                           : 0;
  const double messages_ns = counts.rounds * round_ns + extra;
  const double link_ns = counts.sent.value() * bytes / (medium.bytes_per_ns * lanes);
  const double ranks_per_host = static_cast<double>(shape.ranks) / shape.hosts;
  const double machine_ns = counts.sent.value() * bytes * ranks_per_host / medium.machine_bytes_per_ns;
  const double reduce_ns = counts.reduced.value() * bytes * shape.ranks_per_core / reduction_bytes_per_ns();
  Cost cost;
  cost.time = Nanoseconds(static_cast<std::int64_t>(messages_ns + std::max(link_ns, machine_ns) + reduce_ns));
  const double most = std::max({messages_ns, link_ns, machine_ns, reduce_ns});
  cost.limit = most == messages_ns ? "the number of messages"
               : most == reduce_ns ? "reductions"
               : most == link_ns   ? "link bandwidth"
                                   : "the host's memory bandwidth";
  return cost;
}

}  // namespace tutti
