// An agreement under seeded simulation. A failure prints the command that replays it; TUTTI_TEST_LONG=1 runs 200,000
// seeds, TUTTI_TEST_SEEDS=FIRST-LAST those.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/agreement/simulation.h"
#include "tests/simulation/seeds.h"

namespace tutti {
namespace {

TEST(AgreementSimulation, SurvivorsDecideOneValueOrSayWhyTheyCannot) {
  const SeedRange range = seed_range(14'000, 200'000);
  SimulationMarks marks;
  for (std::uint64_t seed = range.first; seed <= range.last; ++seed) {
    const std::string wrong = Simulation(seed).run(marks);
    ASSERT_EQ(wrong, "") << replay(seed);
  }
  std::printf(
      "%llu seeds, %llu messages: all survivors decided in %llu (%llu of them no majority, %llu alone), some "
      "are stuck in %llu; several values in %llu, a decision that died with who knew it in %llu; %llu "
      "survivors excluded\n",
      static_cast<unsigned long long>(range.last - range.first + 1), static_cast<unsigned long long>(marks.messages),
      static_cast<unsigned long long>(marks.decided), static_cast<unsigned long long>(marks.minority),
      static_cast<unsigned long long>(marks.lone), static_cast<unsigned long long>(marks.stuck),
      static_cast<unsigned long long>(marks.combined_often), static_cast<unsigned long long>(marks.forgotten),
      static_cast<unsigned long long>(marks.excluded));
  if (range.last - range.first < 2'000) return;
  EXPECT_GT(marks.decided, 0u);
  EXPECT_GT(marks.stuck, 0u);
  EXPECT_GT(marks.lone, 0u);
  EXPECT_GT(marks.minority, 0u);
  EXPECT_GT(marks.forgotten, 0u);
  EXPECT_GT(marks.excluded, 0u);
  EXPECT_GT(marks.combined_often, 0u);
}

}  // namespace
}  // namespace tutti
