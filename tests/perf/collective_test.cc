// Bandwidths and block sizes against values worked out by hand.
#include "perf/tutti-perf/collective.h"

#include <gtest/gtest.h>

#include <numeric>

#include "perf/tutti-perf/measure.h"

namespace tutti_perf {
namespace {

using Counts = std::vector<std::size_t>;

TEST(Bandwidth, IsSizeOverTime) {
  EXPECT_DOUBLE_EQ(algorithm_bandwidth(1'000'000'000, 1e6), 1.0);  // 1 GB in 1 s
  EXPECT_DOUBLE_EQ(algorithm_bandwidth(4096, 2), 2.048);           // 4096 B in 2 us
  EXPECT_DOUBLE_EQ(algorithm_bandwidth(4096, 0), 0);
}

TEST(Bandwidth, OnTheBusFollowsNcclTests) {
  EXPECT_DOUBLE_EQ(bus_factor(Kind::all_reduce, 4), 1.5);  // 2 * 3 / 4
  EXPECT_DOUBLE_EQ(bus_factor(Kind::all_reduce, 2), 1.0);
  EXPECT_DOUBLE_EQ(bus_factor(Kind::all_reduce, 1), 0.0);
  EXPECT_DOUBLE_EQ(bus_factor(Kind::reduce_scatter, 4), 0.75);  // 3 / 4
  EXPECT_DOUBLE_EQ(bus_factor(Kind::all_gather, 8), 0.875);
  EXPECT_DOUBLE_EQ(bus_factor(Kind::all_to_all, 2), 0.5);
  EXPECT_DOUBLE_EQ(bus_factor(Kind::gather, 4), 0.75);
  EXPECT_DOUBLE_EQ(bus_factor(Kind::scatter, 4), 0.75);
  EXPECT_DOUBLE_EQ(bus_factor(Kind::broadcast, 4), 1.0);
  EXPECT_DOUBLE_EQ(bus_factor(Kind::reduce, 4), 1.0);
  EXPECT_DOUBLE_EQ(bus_factor(Kind::send_receive, 4), 1.0);
}

TEST(Blocks, AreEqualOrGrowWithTheRank) {
  EXPECT_EQ(block_counts(Kind::all_reduce, 100, 4), (Counts{100}));
  EXPECT_EQ(block_counts(Kind::all_gather, 100, 4), (Counts{25, 25, 25, 25}));
  EXPECT_EQ(block_counts(Kind::all_gather_v, 100, 4), (Counts{10, 20, 30, 40}));
  EXPECT_EQ(block_counts(Kind::all_gather_v, 4, 4), (Counts{0, 0, 0, 4}));  // empty blocks are legal
  EXPECT_EQ(offsets_of({10, 20, 30}), (Counts{0, 10, 30, 60}));
}

TEST(Blocks, OfAnUnevenExchangeFitTogether) {
  const Counts counts = block_counts(Kind::all_to_all_v, 103, 5);
  for (int a = 0; a < 5; ++a) {
    std::size_t sent = 0;
    for (int b = 0; b < 5; ++b) {
      sent += exchange_count(counts, a, b);
      EXPECT_EQ(exchange_count(counts, a, b), exchange_count(counts, b, a));
    }
    EXPECT_EQ(sent, 103u);
  }
}

TEST(Kinds, AreFoundByName) {
  for (std::size_t i = 0; i < kKinds; ++i) {
    const Kind kind = static_cast<Kind>(i);
    EXPECT_EQ(kind_named(traits(kind).name), kind);
  }
  EXPECT_FALSE(kind_named("allreduce").has_value());
}

TEST(Latency, PercentilesAreOfTheNearestRank) {
  std::vector<double> times(100);
  std::iota(times.begin(), times.end(), 1.0);
  std::swap(times.front(), times.back());
  const Latency latency = latency_of(times);
  EXPECT_EQ(latency.min_us, 1);
  EXPECT_EQ(latency.p50_us, 50);
  EXPECT_EQ(latency.p90_us, 90);
  EXPECT_EQ(latency.p99_us, 99);
  EXPECT_EQ(latency.max_us, 100);
  EXPECT_EQ(latency_of({7}).p99_us, 7);
}

}  // namespace
}  // namespace tutti_perf
