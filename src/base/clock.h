// Time as a value. Everything above src/base and the transports takes `now` as an argument; only the composition root
// (src/api) and the transports read a clock, so that a whole cluster can run under a virtual one.
#pragma once

#include <chrono>

namespace tutti {

using Nanoseconds = std::chrono::nanoseconds;
// A point on the monotonic clock, or on a simulation's own.
using Instant = std::chrono::time_point<std::chrono::steady_clock, Nanoseconds>;

constexpr Instant kNever = Instant::max();

inline Instant monotonic_now() { return std::chrono::steady_clock::now(); }

// now + duration, saturating: a negative duration means "no limit" and gives kNever.
constexpr Instant deadline_after(Instant now, Nanoseconds duration) {
  if (duration.count() < 0 || duration > kNever - now) return kNever;
  return now + duration;
}

}  // namespace tutti
