// How long it takes to hand over from one process to another: half of a round trip through a shared cache line.
#pragma once

#include <vector>

#include "perf/limits/limits.h"
#include "perf/limits/memory.h"

namespace tutti_limits {

// By spinning, sched_yield, and futex; those that need two cores say so where there is only one.
std::vector<Named> measure_hand_over(const Effort& effort);

}  // namespace tutti_limits
