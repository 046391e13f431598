// The cost model: what an algorithm asks for, exactly, and that costs grow with what they are made of.
#include <gtest/gtest.h>

#include "src/planning/cost_model.h"

namespace tutti {
namespace {

Shape one_host(Rank ranks, std::uint32_t ranks_per_core, bool shared_memory) {
  Shape shape;
  shape.ranks = ranks;
  shape.host.assign(static_cast<std::size_t>(ranks), 0);
  shape.ranks_per_core = ranks_per_core;
  shape.shared_memory = shared_memory;
  return shape;
}

Shape many_hosts(Rank ranks) {
  Shape shape;
  shape.ranks = ranks;
  for (Rank r = 0; r < ranks; ++r) shape.host.push_back(static_cast<std::uint32_t>(r));
  shape.hosts = static_cast<std::uint32_t>(ranks);
  return shape;
}

Demand demand(Collective what, std::string_view name, Rank ranks) {
  return demand_of(*find_algorithm(what, name), ranks);
}

TEST(CostModel, KnowsWhatAllRanksOfAnAlgorithmAskForTogether) {
  const Demand ring = demand(Collective::all_reduce, "ring", 4);
  EXPECT_DOUBLE_EQ(ring.messages, 4 * 6);
  EXPECT_DOUBLE_EQ(ring.sent, 6);
  EXPECT_DOUBLE_EQ(ring.reduced, 3);
  EXPECT_DOUBLE_EQ(ring.busiest_received, 1.5);
  EXPECT_EQ(ring.destinations, 1u);
  const Demand star = demand(Collective::all_reduce, "star", 4);
  EXPECT_DOUBLE_EQ(star.messages, 6);
  EXPECT_DOUBLE_EQ(star.sent, 6);
  EXPECT_DOUBLE_EQ(star.busiest_received, 3);
  EXPECT_EQ(star.destinations, 3u);
  const Demand direct = demand(Collective::reduce, "direct", 4);
  EXPECT_DOUBLE_EQ(direct.messages, 3);
  EXPECT_DOUBLE_EQ(direct.reduced, 5.0 / 3) << "four operands in one pass: five streams instead of nine";
}

TEST(CostModel, CountsCopiesWithinARank) {
  EXPECT_GT(demand(Collective::all_to_all, "bruck", 4).copied,
            demand(Collective::all_to_all, "direct", 4).copied + 4);
}

TEST(CostModel, EstimatesManyRanksFromAFewOfThem) {
  const Demand ring = demand(Collective::all_reduce, "ring", 200);
  EXPECT_NEAR(ring.sent, 2.0 * 199, 1e-6);
  EXPECT_NEAR(ring.messages, 200.0 * 2 * 199, 1e-6);
  const Demand star = demand(Collective::all_reduce, "star", 200);
  EXPECT_NEAR(star.sent, 2.0 * 199, 1e-6) << "the root stands for itself only";
}

TEST(CostModel, GrowsWithBytesAndRanksPerCore) {
  const Demand ring = demand(Collective::all_reduce, "ring", 4);
  for (const bool shared_memory : {false, true}) {
    const Shape roomy = one_host(4, 1, shared_memory);
    const Shape crowded = one_host(4, 4, shared_memory);
    Nanoseconds last{0};
    for (std::uint64_t bytes = 64; bytes <= (64u << 20); bytes *= 4) {
      const Nanoseconds time = estimate(ring, bytes, roomy, 1).time;
      EXPECT_GE(time, last);
      EXPECT_GE(estimate(ring, bytes, crowded, 1).time.count() * 4, time.count());
      if (bytes >= (1u << 20)) {
        EXPECT_GT(estimate(ring, bytes, crowded, 1).time, time);
      }
      last = time;
    }
  }
}

TEST(CostModel, LanesHelpWhereOneLinkIsTheLimit) {
  const Demand broadcast = demand(Collective::broadcast, "direct", 8);
  Shape shape = one_host(8, 1, false);
  EXPECT_EQ(estimate(broadcast, 64 << 20, shape, 1).limit, "bandwidth");
  EXPECT_LT(estimate(broadcast, 64 << 20, shape, 4).time, estimate(broadcast, 64 << 20, shape, 1).time);
  EXPECT_EQ(estimate(broadcast, 64 << 20, shape, 4).limit, "memory bandwidth");
}

TEST(CostModel, SaysWhatLimits) {
  const Demand ring = demand(Collective::all_reduce, "ring", 8);
  EXPECT_EQ(estimate(ring, 8, many_hosts(8), 1).limit, "latency");
  EXPECT_EQ(estimate(demand(Collective::all_to_all, "direct", 8), 8, one_host(8, 4, true), 1).limit, "messages");
  EXPECT_EQ(estimate(ring, 64 << 20, one_host(8, 4, true), 1).limit, "memory bandwidth");
}

TEST(CostModel, ABoardCostsLessThanItsLinks) {
  for (const Rank ranks : {2, 4, 8}) {
    const Shape shape = one_host(ranks, 1, true);
    EXPECT_LT(estimate_board(1024, shape).time,
              estimate(demand(Collective::all_reduce, "direct", ranks), 1024, shape, 1).time);
  }
}

}  // namespace
}  // namespace tutti
