// Reached: for every number of members, whatever the order in which words arrive, each learns the least number of
// all, never more, and with no more words than the levels need.
#include "src/engine/reached.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "src/base/random.h"

namespace tutti {
namespace {

struct Sent {
  Rank from;
  Reached::Word word;
};

TEST(Reached, EveryMemberLearnsTheLeastOfAllAndNeverMore) {
  for (Rank members = 1; members <= 33; ++members) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      Random random(seed * 1000 + static_cast<std::uint64_t>(members));
      std::vector<Reached> all;
      for (Rank self = 0; self < members; ++self) all.emplace_back(members, self);
      std::vector<std::uint32_t> numbers(static_cast<std::size_t>(members), 0);
      std::map<std::pair<Rank, Rank>, std::vector<Sent>> links;  // in order on each
      std::size_t words = 0;
      constexpr std::uint32_t kLast = 6;
      const auto is_over = [&] {
        return std::all_of(all.begin(), all.end(), [](const Reached& r) { return r.everywhere() == kLast; });
      };
      for (int step = 0; !is_over(); ++step) {
        ASSERT_LT(step, 1'000'000) << members << " members, seed " << seed;
        const auto who = static_cast<Rank>(random.below(static_cast<std::uint64_t>(members)));
        auto& mine = all[static_cast<std::size_t>(who)];
        std::uint32_t& number = numbers[static_cast<std::size_t>(who)];
        if (number < kLast && random.chance(0.3)) mine.here(++number);
        while (const auto word = mine.next()) {
          links[{who, word->to}].push_back({who, *word});
          ++words;
        }
        for (auto& [pair, queue] : links) {
          if (queue.empty() || pair.second != who || random.chance(0.5)) continue;
          const Sent sent = queue.front();
          queue.erase(queue.begin());
          EXPECT_TRUE(mine.heard(sent.from, sent.word.level, sent.word.number));
        }
        ASSERT_LE(mine.everywhere(), *std::min_element(numbers.begin(), numbers.end()));
      }
      std::size_t levels = 0;
      while (Rank{1} << levels < members) ++levels;
      EXPECT_LE(words, kLast * levels * static_cast<std::size_t>(members));
    }
  }
}

TEST(Reached, TakesNoWordFromWhereNoneCanCome) {
  Reached reached(5, 1);
  EXPECT_FALSE(reached.heard(2, 0, 9)) << "level 0 comes from rank 0";
  EXPECT_FALSE(reached.heard(0, 3, 9)) << "five members have three levels";
  EXPECT_FALSE(reached.heard(0, 70, 9));
  reached.here(9);
  EXPECT_EQ(reached.everywhere(), 0u);
  EXPECT_TRUE(reached.heard(0, 0, 9));
  EXPECT_TRUE(reached.heard(4, 1, 9));
  EXPECT_EQ(reached.everywhere(), 0u);
  EXPECT_TRUE(reached.heard(2, 2, 7));
  EXPECT_EQ(reached.everywhere(), 7u);
}

TEST(Reached, NumbersWrap) {
  Reached reached(2, 0);
  for (const std::uint32_t number : {0x40000000u, 0x80000000u, 0xc0000000u, 0xfffffff0u}) {
    reached.here(number);
    EXPECT_TRUE(reached.heard(1, 0, number));
    EXPECT_EQ(reached.everywhere(), number);
  }
  reached.here(5);
  EXPECT_EQ(reached.everywhere(), 0xfffffff0u);
  EXPECT_TRUE(reached.heard(1, 0, 4));
  EXPECT_EQ(reached.everywhere(), 4u);
}

}  // namespace
}  // namespace tutti
