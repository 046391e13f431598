// What a flight record says, in sentences and tables for people. Pure: a snapshot in, text out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/diagnosis/recorder_reader.h"

namespace tutti {

// The peer whose first byte came last, and how long after the operation was posted here; nothing where no byte came.
struct LastArrival {
  std::int32_t rank = 0;
  std::int64_t after_ns = 0;
};
std::optional<LastArrival> last_arrival(const OperationRecord& operation);

// The moment, on the writer's clock, that durations of what is pending are counted to: `monotonic_now_ns` for a
// process that lives on this machine, its last sign of life for one that does not.
std::int64_t reference_ns(const RecorderSnapshot& snapshot, std::int64_t monotonic_now_ns);

// Who: process, host, program, since when, alive or not, its communicators, bytes by transport.
std::string describe_process(const RecorderSnapshot& snapshot, std::int64_t now_ns);
// A table of the `last` newest operations, oldest first.
std::string describe_operations(const RecorderSnapshot& snapshot, std::size_t last, std::int64_t now_ns);
// A line for each of the `last` newest changes of lanes, oldest first; empty: there were none.
std::string describe_lanes(const RecorderSnapshot& snapshot, std::size_t last);
// "lane 1 by tcp to node07 pid 4711 is lost"
std::string lane_text(const RecorderSnapshot& snapshot, const LaneRecord& lane);
// One paragraph for each operation that is not done: how long, how far, and which ranks it waits for.
std::string describe_pending(const RecorderSnapshot& snapshot, std::int64_t now_ns);

// "2026-11-21T07:45:12.123Z", for a moment on the writer's clock.
std::string utc_text(const RecorderSnapshot& snapshot, std::int64_t at_ns);

// later - earlier, 0 where that is negative or the times are nonsense.
std::int64_t elapsed_ns(std::int64_t earlier, std::int64_t later);

}  // namespace tutti
