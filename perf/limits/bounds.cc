#include "perf/limits/bounds.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace tutti_limits {

namespace {

constexpr double kBytesPerUs = 1e3;  // of one GB/s

// The cheapest figure of those names that was measured.
std::optional<double> least(const std::vector<Named>& figures, std::initializer_list<const char*> names) {
  std::optional<double> best;
  for (const char* name : names) {
    const Sample* sample = find(figures, name);
    if (sample && (!best || sample->min < *best)) best = sample->min;
  }
  return best;
}

std::optional<double> highest(const std::vector<Named>& figures) {
  std::optional<double> best;
  for (const Named& figure : figures) {
    if (figure.figure.is_there() && (!best || figure.figure.sample.max > *best)) best = figure.figure.sample.max;
  }
  return best;
}

// Time for the ranks to take their turns; 0 where the figures are missing.
double turns_us(const Limits& limits, Way way, Collective collective, int ranks) {
  if (way == Way::link) return 0;  // the latency of a link is not measured
  const double hand_over =
      way == Way::shared_memory
          ? least(limits.hand_over_us, {kSpin, kYield, kFutexOne}).value_or(0)
          : least(limits.loopback_us, {kTcpPolling, kTcpBlockingOne, kTcpBlockingTwo}).value_or(0);
  if (collective == Collective::broadcast || ranks <= limits.cores) return hand_over;
  const int turns = (ranks + limits.cores - 1) / limits.cores;
  return std::max(hand_over, turns * least(limits.hand_over_us, {kYield, kFutexOne}).value_or(0));
}

std::optional<double> memory_us(const Limits& limits, Collective collective, int ranks, double bytes) {
  const int threads = std::min(ranks, limits.cores);
  const Traffic traffic = traffic_of(collective, ranks, bytes);
  const double of_thread = (traffic.read + traffic.written) / threads;
  const auto mixed = moving_rate(limits.memory, threads, of_thread);
  const auto reading = rate_at(limits.memory, Pass::read, threads, of_thread);
  if (!mixed || !reading) return std::nullopt;
  const double reads_only = std::max(0.0, traffic.read - 2 * traffic.written);
  const double rest = traffic.read + traffic.written - reads_only;
  return (rest / *mixed + reads_only / std::max(*mixed, *reading)) / kBytesPerUs;
}

std::optional<double> two_phase_us(const Limits& limits, int ranks, double bytes) {
  const int threads = std::min(ranks, limits.cores);
  const double array = ranks * bytes / threads;  // of one thread's share of all inputs
  const auto add = rate_at(limits.memory, Pass::add, threads, array);
  const auto copy = rate_at(limits.memory, Pass::copy, threads, array);
  if (!add || !copy) return std::nullopt;
  return (ranks - 1) * bytes * (1 / *add + 1 / *copy) / kBytesPerUs;
}

std::optional<double> loopback_rate(const Limits& limits) {
  const auto bare = highest(limits.loopback_gbps);
  const auto iperf = highest(limits.iperf_gbps);
  return bare && iperf ? std::max(bare, iperf) : bare ? bare : iperf;
}

}  // namespace

const char* pass_name(Pass pass) {
  static constexpr std::array<const char*, kPasses> kNames = {"memcpy", "a += b", "c = a + b", "read a"};
  return kNames[static_cast<std::size_t>(pass)];
}

int passes_moved(Pass pass) {
  static constexpr std::array<int, kPasses> kMoved = {2, 3, 3, 1};
  return kMoved[static_cast<std::size_t>(pass)];
}

const Sample* find(const std::vector<Named>& figures, const std::string& name) {
  for (const Named& figure : figures) {
    if (figure.name == name && figure.figure.is_there()) return &figure.figure.sample;
  }
  return nullptr;
}

const char* collective_name(Collective collective) {
  static constexpr std::array<const char*, kCollectives> kNames = {"all_reduce", "reduce_scatter", "all_gather",
                                                                   "all_to_all", "broadcast"};
  return kNames[static_cast<std::size_t>(collective)];
}

const char* way_name(Way way) {
  static constexpr std::array<const char*, 3> kNames = {"shm", "lo", "link"};
  return kNames[static_cast<std::size_t>(way)];
}

Traffic traffic_of(Collective collective, int ranks, double bytes) {
  switch (collective) {
    case Collective::all_reduce:
    case Collective::all_to_all:
      return {ranks * bytes, ranks * bytes};
    case Collective::reduce_scatter:
      return {ranks * bytes, bytes};
    case Collective::all_gather:
      return {bytes, ranks * bytes};
    case Collective::broadcast:
      return {bytes, (ranks - 1) * bytes};
  }
  return {};
}

double bytes_sent(Collective collective, int ranks, double bytes) {
  return (collective == Collective::all_reduce ? 2 : 1) * (ranks - 1) * bytes;
}

double bytes_of_host(Collective collective, int ranks, double bytes) {
  if (collective == Collective::broadcast) return bytes;
  return bytes_sent(collective, ranks, bytes) / ranks;
}

std::optional<double> rate_at(const std::vector<MemoryRate>& rates, Pass pass, int threads, double bytes) {
  const MemoryRate* below = nullptr;
  const MemoryRate* above = nullptr;
  for (const MemoryRate& rate : rates) {
    if (rate.pass != pass || rate.threads != threads) continue;
    const double size = static_cast<double>(rate.bytes);
    if (size <= bytes && (!below || rate.bytes > below->bytes)) below = &rate;
    if (size >= bytes && (!above || rate.bytes < above->bytes)) above = &rate;
  }
  if (!below && !above) return std::nullopt;
  if (!below || !above || below == above) return (below ? below : above)->gbps.max;
  const double width = std::log(static_cast<double>(above->bytes) / static_cast<double>(below->bytes));
  const double part = std::log(bytes / static_cast<double>(below->bytes)) / width;
  return std::exp((1 - part) * std::log(below->gbps.max) + part * std::log(above->gbps.max));
}

std::optional<double> moving_rate(const std::vector<MemoryRate>& rates, int threads, double bytes) {
  struct Mover {
    Pass pass;
    int arrays;
  };
  std::optional<double> best;
  for (const Mover& mover : {Mover{Pass::copy, 2}, Mover{Pass::add, 2}, Mover{Pass::sum, 3}}) {
    const auto rate = rate_at(rates, mover.pass, threads, bytes / mover.arrays);
    if (rate && (!best || *rate * passes_moved(mover.pass) > *best)) best = *rate * passes_moved(mover.pass);
  }
  return best;
}

std::optional<Bound> bound_of(const Limits& limits, Way way, Collective collective, int ranks, std::uint64_t bytes) {
  const double size = static_cast<double>(bytes);
  std::optional<double> data;
  if (way == Way::shared_memory) {
    data = memory_us(limits, collective, ranks, size);
  } else if (way == Way::loopback) {
    if (const auto rate = loopback_rate(limits)) data = bytes_sent(collective, ranks, size) / (*rate * kBytesPerUs);
  } else if (const auto rate = highest(limits.link_gbps)) {
    data = bytes_of_host(collective, ranks, size) / (*rate * kBytesPerUs);
  }
  if (!data) return std::nullopt;
  const double turns = turns_us(limits, way, collective, ranks);
  Bound bound{way, collective, ranks, bytes, std::max(*data, turns), "turns", std::nullopt};
  if (*data >= turns) bound.limited_by = way == Way::shared_memory ? "memory" : "wire";
  if (way == Way::shared_memory && collective == Collective::all_reduce)
    bound.two_phase_us = two_phase_us(limits, ranks, size);
  return bound;
}

std::vector<Bound> bounds_of(const Limits& limits, const std::vector<int>& ranks,
                             const std::vector<std::uint64_t>& sizes) {
  std::vector<Bound> bounds;
  for (const Way way : {Way::shared_memory, Way::loopback, Way::link}) {
    for (int i = 0; i < kCollectives; ++i) {
      for (const int count : ranks) {
        for (const std::uint64_t bytes : sizes) {
          if (auto bound = bound_of(limits, way, static_cast<Collective>(i), count, bytes))
            bounds.push_back(*std::move(bound));
        }
      }
    }
  }
  return bounds;
}

}  // namespace tutti_limits
