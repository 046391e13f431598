// Cost model: a small, linear prediction (Hockney's alpha and beta, plus a rate for reductions) of how long an
// algorithm takes on a communicator of a given shape. The constants were measured with the benchmarks named in
// docs/benchmarks.md; predictions are for choosing between algorithms, and are compared with measurements there.
#pragma once

#include <cstdint>
#include <string_view>

#include "src/base/clock.h"
#include "src/planning/plan.h"
#include "src/schedule/counts.h"

namespace tutti {

// One kind of connection between two ranks.
struct Medium {
  std::string_view name;
  double message_ns;            // one small message, one way, receiver awake
  double wake_ns;               // extra per message when ranks outnumber cores: the receiver must be scheduled first
  double bytes_per_ns;          // one link, one direction, incl. the copies that the transport makes
  double machine_bytes_per_ns;  // all links of one host together
};

const Medium& shared_memory_medium();
const Medium& network_medium();
double reduction_bytes_per_ns();

struct Cost {
  Nanoseconds time{0};
  std::string_view limit;  // what takes most of it: "messages", "bandwidth", "memory bandwidth", "reductions"
};

Cost estimate(const Counts& counts, std::uint64_t block_bytes, const Shape& shape, std::uint32_t lanes);

}  // namespace tutti
