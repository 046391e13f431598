// Which path a large frame takes: its lane's own, or, where that is the slower one, the one that is expected to have
// it with the peer first. A plan gives all lanes the same share, since all ranks need the same plan; so a lane whose
// path is slow lends what it would be late with, and all paths of a pair together carry what they can.
//
// A path's rate is measured while it carries something: between two looks of which the second still finds some of
// what was under way at the first, so that it cannot have been idle. What has gone through otherwise is a lower
// bound. Where all are about as fast, nothing is lent, and frames come in order by the path of their lane; nor within
// a host, whose lanes have one path. Of paths that share a narrow way (Link::narrow_way) the first carries for all.
#include <algorithm>

#include "src/base/format.h"
#include "transports/failover/bundle.h"
#include "transports/failover/transport.h"

namespace tutti::failover {

namespace {

constexpr Nanoseconds kMeasureMin = std::chrono::milliseconds(1);
constexpr Nanoseconds kMeasureMax = std::chrono::milliseconds(10);
constexpr Nanoseconds kTooLong = std::chrono::milliseconds(100);  // to say anything of a path that may have been idle
constexpr double kWeightOfNew = 0.25;
constexpr double kSlower = 0.85;  // than another path, by which it lends; closer ones may only seem unlike

bool is_slower(const Path& path, const Path& other) {
  return path.bytes_per_second < kSlower * other.bytes_per_second;
}

std::uint64_t under_way(const Path& path) { return path.link->under_way().value_or(path.in_transport); }

}  // namespace

void Bundle::measure(Path& path, std::uint64_t under_way) {
  const Instant now = transport_.now();
  const Nanoseconds time = now - path.measured_at;
  const std::int64_t arrived = path.taken - static_cast<std::int64_t>(under_way);
  const std::int64_t moved = arrived - path.arrived_then;
  if (time < kMeasureMin || (2 * moved < path.under_way_then && time < kMeasureMax)) return;
  const bool was_busy = moved < path.under_way_then;
  if (was_busy || time < kTooLong) {
    const double rate =
        static_cast<double>(std::max<std::int64_t>(moved, 0)) * 1e9 / static_cast<double>(time.count());
    if (path.bytes_per_second == 0) {
      path.bytes_per_second = rate;
    } else if (was_busy || rate > path.bytes_per_second) {
      path.bytes_per_second += kWeightOfNew * (rate - path.bytes_per_second);
    }
  }
  path.measured_at = now;
  path.arrived_then = arrived;
  path.under_way_then = static_cast<std::int64_t>(under_way);
}

// Of those that share the path's narrow way, the one that fills it. Small frames go by their lane's own path, where
// they do not wait behind what fills it, and so does what confirms (confirm()): a lane that goes back and forth
// between paths may have little under way that is not confirmed (lane_sending.cc).
Path& Bundle::filling(Path& path) const {
  Path* first = &path;
  for (std::size_t i = 0; i < direct_; ++i) {
    Path& other = *ready_[i];
    if (other.lane < first->lane && other.narrow_way == path.narrow_way && !transport_.is_reserve(other.lane))
      first = &other;
  }
  return *first;
}

Path* Bundle::earliest(Path& own, std::size_t bytes) {
  if (own.link->is_within_host()) return &own;
  const std::uint64_t waits = under_way(own);
  measure(own, waits);
  if (waits == 0 || own.bytes_per_second == 0) return &own;
  Path* best = &own;
  double least = static_cast<double>(waits + bytes) / own.bytes_per_second;
  for (std::size_t i = 0; i < direct_; ++i) {
    Path& other = *ready_[i];
    // What the reserve carries helps all: it is nobody's own.
    const bool is_reserve = transport_.is_reserve(other.lane);
    if (is_reserve ? !transport_.options().reserve_carries : !is_slower(own, other)) continue;
    const std::uint64_t waits_there = under_way(other);
    measure(other, waits_there);
    if (!is_reserve && !is_slower(own, other)) continue;
    if (other.bytes_per_second == 0 && waits_there > 0) continue;
    const double time =  // one that was never measured takes a frame to begin with
        other.bytes_per_second == 0 ? 0 : static_cast<double>(waits_there + bytes) / other.bytes_per_second;
    if (time >= least) continue;
    least = time;
    best = &other;
  }
  if (best != &own && !slots_[own.lane].lends) note_lending(own, *best);
  return best;
}

void Bundle::note_lending(Path& own, const Path& other) {
  slots_[own.lane].lends = true;
  transport_.options().log.write(
      LogLevel::info, "failover",
      "what is large goes by {} ({}/s) or {} ({}/s) from now on, wherever it arrives first", own.link->describe(),
      format_bytes(static_cast<std::uint64_t>(own.bytes_per_second)), other.link->describe(),
      format_bytes(static_cast<std::uint64_t>(other.bytes_per_second)));
}

}  // namespace tutti::failover
