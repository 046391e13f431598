// Testimonies, verdicts and rolls: what is judged from what, and that bytes which are none are refused.
#include "src/engine/verdict.h"

#include <gtest/gtest.h>

#include "src/base/random.h"
#include "src/engine/roll.h"

namespace tutti {
namespace {

Testimony testimony(std::uint32_t complete, bool first_hand, Status failure, std::vector<Rank> suspects = {}) {
  return {complete, first_hand, std::move(failure), std::move(suspects)};
}

const Status kLost2(Code::peer_lost, "rank 2 (node07 pid 42) is lost: end of stream", 2);
const Status kAsked(Code::aborted, "rank 0 asks");

TEST(Verdict, IsCompleteUpToTheLeastOfTheSurvivorsAndTheLostAreThoseNotHeard) {
  const std::vector<std::optional<Testimony>> heard = {testimony(7, false, kAsked), testimony(5, true, kLost2),
                                                       std::nullopt, testimony(6, true, kLost2)};
  const Verdict verdict = judge(heard);
  EXPECT_EQ(verdict.complete, 5u);
  EXPECT_EQ(verdict.lost, std::vector<Rank>{2});
  EXPECT_EQ(verdict.why.text(), kLost2.text());
  EXPECT_EQ(verdict.why.culprit(), 2);
  EXPECT_TRUE(verdict.has_lost(2));
  EXPECT_FALSE(verdict.has_lost(1));
}

TEST(Verdict, PrefersWhatWasSeenAndNamesSomebodyWhoIsLost) {
  const Status late(Code::timeout, "rank 1 did not come", 1);
  EXPECT_EQ(judge(std::vector<std::optional<Testimony>>{testimony(1, false, kAsked), testimony(1, true, late),
                                                        std::nullopt, testimony(1, true, kLost2)})
                .why.text(),
            kLost2.text());
  EXPECT_EQ(
      judge(std::vector<std::optional<Testimony>>{testimony(1, false, kAsked), testimony(1, true, late)}).why.text(),
      late.text());
}

TEST(Verdict, OfTwoThatCannotReachEachOtherOneHasToGoTheOneInMostPairsFirst) {
  const Status cut(Code::peer_lost, "the link is gone", 1);
  // One pair: the last of the two.
  EXPECT_EQ(judge(std::vector<std::optional<Testimony>>{testimony(3, false, kAsked), testimony(3, true, cut, {2}),
                                                        testimony(3, true, cut, {1})})
                .lost,
            std::vector<Rank>{2});
  // Rank 0 reaches neither 1 nor 2, which reach each other: one goes, not two. It also says so of 3, who is lost
  // anyway.
  EXPECT_EQ(judge(std::vector<std::optional<Testimony>>{testimony(3, true, cut, {1, 2, 3}), testimony(3, true, cut),
                                                        testimony(3, true, cut), std::nullopt})
                .lost,
            (std::vector<Rank>{0, 3}));
}

TEST(Verdict, WhoIsExcludedIsLostThoughItTestifiesAndOfTwoThatExcludeEachOtherTheFirstStays) {
  const Status late(Code::peer_lost, "rank 1 was late", 1);
  Testimony by_2 = testimony(4, true, late);
  by_2.excluded = {1};
  Testimony by_1 = testimony(2, true, late);
  by_1.excluded = {2};
  const Verdict verdict =
      judge(std::vector<std::optional<Testimony>>{testimony(5, false, kAsked), testimony(2, false, kAsked), by_2});
  EXPECT_EQ(verdict.lost, std::vector<Rank>{1});
  EXPECT_EQ(verdict.complete, 4u) << "the word of one who is lost counts";
  EXPECT_EQ(verdict.why.text(), late.text());
  EXPECT_EQ(judge(std::vector<std::optional<Testimony>>{testimony(5, false, kAsked), by_1, by_2}).lost,
            std::vector<Rank>{2});
}

TEST(Verdict, WhatIsWrittenIsReadAndEverythingElseIsRefused) {
  Testimony mine = testimony(0xfffffff1u, true, kLost2, {0, 2});
  mine.excluded = {1};
  const std::string bytes = mine.encode();
  const auto read = Testimony::decode(bytes, 3);
  ASSERT_TRUE(read.is_ok()) << read.status().text();
  EXPECT_EQ(read->complete, mine.complete);
  EXPECT_TRUE(read->first_hand);
  EXPECT_EQ(read->failure.text(), kLost2.text());
  EXPECT_EQ(read->failure.culprit(), 2);
  EXPECT_EQ(read->suspects, mine.suspects);
  EXPECT_EQ(read->excluded, mine.excluded);
  EXPECT_FALSE(Testimony::decode(bytes, 2).is_ok()) << "a rank that does not exist";
  EXPECT_FALSE(Testimony::decode(bytes + "x", 3).is_ok());
  for (std::size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(Testimony::decode(bytes.substr(0, length), 3).is_ok()) << length;
  const Verdict verdict{9, kLost2, {1, 2}};
  const auto again = Verdict::decode(verdict.encode(), 3);
  ASSERT_TRUE(again.is_ok());
  EXPECT_EQ(again->complete, 9u);
  EXPECT_EQ(again->lost, verdict.lost);
  Random random(5);
  for (int i = 0; i < 20'000; ++i) {  // whatever the bytes, it ends and does not fall over
    std::string wrong = i % 2 == 0 ? bytes : verdict.encode();
    for (int flips = 0; flips < 3; ++flips) wrong[random.below(wrong.size())] = static_cast<char>(random.next());
    static_cast<void>(Testimony::decode(wrong, 3).is_ok());
    static_cast<void>(Verdict::decode(wrong, 3).is_ok());
    static_cast<void>(decode_roll(wrong, 3).is_ok());
  }
}

TEST(Roll, ListsWhoHasComeInTheOrderOfTheSurvivors) {
  const std::vector<std::optional<std::string>> roll = {"zero", std::nullopt, "", std::string(1000, 'x')};
  const auto read = decode_roll(encode_roll(roll), 4);
  ASSERT_TRUE(read.is_ok());
  EXPECT_EQ(*read, roll);
  EXPECT_FALSE(decode_roll(encode_roll(roll), 3).is_ok());
  EXPECT_FALSE(decode_roll(encode_roll(roll), 5).is_ok());
}

}  // namespace
}  // namespace tutti
