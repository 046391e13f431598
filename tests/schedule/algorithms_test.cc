// Every algorithm of the catalog: proven by the verifier for every rank count and root, counted against its formula,
// and run element by element in random order. TUTTI_TEST_LONG=1 takes all roots, more seeds and more ranks.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <set>

#include "src/base/random.h"
#include "src/schedule/verifier.h"
#include "tests/sanitized.h"
#include "tests/schedule/cases.h"
#include "tests/schedule/shaker.h"

namespace tutti {
namespace {

class EachAlgorithm : public testing::TestWithParam<Algorithm> {};

// Sanitizers look at the smaller ones, and at some of the others.
bool is_left_out(Rank ranks) { return kIsSanitized && !long_run() && ranks > 18 && ranks % 16 > 1; }

TEST_P(EachAlgorithm, IsProvenForEveryRankCountAndRoot) {
  const Algorithm& algorithm = GetParam();
  for (Rank ranks = 1; ranks <= 64; ++ranks) {
    if (is_left_out(ranks)) continue;
    const Rank stride = ranks <= 32 || long_run() ? 1 : 5;
    for_each_call(algorithm.what, ranks, stride, [&](const Call& call) {
      const Status status = verify(make_schedule(algorithm, call));
      ASSERT_TRUE(status.is_ok()) << describe(algorithm, call) << ": " << status.text();
    });
    if (HasFatalFailure()) return;
  }
}

TEST_P(EachAlgorithm, IsProvenWhereOnlySomeRanksAreInPlace) {
  const Algorithm& algorithm = GetParam();
  Random random(11);
  for (int i = 0; i < (long_run() ? 1000 : 60); ++i) {
    const auto ranks = static_cast<Rank>(2 + random.below(30));
    const Rank root =
        is_rooted(algorithm.what) ? static_cast<Rank>(random.below(static_cast<std::uint64_t>(ranks))) : 0;
    Schedule schedule;
    for (Rank rank = 0; rank < ranks; ++rank) {
      schedule.programs.push_back(make_program(algorithm, {algorithm.what, ranks, rank, root, random.chance(0.5)}));
    }
    const Status status = verify(schedule);
    ASSERT_TRUE(status.is_ok()) << algorithm.name << " with " << ranks << " ranks, root " << root << ": "
                                << status.text();
  }
}

TEST_P(EachAlgorithm, CostsWhatItSays) {
  const Algorithm& algorithm = GetParam();
  for (Rank ranks = 1; ranks <= 64; ++ranks) {
    if (is_left_out(ranks)) continue;
    for (const bool in_place : {false, true}) {
      const auto counts = count(make_schedule(algorithm, {algorithm.what, ranks, 0, 0, in_place}));
      ASSERT_TRUE(counts.is_ok()) << counts.status().text();
      const Counts expected = algorithm.expected(ranks);
      EXPECT_EQ(counts->rounds, expected.rounds) << ranks << " ranks";
      EXPECT_EQ(counts->messages, expected.messages) << ranks << " ranks";
      EXPECT_EQ(to_string(counts->sent), to_string(expected.sent)) << ranks << " ranks";
      EXPECT_EQ(to_string(counts->reduced), to_string(expected.reduced)) << ranks << " ranks";
    }
    if (HasFailure()) return;
  }
}

TEST_P(EachAlgorithm, IsRightOnRealElementsInAnyOrder) {
  const Algorithm& algorithm = GetParam();
  Random random(5);
  for (Rank ranks = 1; ranks <= (long_run() ? 9 : 6); ++ranks) {
    for_each_call(algorithm.what, ranks, 2, [&](const Call& call) {
      const Schedule schedule = make_schedule(algorithm, call);
      for (const std::uint64_t elements : {0u, 1u, 2u, 7u, 12u}) {
        for (int seed = 0; seed < (long_run() ? 50 : 2); ++seed) {
          ASSERT_EQ(shake(schedule, elements, random), "")
              << describe(algorithm, call) << ", " << elements << " elements";
        }
      }
    });
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Catalog, EachAlgorithm, testing::ValuesIn(all_algorithms().begin(), all_algorithms().end()),
                         [](const auto& instance) {
                           return std::string(name(instance.param.what)) + "_" + std::string(instance.param.name);
                         });

// Ranks spread evenly over the orders of magnitude, so that most schedules are small and a few are large. A schedule
// of a ring grows with the square of the ranks: 1,024 ranks are millions of steps.
TEST(Algorithms, AreProvenForRandomCallsOfUpTo1024Ranks) {
  const int spots = long_run() ? 1000 : kIsSanitized ? 25 : 100;
  const double most = long_run() ? 1024 : 256;
  std::size_t steps = 0;
  for (int seed = 0; seed < spots; ++seed) {
    Random random(static_cast<std::uint64_t>(seed));
    const Algorithm& algorithm = all_algorithms()[random.below(all_algorithms().size())];
    const auto ranks = static_cast<Rank>(std::lround(std::exp(random.unit() * std::log(most))));
    const Rank root =
        is_rooted(algorithm.what) ? static_cast<Rank>(random.below(static_cast<std::uint64_t>(ranks))) : 0;
    const Call call{algorithm.what, ranks, 0, root, random.chance(0.5)};
    const Schedule schedule = make_schedule(algorithm, call);
    for (const Program& program : schedule.programs) steps += program.steps.size();
    const Status status = verify(schedule);
    ASSERT_TRUE(status.is_ok()) << "seed " << seed << ": " << describe(algorithm, call) << ": " << status.text();
  }
  RecordProperty("steps_proven", static_cast<int>(steps / 1000));
  EXPECT_GT(steps, 10'000u);
}

TEST(Algorithms, AProgramFor100000RanksIsWrittenInProportionToItsSteps) {
  for (const Algorithm& algorithm : all_algorithms()) {
    const auto begin = std::chrono::steady_clock::now();
    const Program program = make_program(algorithm, {algorithm.what, 100'000, 54'321, 0, false});
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::printf("  %-15s %-19s %7zu steps %7zu dependencies %6.1f ms\n", std::string(name(algorithm.what)).c_str(),
                std::string(algorithm.name).c_str(), program.steps.size(), program.after.size(), took.count());
    EXPECT_LE(program.after.size(), 3 * program.steps.size() + 300);
    if (algorithm.what == Collective::all_reduce && algorithm.name == "ring") {
      EXPECT_EQ(program.steps.size(), 4u * 99'999);
    }
  }
}

TEST(Catalog, NamesAreUniqueAndFound) {
  std::set<std::pair<Collective, std::string_view>> names;
  for (const Algorithm& algorithm : all_algorithms()) {
    EXPECT_TRUE(names.insert({algorithm.what, algorithm.name}).second) << algorithm.name;
    EXPECT_EQ(find_algorithm(algorithm.what, algorithm.name), &algorithm);
    EXPECT_TRUE(algorithm.applies({.what = algorithm.what}));
  }
  EXPECT_EQ(find_algorithm(Collective::scatter, "ring"), nullptr);
  EXPECT_FALSE(find_algorithm(Collective::all_reduce, "ring")->applies({.what = Collective::reduce}));
}

TEST(Catalog, EveryCollectiveHasAnAlgorithmOfFewStepsAndOneOfLittleData) {
  constexpr Rank kRanks = 64;
  for (int i = 0; i <= static_cast<int>(Collective::scatter); ++i) {
    const auto what = static_cast<Collective>(i);
    std::uint32_t fewest_rounds = UINT32_MAX;
    Fraction least_sent(1000);
    for (const Algorithm& algorithm : all_algorithms()) {
      if (algorithm.what != what) continue;
      const Counts counts = algorithm.expected(kRanks);
      fewest_rounds = std::min(fewest_rounds, counts.rounds);
      least_sent = std::min(least_sent, counts.sent);
    }
    EXPECT_LE(fewest_rounds, 6u) << name(what);
    // Nobody can do with less: what must leave the busiest rank (twice the data, less its own part, for an
    // all-reduce).
    Fraction bound(1);
    if (what == Collective::all_reduce) bound = Fraction(2 * (kRanks - 1), kRanks);
    if (what == Collective::all_gather || what == Collective::reduce_scatter || what == Collective::all_to_all ||
        what == Collective::scatter) {
      bound = Fraction(kRanks - 1);
    }
    EXPECT_EQ(to_string(least_sent), to_string(bound)) << name(what);
  }
}

}  // namespace
}  // namespace tutti
