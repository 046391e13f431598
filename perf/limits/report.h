// What tutti-limits says: a table for people, JSON for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "perf/limits/bounds.h"
#include "perf/limits/limits.h"
#include "perf/limits/machine.h"
#include "perf/limits/options.h"

namespace tutti_limits {

std::string table(const Machine& machine, const Options& options, const Limits& limits,
                  const std::vector<Bound>& bounds);

// A figure is {"median", "min", "max", "repetitions"} or {"missing": why}.
nlohmann::json to_json(const Machine& machine, const Options& options, const Limits& limits,
                       const std::vector<Bound>& bounds);

// "8 B", "64 KiB"
std::string bytes_text(std::uint64_t bytes);

}  // namespace tutti_limits
