// Whole elastic jobs under seeded simulation. A failure prints the command that replays it, with all that happens;
// TUTTI_TEST_LONG=1 runs 100,000 seeds (10,000 with sanitizers), TUTTI_TEST_SEEDS=FIRST-LAST those, TUTTI_TEST_SEED=N
// the one, aloud.
#include <gtest/gtest.h>

#include <cstdio>

#include "src/base/format.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/seeds.h"

namespace tutti {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kFewSeeds = 100;
constexpr std::uint64_t kManySeeds = 10'000;
#else
constexpr std::uint64_t kFewSeeds = 1000;
constexpr std::uint64_t kManySeeds = 100'000;
#endif

TEST(Simulation, WhateverHappensToAJobItsMembersStayOfOneMind) {
  const SeedRange range = seed_range(kFewSeeds, kManySeeds);
  Marks marks;
  for (std::uint64_t seed = range.first; seed <= range.last; ++seed) {
    const std::string wrong = Scenario(seed, marks, range.is_one).run();
    ASSERT_EQ(wrong, "") << replay(seed);
  }
  std::puts(
      format("{} seeds: {} operations succeeded and {} were undone; {} processes crashed, {} joined, {} times "
             "a view grew, {} were turned away, {} left behind, {} too few; {} views after the first; {} "
             "refreshes ran out of time, {} calls and answers of the store were lost; {} saw the end; at most {} "
             "beyond a deadline",
             range.last - range.first + 1, marks.succeeded, marks.undone, marks.crashed, marks.admitted, marks.grown,
             marks.turned_away, marks.left_behind, marks.stopped, marks.views, marks.late_refreshes,
             marks.store_losses, marks.finished, format_duration(marks.latest))
          .c_str());
  if (range.last - range.first < 249) return;
  for (const std::uint64_t mark :
       {marks.succeeded, marks.undone, marks.crashed, marks.admitted, marks.grown, marks.turned_away,
        marks.left_behind, marks.stopped, marks.views, marks.late_refreshes, marks.store_losses, marks.finished})
    EXPECT_GT(mark, 0u);
}

// Of long campaigns: 6170, a process crashes that is just leaving; 21645, one that was admitted, and told so too
// late, asks again, and is lost to the one that would let it in; 12310, a member was let in once more, as the store
// had kept what it had asked with; 37904, processes that had left the middle of a refresh were seated in the next
// view beside themselves, as they had asked again; 81278, one that slept while it was left behind reported what the
// others had undone.
TEST(Simulation, SeedsThatHaveFoundSomethingDoNotAnyMore) {
  Marks marks;
  for (const std::uint64_t seed : {6170, 12310, 21645, 37904, 74604, 81278})
    EXPECT_EQ(Scenario(seed, marks, false).run(), "") << seed;
}

}  // namespace
}  // namespace tutti
