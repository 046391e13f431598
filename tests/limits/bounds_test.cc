// The arithmetic of the bounds, from invented machines.
#include "perf/limits/bounds.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tutti_limits {
namespace {

constexpr std::uint64_t kMi = std::uint64_t{1} << 20;

Sample exactly(double value) { return {value, value, value, 5}; }

// Two cores; every pass moves 60 GB/s with two threads, 30 with one, at any size.
Limits flat_machine() {
  Limits limits;
  limits.cores = 2;
  for (int pass = 0; pass < kPasses; ++pass) {
    for (int threads = 1; threads <= 2; ++threads) {
      const Pass kind = static_cast<Pass>(pass);
      limits.memory.push_back({kind, threads, kMi, exactly(30.0 * threads / passes_moved(kind))});
    }
  }
  limits.hand_over_us = {{kSpin, {exactly(0.05), ""}},
                         {kYield, {exactly(1), ""}},
                         {kFutexOne, {exactly(2), ""}},
                         {kFutexTwo, {exactly(25), ""}}};
  limits.loopback_us = {{kTcpPolling, {exactly(3), ""}}, {kTcpBlockingOne, {exactly(5), ""}}};
  limits.loopback_gbps = {{"one way", {exactly(4), ""}}, {"both ways together", {exactly(8), ""}}};
  return limits;
}

double shared_us(const Limits& limits, Collective collective, int ranks, std::uint64_t bytes) {
  const auto bound = bound_of(limits, Way::shared_memory, collective, ranks, bytes);
  return bound ? bound->us : NAN;
}

TEST(Sample, IsTheMedianBetweenMinAndMax) {
  const Sample odd = sample_of({9, 1, 4});
  EXPECT_EQ(odd.median, 4);
  EXPECT_EQ(odd.min, 1);
  EXPECT_EQ(odd.max, 9);
  EXPECT_EQ(odd.repetitions, 3);
  EXPECT_EQ(sample_of({1, 2, 4, 9}).median, 3);
}

TEST(Bounds, EveryInputIsReadAndEveryOutputWrittenOnce) {
  const auto expect = [](Collective collective, double read, double written) {
    EXPECT_EQ(traffic_of(collective, 4, 10).read, read) << collective_name(collective);
    EXPECT_EQ(traffic_of(collective, 4, 10).written, written) << collective_name(collective);
  };
  expect(Collective::all_reduce, 40, 40);
  expect(Collective::all_to_all, 40, 40);
  expect(Collective::reduce_scatter, 40, 10);
  expect(Collective::all_gather, 10, 40);
  expect(Collective::broadcast, 10, 30);
}

TEST(Bounds, ReadsBeyondTwoForEachWriteCountAtTheRateOfReading) {
  Limits limits = flat_machine();
  for (MemoryRate& rate : limits.memory) {
    if (rate.pass == Pass::read) rate.gbps = exactly(120);
  }
  // 8 ranks: 3 x 6 MB at 60 GB/s, 6 x 6 MB at 120 GB/s
  EXPECT_NEAR(shared_us(limits, Collective::reduce_scatter, 8, 6'000'000), 300 + 300, 1e-6);
  EXPECT_NEAR(shared_us(limits, Collective::reduce_scatter, 2, 6'000'000), 300, 1e-6);
  EXPECT_NEAR(shared_us(limits, Collective::all_reduce, 2, 6'000'000), 400, 1e-6);
}

TEST(Bounds, TheWireCarriesTwiceAsMuchForAnAllReduce) {
  EXPECT_EQ(bytes_sent(Collective::all_reduce, 4, 10), 60);
  EXPECT_EQ(bytes_sent(Collective::all_gather, 4, 10), 30);
  EXPECT_EQ(bytes_of_host(Collective::all_reduce, 4, 10), 15);
  EXPECT_EQ(bytes_of_host(Collective::reduce_scatter, 4, 10), 7.5);
  EXPECT_EQ(bytes_of_host(Collective::broadcast, 4, 10), 10);
}

TEST(Bounds, LargeSizesAreLimitedByMemory) {
  // 2 ranks x 2 x 60 MB at 60 GB/s
  const auto bound = bound_of(flat_machine(), Way::shared_memory, Collective::all_reduce, 2, 60'000'000);
  ASSERT_TRUE(bound);
  EXPECT_NEAR(bound->us, 4000, 1e-6);
  EXPECT_EQ(bound->limited_by, "memory");
  // a += b at 20 GB/s of payload, then memcpy at 30
  ASSERT_TRUE(bound->two_phase_us);
  EXPECT_NEAR(*bound->two_phase_us, 3000 + 2000, 1e-6);
}

TEST(Bounds, TheFusedPassIsNeverSlowerThanTwoPhases) {
  const Limits limits = flat_machine();
  for (const int ranks : {2, 3, 4, 8, 64}) {
    const auto bound = bound_of(limits, Way::shared_memory, Collective::all_reduce, ranks, 16 * kMi);
    ASSERT_TRUE(bound && bound->two_phase_us);
    EXPECT_LT(bound->us, *bound->two_phase_us) << ranks;
  }
}

TEST(Bounds, SmallSizesAreLimitedByOneHandOverWhileThereAreCores) {
  const auto bound = bound_of(flat_machine(), Way::shared_memory, Collective::all_reduce, 2, 8);
  ASSERT_TRUE(bound);
  EXPECT_EQ(bound->us, 0.05);
  EXPECT_EQ(bound->limited_by, "turns");
}

TEST(Bounds, EachRankOfACoreTakesATurnWhereRanksOutnumberCores) {
  const Limits limits = flat_machine();
  EXPECT_EQ(shared_us(limits, Collective::all_reduce, 3, 8), 2);
  EXPECT_EQ(shared_us(limits, Collective::all_to_all, 8, 8), 4);
  EXPECT_EQ(bound_of(limits, Way::loopback, Collective::all_gather, 8, 8)->us, 4);
  EXPECT_EQ(bound_of(limits, Way::loopback, Collective::all_gather, 4, 8)->us, 3) << "TCP's own hand-over is longer";
}

TEST(Bounds, ARootNeedNotWaitForRanksThatShareACore) {
  EXPECT_EQ(shared_us(flat_machine(), Collective::broadcast, 8, 8), 0.05);
}

TEST(Bounds, LoopbackTakesTheBestRateOfAnyPairOfSockets) {
  Limits limits = flat_machine();
  EXPECT_NEAR(bound_of(limits, Way::loopback, Collective::all_reduce, 4, 8'000'000)->us, 6000, 1e-6);
  limits.iperf_gbps = {{"1 stream", {exactly(16), ""}}};
  EXPECT_NEAR(bound_of(limits, Way::loopback, Collective::all_reduce, 4, 8'000'000)->us, 3000, 1e-6);
}

TEST(Bounds, ALinkIsFilledInOneDirection) {
  Limits limits = flat_machine();
  EXPECT_FALSE(bound_of(limits, Way::link, Collective::all_reduce, 2, kMi));
  limits.link_gbps = {{"to b", {exactly(0.119), ""}}, {"from b", {Sample(), "refused"}}};
  EXPECT_NEAR(bound_of(limits, Way::link, Collective::all_reduce, 2, 119'000)->us, 1000, 1e-6);
}

TEST(Bounds, WhatWasNotMeasuredGivesNone) {
  Limits limits = flat_machine();
  limits.memory.clear();
  EXPECT_FALSE(bound_of(limits, Way::shared_memory, Collective::all_reduce, 2, kMi));
  limits.loopback_gbps.clear();
  EXPECT_FALSE(bound_of(limits, Way::loopback, Collective::all_reduce, 2, kMi));
}

TEST(Bounds, OneThreadsRateServesWhereThereIsOneCore) {
  Limits limits = flat_machine();
  limits.cores = 1;
  EXPECT_NEAR(shared_us(limits, Collective::all_reduce, 2, 60'000'000), 8000, 1e-6);
}

TEST(Bounds, EveryCollectiveRankCountAndSizeHasOne) {
  const auto bounds = bounds_of(flat_machine(), {2, 8}, {8, kMi, 16 * kMi});
  EXPECT_EQ(bounds.size(), 2u * kCollectives * 2 * 3) << "shared memory and loopback; no link was measured";
}

TEST(Rates, LieBetweenTheMeasuredSizesAndAreTheBest) {
  std::vector<MemoryRate> rates = {{Pass::copy, 1, 1024, {90, 80, 100, 5}}, {Pass::copy, 1, 1024 * 1024, exactly(1)}};
  EXPECT_NEAR(*rate_at(rates, Pass::copy, 1, 32 * 1024), 10, 1e-9) << "half way in logarithms";
  EXPECT_EQ(*rate_at(rates, Pass::copy, 1, 8), 100);
  EXPECT_EQ(*rate_at(rates, Pass::copy, 1, 1024), 100);
  EXPECT_EQ(*rate_at(rates, Pass::copy, 1, 1e12), 1);
  EXPECT_FALSE(rate_at(rates, Pass::copy, 2, 1024));
  EXPECT_FALSE(rate_at(rates, Pass::add, 1, 1024));
}

TEST(Rates, TheBestMoverIsFoundByBytesNotByPayload) {
  const std::vector<MemoryRate> rates = {{Pass::copy, 1, kMi, exactly(25)}, {Pass::add, 1, kMi, exactly(20)}};
  EXPECT_EQ(*moving_rate(rates, 1, static_cast<double>(2 * kMi)), 60) << "a += b moves three bytes for one";
}

}  // namespace
}  // namespace tutti_limits
