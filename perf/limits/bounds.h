// The least time that a collective can take on this machine, from the machine's measured limits. Pure arithmetic.
//
// S is the size in bytes as tutti-perf counts it: the larger of a rank's two buffers (all-gather: the output,
// reduce-scatter: the input). n ranks on c cores. Three things bound the time from below; the bound is the largest.
//
// 1. Memory (shared memory only). Every input must be read once and every output written once, by somebody:
//
//        all_reduce      n S read, n S written          2 n S
//        all_to_all      n S read, n S written          2 n S
//        reduce_scatter  n S read,   S written      (n + 1) S
//        all_gather        S read, n S written      (n + 1) S
//        broadcast         S read, (n - 1) S written    n S   (in place at the root)
//
//    Nothing less will do, and this much suffices: a pass which holds the sum of n inputs in registers and stores it
//    in n outputs. The usual algorithms move more: reduce-scatter then all-gather straight between the ranks' buffers
//    does (n - 1) S of a += b and (n - 1) S of memcpy, 5 (n - 1) S; with all n inputs summed in one pass it is
//    (n + 1) S and then copies of 2 (n - 1) S, (3 n - 1) S. For 2 ranks both are 5 S against 4 S, for 8 ranks 35 S
//    and 23 S against 16 S. The first of them is given beside the bound as `two_phase_us`: (n - 1) S (1 / add + 1 /
//    copy), what an algorithm that is already good costs; an implementation may beat it, the bound it may not. The
//    bytes are divided by the highest rate at which memcpy, a += b or c = a + b move bytes (2, 3 and 3 for each byte
//    of payload) with min(n, c) threads, each of which has as much to go through as it would have in the collective:
//    caches count. Reading alone is faster than that, so reads beyond two for each write (reduce_scatter of more than
//    2 ranks) count at the rate of pure reading.
// 2. The wire. Through the loopback, all ranks together send at least 2 (n - 1) S for an all-reduce and (n - 1) S for
//    each of the others; divided by the highest rate that any bare pair of sockets reached, in both directions
//    together. A link: each host sends and receives (n - 1) / n of that, with one rank on a host: 2 (n - 1) / n S,
//    (n - 1) / n S, and S for a broadcast; divided by the rate of the link in one direction.
// 3. Turns. Nobody can finish before the last has started (but in a broadcast), so one hand-over between cores is
//    needed; and where ranks outnumber cores, each of the ceil(n / c) ranks of a core has to run once in each
//    operation, which costs a switch each: the cheaper of sched_yield and futex on one core.
//
// Rates are those of the best repetition: other work on the machine can only make them smaller, and a bound must
// hold. No bound counts the time to add where the wire bounds, or adds the three up: they may overlap.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/limits/limits.h"

namespace tutti_limits {

enum class Collective { all_reduce, reduce_scatter, all_gather, all_to_all, broadcast };
inline constexpr int kCollectives = 5;
const char* collective_name(Collective collective);

enum class Way { shared_memory, loopback, link };
// "shm", "lo", "link"
const char* way_name(Way way);

// Bytes that all ranks together read and write in memory at the least.
struct Traffic {
  double read = 0;
  double written = 0;
};
Traffic traffic_of(Collective collective, int ranks, double bytes);
// Bytes that all ranks together send at the least.
double bytes_sent(Collective collective, int ranks, double bytes);
// Bytes that the busiest host must send or receive at the least, one rank on each host.
double bytes_of_host(Collective collective, int ranks, double bytes);

// The rate in GB/s of a pass at that many bytes of one array, from its best repetitions: interpolated between
// measured sizes, in logarithms; the nearest beyond them. Nothing if the pass was not measured with so many threads.
std::optional<double> rate_at(const std::vector<MemoryRate>& rates, Pass pass, int threads, double bytes);

// The highest rate in GB/s at which any pass that writes moves bytes, where each thread goes through `bytes` in all.
std::optional<double> moving_rate(const std::vector<MemoryRate>& rates, int threads, double bytes);

struct Bound {
  Way way = Way::shared_memory;
  Collective collective = Collective::all_reduce;
  int ranks = 2;
  std::uint64_t bytes = 0;
  double us = 0;
  std::string limited_by;              // "memory", "wire", "turns"
  std::optional<double> two_phase_us;  // all_reduce in shared memory only
};

// Nothing if what it needs was not measured.
std::optional<Bound> bound_of(const Limits& limits, Way way, Collective collective, int ranks, std::uint64_t bytes);

std::vector<Bound> bounds_of(const Limits& limits, const std::vector<int>& ranks,
                             const std::vector<std::uint64_t>& sizes);

}  // namespace tutti_limits
