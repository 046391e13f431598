// The rules of an agreement one by one, each by hand: which message does what, in which order.
#include <gtest/gtest.h>

#include "tests/agreement/table.h"

namespace tutti {
namespace {

TEST(Agreement, AMemberAloneDecidesAtOnce) {
  Table table(1);
  table.start(0);
  EXPECT_EQ(table.decided(0), "0:a");
  EXPECT_EQ(table[0].next_timer(), kNever);
}

TEST(Agreement, OneThatBeginsCallsTheOthers) {
  Table table(4);
  EXPECT_FALSE(table[3].wants_start());
  table.start(2);                               // not the leader
  EXPECT_EQ(table.pass(2, 0), "contribution");  // tells it,
  EXPECT_TRUE(table[0].wants_start());
  table.start(0);
  EXPECT_EQ(table.pass(0, 3), "poke");  // who calls those it has not heard
  EXPECT_TRUE(table.messages(0, 2).empty());
  EXPECT_TRUE(table[3].wants_start());
  EXPECT_TRUE(table.messages(3, 0).empty());
  table.start(3);
  EXPECT_FALSE(table[3].wants_start());
  table.pass_all();
  EXPECT_EQ(table.decided(0), "") << "member 1 has not contributed";
  table.start(1);
  table.pass_all();
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(table.decided(i), "0:abcd");
    EXPECT_TRUE(table[i].stuck().is_ok());
    EXPECT_EQ(table[i].next_timer(), kNever);
  }
}

TEST(Agreement, TheFirstBallotNeedsNoPromises) {
  Table table(2);
  table.start_all();
  EXPECT_EQ(table.pass(1, 0), "contribution");
  EXPECT_EQ(table.pass(0, 1), "poke");
  EXPECT_EQ(table.pass(0, 1), "accept");
  EXPECT_EQ(table.pass(0, 1), "decided") << "half with member 0 need not wait for the other";
}

TEST(Agreement, ContributionsFollowTheLeader) {
  Table table(4);
  table.start(3);
  EXPECT_EQ(table.messages(3, 0).size(), 1u);
  table.lose({3}, {1}, Loss::silent);
  EXPECT_TRUE(table.messages(3, 2).empty());
  table.lose({3}, {0}, Loss::silent);
  EXPECT_EQ(table.pass(3, 2), "contribution");
  table.lose({3}, {2}, Loss::silent);
  EXPECT_EQ(table.pass(3, 0), "contribution");
  EXPECT_EQ(table.pass(3, 0), "poke") << "now it leads itself";
}

TEST(Agreement, TheNextLeaderKeepsWhatMayHaveBeenDecided) {
  Table table(3);
  table.start_all();
  table.pass_all({1, 2});
  table.pass(1, 0);
  table.pass(2, 0);
  table.pass(0, 2);
  EXPECT_EQ(table.pass(0, 2), "accept");
  table.lose({1, 2}, {0}, Loss::silent);
  table.pass_all({1, 2});
  EXPECT_EQ(table.decided(1), "0:abc");
  EXPECT_EQ(table.decided(2), "0:abc");
}

TEST(Agreement, WhoIsLostBeforeTheProposalIsInIt) {
  Table table(3);
  table.start_all();
  table.lose({0}, {2}, Loss::silent);
  table.pass_all({0, 1});
  EXPECT_EQ(table.decided(0), "0:ab-");
  EXPECT_EQ(table.decided(1), "0:ab-");
}

TEST(Agreement, WhoIsLostAfterTheProposalIsNot) {
  Table table(3);
  table.start_all();
  table.pass(1, 0);
  table.pass(2, 0);  // and member 0 has proposed
  table.lose({0}, {2}, Loss::silent);
  table.pass_all({0, 1});
  EXPECT_EQ(table.decided(1), "0:abc");
}

TEST(Agreement, HalfWithMemberZeroGoesOnAndTheOtherHalfSaysWhyNot) {
  Table table(4);
  table.start_all();
  table.lose({0, 2}, {1, 3}, Loss::silent);
  table.lose({1, 3}, {0, 2}, Loss::silent);
  table.pass_all({0, 2});
  table.pass_all({1, 3});
  EXPECT_EQ(table.decided(0), "0:a-c-");
  EXPECT_EQ(table.decided(2), "0:a-c-");
  EXPECT_EQ(table.decided(1), "");
  EXPECT_EQ(table[1].stuck().text(),
            "2 of 4 members are left, half without member 0, which half may go on only with, since what members 0, 2 "
            "do cannot be known: silent, but not proven to have ended. Nothing was decided; end this member, or wait "
            "for the link to come back");
  EXPECT_EQ(table[1].stuck().code(), Code::peer_lost);
  EXPECT_EQ(table[1].stuck().culprit(), 0);
}

TEST(Agreement, OneOfEightGoesOnWhenSevenHaveEnded) {
  Table table(8);
  table.start(7);
  table.lose({7}, {0, 1, 2, 3, 4, 5, 6}, Loss::silent);
  EXPECT_EQ(table.decided(7), "");
  EXPECT_EQ(
      table[7].stuck().text(),
      "1 of 8 members is left and 5 are needed, since what members 0, 1, 2, 3, 4, 5, 6 do cannot be known: "
      "silent, but not proven to have ended. Nothing was decided; end this member, or wait for the link to come "
      "back");
  table.lose({7}, {0, 1, 2, 3, 4, 5}, Loss::ended);
  EXPECT_NE(table[7].stuck().text().find("since what member 6 does cannot be known"), std::string::npos);
  table.lose({7}, {6}, Loss::ended);
  EXPECT_EQ(table.decided(7), "7:-------h");
}

TEST(Agreement, FewerThanTheMinimumNeverDecide) {
  Table table(4, 2);
  table.start(3);
  table.lose({3}, {0, 1, 2}, Loss::ended);
  EXPECT_EQ(table.decided(3), "");
  EXPECT_EQ(table[3].stuck().text(),
            "1 of 4 members is left, and fewer than 2 may not decide; lost: members 0, 1, 2. Nothing was decided; "
            "start more members, or allow fewer to go on");
}

// Found by fuzz_agreement: the ballot after the last was sent, which nobody takes.
TEST(Agreement, WhoIsLeftNoBallotSaysSoAndSendsNone) {
  const Ballot last = kBallotMax - (kBallotMax - 1) % 3;  // the last that belongs to member 0
  for (const Ballot ballot : {last, last - 3}) {
    SCOPED_TRACE(ballot);
    Table fresh(3);
    fresh.start_all();
    const std::string prepare = encode({Table::kTag, 3}, {AgreementKind::prepare, MemberSet(3), ballot});
    ASSERT_TRUE(fresh[1].receive(0, std::as_bytes(std::span(prepare)), fresh.now).is_ok());
    fresh.lose({1}, {0}, Loss::silent);
    fresh.pass_all({1, 2});
    EXPECT_EQ(fresh.decided(1), ballot == last ? "" : "1:-bc");
    EXPECT_EQ(fresh[1].stuck().is_ok(), ballot != last);
  }
}

TEST(Agreement, ProofsOfDeathAreShared) {
  Table table(8);
  table.start_all();
  for (std::uint32_t i = 1; i < 7; ++i) {  // two hosts, of each of which one process is left
    table.lose({0}, {i}, i < 4 ? Loss::ended : Loss::silent);
    table.lose({7}, {i}, i < 4 ? Loss::silent : Loss::ended);
  }
  table.pass_all({0, 7});
  table.tick(0);
  table.pass_all({0, 7});
  EXPECT_EQ(table.decided(0), "0:a------h");
  EXPECT_EQ(table.decided(7), "0:a------h");
}

TEST(Agreement, TheDeadAreFencedAlsoByWhoHearsOfThemFromAnother) {
  Table table(4);
  table.start_all();
  table.pass_all({1, 2, 3});
  table.pass(1, 0);
  table.pass(2, 0);
  table.pass(3, 0);
  for (int i = 0; i < 2; ++i) table.pass(0, 1);
  while (!table.pass(1, 0).empty()) continue;  // members 0 and 1 have accepted: decided, and 3 is told so
  ASSERT_EQ(table.decided(0), "0:abcd");
  table.lose({2}, {0, 1}, Loss::ended);
  table.lose({3}, {0, 1}, Loss::silent);
  EXPECT_EQ(table.pass(2, 3), "poke");
  EXPECT_TRUE(table[3].dead().contains(0));
  while (!table.pass(0, 3).empty()) continue;
  EXPECT_EQ(table.decided(3), "") << "too late: member 2 goes on without that decision";
  table.pass_all({2, 3});
  EXPECT_EQ(table.decided(2), "2:--cd");
  EXPECT_EQ(table.decided(3), "2:--cd");
}

TEST(Agreement, WhoHeardTheDeadInTimePassesTheDecisionOn) {
  Table table(4);
  table.start_all();
  table.pass(1, 0);
  table.pass(2, 0);
  table.pass(3, 0);
  for (int i = 0; i < 2; ++i) table.pass(0, 1);
  while (!table.pass(1, 0).empty()) continue;
  while (!table.pass(0, 3).empty()) continue;  // before anybody says that member 0 is dead
  table.lose({2, 3}, {0, 1}, Loss::ended);
  table.pass_all({2, 3});
  EXPECT_EQ(table.decided(2), "0:abcd");
  EXPECT_EQ(table.decided(3), "0:abcd");
}

// Member 4 has the promises of 3 and 2 for an early ballot; then 0 has a later one of 1 and 2 and decides, tells 3,
// and dies with 1 and 2.
TEST(Agreement, AnOldRoundIsNotCarriedOnBesideADecision) {
  for (const bool hears_in_time : {false, true}) {
    Table table(5);
    table.start_all();
    table.lose({4}, {0, 1}, Loss::silent);
    table.lose({3}, {0, 1}, Loss::silent);
    table.pass_all({2, 3, 4});  // 3 and 4 hold 2 for the leader, who holds 0 for it
    ASSERT_EQ(table.decided(4), "");
    table.lose({0}, {3, 4}, Loss::silent);
    table.tick(4);  // impatient: prepares
    ASSERT_EQ(table.pass(4, 2), "poke");
    table.pass(2, 4);
    table.tick(4);
    table.pass(4, 3);
    table.pass_all({0, 1, 2});
    ASSERT_EQ(table.decided(0).substr(0, 2), "0:");
    if (hears_in_time) {
      while (!table.pass(0, 3).empty()) continue;
      ASSERT_EQ(table.decided(3), table.decided(0));
    }
    table.lose({4, 3}, {0, 1, 2}, Loss::ended);
    while (!table.pass(0, 3).empty()) continue;
    table.pass_all({3, 4});
    EXPECT_EQ(table.decided(3), table.decided(4));
    EXPECT_EQ(table.decided(4) == table.decided(0), hears_in_time) << table.decided(4);
  }
}

TEST(Agreement, WhoHasDecidedAnswersWithTheDecision) {
  Table table(5);
  table.start_all();
  table.pass_all({0, 1, 2});  // 3 and 4 are cut off and learn it from nobody
  for (std::uint32_t i = 0; i < 3; ++i) table.lose({i}, {3, 4}, Loss::silent);
  table.pass_all({0, 1, 2});
  ASSERT_EQ(table.decided(2), "0:abc--");
  for (std::uint32_t i = 0; i < 3; ++i) {
    table.messages(i, 3).clear();
    table.lose({3, 4}, {i}, Loss::silent);
    table.messages(3, i).clear();
  }
  EXPECT_FALSE(table[3].stuck().is_ok());
  table.tick(3);  // the link is back; it asks, as it does from time to time
  EXPECT_EQ(table.pass(3, 1), "poke");
  EXPECT_EQ(table.pass(1, 3), "decided");
  EXPECT_EQ(table.decided(3), "0:abc--");
  EXPECT_TRUE(table[3].stuck().is_ok());
}

TEST(Agreement, WhoLearnsTheDecisionPassesItOnOnce) {
  Table table(4);
  table.start_all();
  table.pass_all({1, 2, 3});
  for (std::uint32_t i = 1; i < 4; ++i) table.pass(i, 0);
  for (std::uint32_t i = 1; i < 3; ++i) {
    while (!table.pass(0, i).empty()) table.pass(i, 0);
  }
  ASSERT_EQ(table.decided(1), "0:abcd");
  EXPECT_EQ(table.pass(1, 3), "decided");  // member 0 need not have come to it
  EXPECT_EQ(table.pass(2, 3), "decided");
  EXPECT_EQ(table.pass(3, 1), "");
  EXPECT_EQ(table.pass(3, 2), "decided");
  EXPECT_EQ(table.pass(2, 3), "");
}

TEST(Agreement, ARefusedRivalOutbidsLater) {
  Table table(3);
  table.start_all();
  table.lose({1}, {0}, Loss::silent);
  table.pass(2, 0);
  table.pass(1, 0);  // 0 has heard all and proposes
  table.pass(1, 2);  // poke
  table.pass(2, 1);
  EXPECT_EQ(table.pass(1, 2), "prepare");  // a later ballot than the first
  EXPECT_EQ(table.pass(0, 2), "poke");
  EXPECT_EQ(table.pass(0, 2), "accept");
  EXPECT_EQ(table.pass(2, 0), "contribution") << "the answer to the poke";
  EXPECT_EQ(table.pass(2, 0), "refused");
  table.tick(0);
  EXPECT_EQ(table.pass(0, 2), "prepare");
  EXPECT_EQ(table.pass(2, 0), "promise");
  EXPECT_EQ(table.pass(0, 2), "accept");
  EXPECT_EQ(table.pass(2, 0), "accepted");
  EXPECT_EQ(table.decided(0), "0:abc");
  table.pass_all();
  EXPECT_EQ(table.decided(1), "0:abc");
}

TEST(Agreement, PatienceGrowsAndDiffersBetweenMembers) {
  Table table(3);
  table.start(1);
  table.start(2);
  EXPECT_EQ(table[1].next_timer() - table.now, 2 * Table::kRetry);
  EXPECT_EQ(table[2].next_timer() - table.now, 3 * Table::kRetry);
  for (int attempt = 1; attempt <= 8; ++attempt) {
    table.tick(1);
    EXPECT_EQ(table[1].next_timer() - table.now, (std::min(1 << attempt, 64) + 1) * Table::kRetry);
  }
  table[1].progress(table.now);
  EXPECT_EQ(table[1].next_timer() - table.now, 65 * Table::kRetry) << "not yet due: nothing happens";
}

// A round that began when only 0 was known to be dead: 2 answers, and the others die one after the other. 2 may have
// heard of a decision from one of them, so that they are not left out of the count; a new round fences them first.
TEST(Agreement, ARoundIsNotCountedWithLaterDeaths) {
  Table table(4);
  table.start_all();
  table.lose({1, 2, 3}, {0}, Loss::ended);
  table.pass(2, 1);
  table.pass(3, 1);
  while (!table.messages(1, 2).empty()) table.pass(1, 2);
  EXPECT_EQ(table.pass(2, 1), "contribution");
  EXPECT_EQ(table.pass(2, 1), "promise");
  table.lose({1}, {3}, Loss::ended);
  EXPECT_EQ(table.pass(1, 2), "prepare") << "again, with the news";
  EXPECT_TRUE(table[2].dead().contains(3));
  table.pass_all({1, 2});
  EXPECT_EQ(table.decided(2), "1:-bc-");
}

TEST(Agreement, WhoHasNotStartedPromisesAndAcceptsAndLearns) {
  Table table(3);
  table.start(0);
  table.start(1);
  table.lose({0, 1}, {2}, Loss::silent);
  table.pass_all();
  EXPECT_EQ(table.decided(2), "0:ab-");
  EXPECT_FALSE(table[2].wants_start());
  table.start(2);
  EXPECT_EQ(table[2].next_timer(), kNever);
}

TEST(Agreement, AValueTooLongToSendIsAnErrorOfItsMaker) {
  Agreement agreement({.tag = 1, .members = 1, .self = 0, .quorum = {}, .retry = Table::kRetry},
                      [](const auto&, const auto&) { return std::string(kAgreementValueBytes + 1, 'x'); });
  agreement.start("", {});
  EXPECT_EQ(agreement.decided(), nullptr);
  EXPECT_EQ(agreement.stuck().text(),
            "the value that 1 members are to agree on has 1048577 bytes; at most 1048576 are allowed");
}

TEST(Agreement, StrangersAndMalformedMessagesChangeNothing) {
  Table table(3);
  table.start(0);
  const std::string short_message = "x";
  for (const std::uint32_t from : {0u, 3u, 99u}) {
    const Status taken = table[0].receive(from, std::as_bytes(std::span(short_message)), table.now);
    EXPECT_EQ(taken.code(), Code::invalid) << from;
  }
  EXPECT_EQ(table[1].receive(2, std::as_bytes(std::span(short_message)), table.now).culprit(), 2);
  EXPECT_FALSE(table[1].wants_start());
  EXPECT_TRUE(table.messages(1, 2).empty());
}

}  // namespace
}  // namespace tutti
