// Counts of schedules small enough to count by hand, and exact fractions.
#include "src/schedule/counts.h"

#include <gtest/gtest.h>

#include "src/schedule/print.h"

namespace tutti {
namespace {

Counts counted(std::string_view text) {
  const auto schedule = parse(text);
  EXPECT_TRUE(schedule.is_ok()) << schedule.status().text();
  const auto counts = count(*schedule);
  EXPECT_TRUE(counts.is_ok()) << counts.status().text();
  return *counts;
}

TEST(Counts, AMulticastCountsOncePerPeerAndIsOneRound) {
  const Counts counts = counted(
      "tutti schedule 1\n"
      "program broadcast rank 0 of 3 root 0\n"
      "0 send input[0] to 1 2\n"
      "1 copy output[0] of input[0]\n"
      "program broadcast rank 1 of 3 root 0\n"
      "0 receive output[0] from 0\n"
      "program broadcast rank 2 of 3 root 0\n"
      "0 receive output[0] from 0\n");
  EXPECT_EQ(counts, (Counts{1, 2, 2, 0}));
}

TEST(Counts, AChainIsAsManyRoundsAsItHasMessages) {
  const Counts counts = counted(
      "tutti schedule 1\n"
      "program broadcast rank 0 of 3 root 0\n"
      "0 send input[0](0..2)/3 to 1\n"
      "1 copy output[0] of input[0]\n"
      "program broadcast rank 1 of 3 root 0\n"
      "0 receive output[0](0..2)/3 from 0\n"
      "1 send output[0](0..1)/3 to 2 after 0\n"
      "program broadcast rank 2 of 3 root 0\n"
      "0 receive output[0](0..1)/3 from 1\n");
  EXPECT_EQ(counts, (Counts{2, 1, {2, 3}, 0}));
}

TEST(Counts, AFoldOfThreeIsTwoReductions) {
  const Counts counts = counted(
      "tutti schedule 1\n"
      "program reduce rank 0 of 3 root 0\n"
      "0 reduce output[0](0..1)/4 of input[0](0..1)/4, rank 1, rank 2 finish\n"
      "program reduce rank 1 of 3 root 0\n"
      "0 send input[0](0..1)/4 to 0\n"
      "program reduce rank 2 of 3 root 0\n"
      "0 send input[0](0..1)/4 to 0\n");
  EXPECT_EQ(counts, (Counts{1, 1, {1, 4}, {1, 2}}));
}

TEST(Counts, ADeadlockHasNoCounts) {
  const auto schedule = parse(
      "tutti schedule 1\n"
      "program all_to_all rank 0 of 2 root 0\n"
      "0 send input[1] to 1\n"
      "1 receive output[1] from 1 after 0\n"
      "program all_to_all rank 1 of 2 root 0\n"
      "0 send input[0] to 0\n"
      "1 receive output[0] from 0 after 0\n");
  ASSERT_TRUE(schedule.is_ok());
  EXPECT_FALSE(count(*schedule).is_ok());
}

TEST(Fraction, IsExactAndInLowestTerms) {
  EXPECT_EQ(Fraction(4, 6), Fraction(2, 3));
  EXPECT_EQ(Fraction(1, 6) + Fraction(1, 3), Fraction(1, 2));
  EXPECT_EQ(Fraction(2, 3) * Fraction(9, 4), Fraction(3, 2));
  EXPECT_EQ(Fraction(0, 7), Fraction(0));
  EXPECT_TRUE(Fraction(1, 3) < Fraction(1, 2));
  EXPECT_FALSE(Fraction(1, 2) < Fraction(2, 4));
  EXPECT_EQ(to_string(Fraction(6, 4)), "3/2");
  EXPECT_EQ(to_string(Fraction(4, 2)), "2");
}

}  // namespace
}  // namespace tutti
