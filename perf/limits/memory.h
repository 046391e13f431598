// Rates of going through memory: within one process by one or more threads, each pinned to a core, and by reading
// another process's memory through the kernel.
#pragma once

#include <cstdint>
#include <vector>

#include "perf/limits/limits.h"

namespace tutti_limits {

struct Effort {
  int repetitions = 5;
  double seconds = 0.05;  // of one repetition
};

// Arrays of `bytes` (a multiple of 8) for each thread, which alone touches them.
MemoryRate measure_memory(Pass pass, int threads, std::uint64_t bytes, const Effort& effort);

SizedRate measure_process_vm_readv(std::uint64_t bytes, const Effort& effort);

}  // namespace tutti_limits
