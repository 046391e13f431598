// What the planner chooses for invented shapes, what it says about it, and what it refuses.
#include <gtest/gtest.h>

#include <algorithm>

#include "src/base/format.h"
#include "src/planning/planner.h"

namespace tutti {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

Shape one_host(Rank ranks, std::uint32_t ranks_per_core = 1) {
  Shape shape;
  shape.ranks = ranks;
  shape.host.assign(static_cast<std::size_t>(ranks), 0);
  shape.ranks_per_core = ranks_per_core;
  shape.shared_memory = true;
  return shape;
}

Shape one_rank_per_host(Rank ranks, std::uint32_t lanes = 1) {
  Shape shape;
  shape.ranks = ranks;
  for (Rank r = 0; r < ranks; ++r) shape.host.push_back(static_cast<std::uint32_t>(r));
  shape.hosts = static_cast<std::uint32_t>(ranks);
  shape.network_lanes = lanes;
  return shape;
}

Planner planner_for(const Shape& shape, std::string_view forced = {}) {
  return *Planner::make(all_algorithms(), shape, forced);
}

PlanQuery query(Collective what, std::uint64_t block_bytes, BlockKnowledge blocks = BlockKnowledge::uniform) {
  PlanQuery q;
  q.what = what;
  q.blocks = blocks;
  q.block_bytes = block_bytes;
  q.element_bytes = 4;
  return q;
}

std::string chosen(const Shape& shape, Collective what, std::uint64_t block_bytes) {
  return std::string(planner_for(shape).plan(query(what, block_bytes))->lanes[0].algorithm->name);
}

struct Choice {
  Shape shape;
  Collective what;
  std::uint64_t block_bytes;
  std::string_view expected;
};

TEST(Planner, ChoosesWhatWasMeasuredToBeBest) {
  const Choice choices[] = {
      // Two ranks with a core each: one round for small ones, half the reductions for large ones.
      {one_host(2), Collective::all_reduce, 16 * kKiB, "recursive_doubling"},
      {one_host(2), Collective::all_reduce, 256 * kKiB, "recursive_doubling"},
      {one_host(2), Collective::all_reduce, 16 * kMiB, "ring"},
      {one_host(2), Collective::reduce, 256 * kKiB, "binomial_tree"},
      {one_host(2), Collective::reduce, 2 * kMiB, "ring"},
      // More ranks than cores: what needs few messages and rounds.
      {one_host(4, 2), Collective::all_reduce, 64 * kKiB, "star"},
      {one_host(4, 2), Collective::all_reduce, 16 * kMiB, "two_shot"},
      {one_host(4, 2), Collective::all_gather, 4 * kMiB, "direct"},
      {one_host(4, 2), Collective::reduce_scatter, 4 * kMiB, "direct"},
      {one_host(4, 2), Collective::all_to_all, 256 * kKiB, "direct"},
      {one_host(4, 2), Collective::broadcast, 1 * kMiB, "direct"},
      {one_host(4, 2), Collective::all_to_all, 4 * kMiB, "direct"},
      {one_host(4, 2), Collective::gather, 1 * kMiB, "direct"},
      // Between hosts: logarithms for small ones, few bytes by few rounds for middling ones, neighbours for large ones.
      {one_rank_per_host(16), Collective::all_reduce, 8, "recursive_doubling"},
      {one_rank_per_host(4), Collective::all_reduce, 64 * kKiB, "two_shot"},
      {one_rank_per_host(16), Collective::all_reduce, 256 * kMiB, "ring"},
      {one_rank_per_host(16), Collective::all_gather, 64 * kMiB, "ring"},
      {one_rank_per_host(16), Collective::broadcast, 8, "double_tree"},
  };
  for (const Choice& c : choices) {
    EXPECT_EQ(chosen(c.shape, c.what, c.block_bytes), c.expected)
        << planner_for(c.shape).plan(query(c.what, c.block_bytes))->why;
  }
}

TEST(Planner, SaysWhatItChoseWhatItCostsWhatLimitsItAndTheNextBest) {
  const Plan plan = *planner_for(one_rank_per_host(4)).plan(query(Collective::all_reduce, 16 * kMiB));
  const std::string expected = format("all_reduce 16 MiB: {}, predicted {}, limit bandwidth; next best ",
                                      plan.lanes[0].algorithm->name, format_duration(plan.predicted));
  EXPECT_EQ(plan.why.substr(0, expected.size()), expected);
  EXPECT_EQ(std::count(plan.why.begin(), plan.why.end(), ','), 4) << "three alternatives: " << plan.why;
  EXPECT_EQ(plan.why.find(std::string(plan.lanes[0].algorithm->name) + " ", expected.size()), std::string::npos)
      << "the chosen one is no alternative to itself: " << plan.why;
}

TEST(Planner, EqualFactsGiveEqualPlans) {
  for (const Shape& shape : {one_host(6, 3), one_rank_per_host(9, 4)}) {
    const Planner a = planner_for(shape);
    const Planner b = planner_for(shape);
    ASSERT_TRUE(a.plan(query(Collective::reduce, 3)).is_ok());  // what one was asked before changes nothing
    for (const Algorithm& algorithm : all_algorithms()) {
      for (std::uint64_t bytes = 1; bytes <= 64 * kMiB; bytes *= 8) {
        const Plan x = *a.plan(query(algorithm.what, bytes));
        const Plan y = *b.plan(query(algorithm.what, bytes));
        EXPECT_EQ(x.why, y.why);
        EXPECT_EQ(x.predicted, y.predicted);
        ASSERT_EQ(x.lanes.size(), y.lanes.size());
        EXPECT_EQ(x.lanes[0].algorithm, y.lanes[0].algorithm);
      }
    }
  }
}

TEST(Planner, LanesCoverEverythingWithoutGapsOnlyForLargeBlocks) {
  const Planner planner = planner_for(one_rank_per_host(4, 3));
  std::size_t most = 0;
  for (std::uint64_t bytes = 1; bytes <= 256 * kMiB; bytes *= 2) {
    const Plan plan = *planner.plan(query(Collective::all_reduce, bytes), "ring");
    EXPECT_LE(plan.lanes.size(), 3u);
    EXPECT_LE(plan.lanes.size(), std::max<std::uint64_t>(1, bytes / kMiB));
    EXPECT_GE(plan.lanes.size(), most);
    most = plan.lanes.size();
    std::uint32_t at = 0;
    for (const LanePlan& lane : plan.lanes) {
      EXPECT_EQ(lane.share_begin, at);
      EXPECT_GT(lane.share_end, lane.share_begin);
      at = lane.share_end;
    }
    EXPECT_EQ(at, 65536u);
  }
  EXPECT_EQ(most, 3u);
  EXPECT_EQ(planner.plan(query(Collective::all_gather, 64 * kMiB), "bruck")->lanes.size(), 1u)
      << "a run of blocks cannot be shared between lanes";
}

TEST(Planner, TheAlgorithmOfACallIsTakenAndMarked) {
  const Plan plan = *planner_for(one_host(4, 2)).plan(query(Collective::all_reduce, kMiB), "binomial_tree");
  EXPECT_EQ(plan.lanes[0].algorithm->name, "binomial_tree");
  EXPECT_NE(plan.why.find("(asked for)"), std::string::npos) << plan.why;
  EXPECT_NE(plan.why.find("; next best two_shot"), std::string::npos) << plan.why;
}

TEST(Planner, TheSettingForcesItsCollectivesAndNoOthers) {
  const Planner planner = planner_for(one_host(4, 2), "all_reduce=ring,broadcast=chain");
  EXPECT_EQ(planner.plan(query(Collective::all_reduce, 8))->lanes[0].algorithm->name, "ring");
  EXPECT_EQ(planner.plan(query(Collective::broadcast, 8))->lanes[0].algorithm->name, "chain");
  EXPECT_EQ(planner.plan(query(Collective::all_reduce, 8), "star")->lanes[0].algorithm->name, "star")
      << "the call knows better";
  EXPECT_EQ(planner.plan(query(Collective::all_gather, 8))->why.find("asked for"), std::string::npos);
  EXPECT_EQ(planner.forced(), "all_reduce=ring,broadcast=chain");
}

TEST(Planner, TheSettingForAllGatherLeavesTablesToThePlanner) {
  const Planner planner = planner_for(one_host(4, 2), "all_gather=bruck");
  const Plan plan = *planner.plan(query(Collective::all_gather, kMiB, BlockKnowledge::table));
  EXPECT_NE(plan.lanes[0].algorithm->name, "bruck") << "it moves runs of blocks, which a table may tear apart";
}

TEST(Planner, RefusesASettingThatItDoesNotKnowAndQuotesIt) {
  for (const std::string_view wrong :
       {"all_reduce=rong", "ring", "allreduce=ring", "all_reduce=ring,,", "=", "broadcast=ring"}) {
    const Result<Planner> planner = Planner::make(all_algorithms(), one_host(2), wrong);
    ASSERT_FALSE(planner.is_ok()) << wrong;
    EXPECT_EQ(planner.status().code(), Code::invalid);
    EXPECT_NE(planner.status().text().find("TUTTI_ALGORITHM has \""), std::string::npos) << planner.status().text();
    EXPECT_NE(planner.status().text().find("all_reduce=ring"), std::string::npos) << planner.status().text();
  }
}

TEST(Planner, RefusesAnAlgorithmThatDoesNotExistAndListsThoseThatDo) {
  const Result<Plan> plan = planner_for(one_host(2)).plan(query(Collective::gather, 8), "ring");
  ASSERT_FALSE(plan.is_ok());
  EXPECT_EQ(plan.status().code(), Code::invalid);
  EXPECT_EQ(plan.status().text(), "gather has no algorithm \"ring\" for this call; there are: binomial_tree, direct");
}

TEST(Planner, WhoKnowsOnlyItsOwnBlocksUsesNobodyInBetween) {
  const Planner planner = planner_for(one_rank_per_host(7));
  EXPECT_EQ(planner.plan(query(Collective::gather, 0, BlockKnowledge::own_only))->lanes[0].algorithm->name, "direct");
  EXPECT_EQ(planner.plan(query(Collective::scatter, 0, BlockKnowledge::own_only))->lanes[0].algorithm->name,
            "direct");
  const std::string_view name =
      planner.plan(query(Collective::all_to_all, 0, BlockKnowledge::own_only))->lanes[0].algorithm->name;
  EXPECT_TRUE(name == "direct" || name == "pairwise") << name;
  const Result<Plan> refused = planner.plan(query(Collective::all_to_all, 0, BlockKnowledge::own_only), "bruck");
  ASSERT_FALSE(refused.is_ok());
  EXPECT_NE(refused.status().text().find("there are: pairwise, direct"), std::string::npos)
      << refused.status().text();
}

TEST(Planner, TablesKeepToAlgorithmsThatMoveSingleBlocks) {
  const Planner planner = planner_for(one_rank_per_host(8));
  for (const std::string_view name : {"ring", "direct"})
    EXPECT_TRUE(planner.plan(query(Collective::all_gather, kMiB, BlockKnowledge::table), name).is_ok()) << name;
  for (const std::string_view name : {"bruck", "recursive_doubling"})
    EXPECT_FALSE(planner.plan(query(Collective::all_gather, kMiB, BlockKnowledge::table), name).is_ok()) << name;
}

TEST(Planner, TheBoardTakesWhatFitsAndNothingElse) {
  Shape shape = one_host(4, 2);
  shape.has_board = true;
  shape.board_bytes = 8 * kKiB;
  const Planner planner = planner_for(shape);
  EXPECT_TRUE(planner.plan(query(Collective::all_reduce, 8 * kKiB))->board);
  EXPECT_FALSE(planner.plan(query(Collective::all_reduce, 8 * kKiB + 1))->board);
  EXPECT_TRUE(planner.plan(query(Collective::all_to_all, 2 * kKiB))->board);
  EXPECT_FALSE(planner.plan(query(Collective::all_to_all, 2 * kKiB + 1))->board)
      << "it is the whole input that counts";
  EXPECT_FALSE(planner.plan(query(Collective::all_reduce, 8), "ring")->board) << "it was not asked for";
  EXPECT_FALSE(planner.plan(query(Collective::all_gather, 8, BlockKnowledge::table))->board);
  const Plan plan = *planner.plan(query(Collective::all_reduce, kKiB));
  EXPECT_EQ(plan.lanes[0].algorithm->name, "direct");
  EXPECT_EQ(plan.lanes.size(), 1u);
  EXPECT_NE(plan.why.find("direct through the board, predicted "), std::string::npos) << plan.why;
}

TEST(Planner, SegmentsAreTheSettingRoundedUpToLines) {
  Shape shape = one_host(2);
  EXPECT_GT(planner_for(shape).plan(query(Collective::all_reduce, kMiB))->segment_bytes, 0u);
  shape.segment_bytes = 1000;
  EXPECT_EQ(planner_for(shape).plan(query(Collective::all_reduce, kMiB))->segment_bytes, 1024u);
}

}  // namespace
}  // namespace tutti
