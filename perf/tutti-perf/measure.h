// Times and checks one operation on all ranks together.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "perf/tutti-perf/operation.h"
#include "perf/tutti-perf/options.h"

namespace tutti_perf {

struct Latency {
  double min_us = 0;
  double p50_us = 0;
  double p90_us = 0;
  double p99_us = 0;
  double max_us = 0;
};

struct Measurement {
  double time_us = 0;
  double algorithm_gbps = 0;  // GB/s
  double bus_gbps = 0;
  std::optional<std::uint64_t> wrong;  // elements on all ranks together; nothing if it was not checked
  std::optional<Latency> latency;
};

// Of values in microseconds, in any order; not empty.
Latency latency_of(std::vector<double> times_us);

// Collective over the session's ranks. `buffers` has Options::in_flight entries.
Error measure(Session& session, const Options& options, const Case& what, bool in_place,
              const std::vector<Buffers>& buffers, Measurement& result);

}  // namespace tutti_perf
