// A bare pair of TCP sockets between two processes over the loopback: no library, no protocol.
#pragma once

#include <cstdint>
#include <vector>

#include "perf/limits/limits.h"
#include "perf/limits/memory.h"

namespace tutti_limits {

// Microseconds for 8 bytes one way, half of a round trip.
std::vector<Named> measure_loopback_latency(const Effort& effort);

// GB/s of a stream of `bytes` one way, and of one each way at once (both together).
std::vector<Named> measure_loopback_bandwidth(std::uint64_t bytes, const Effort& effort);

}  // namespace tutti_limits
