// The rule of shared states, against a plain reading of the header, over all small cases.
#include "src/state/rule.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tutti {
namespace {

Digest content(std::uint64_t number) { return {number * 0x9e3779b97f4a7c15ull, number}; }

// All ways in which `ranks` ranks hold revision 0 to 2, whole or not, with content 0 to 2: 18 ways each.
struct Situation {
  std::vector<Claim> claims;
  std::vector<std::uint64_t> contents;
};

Situation situation(std::uint64_t number, std::size_t ranks) {
  Situation s;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    s.claims.push_back({number % 3, number / 3 % 2 == 0});
    s.contents.push_back(number / 6 % 3);
    number /= 18;
  }
  return s;
}

void check(const Situation& s) {
  const std::size_t ranks = s.claims.size();
  std::uint64_t revision = 0;
  bool is_something_lost = false;
  for (const Claim& claim : s.claims) {
    if (claim.is_whole) revision = std::max(revision, claim.revision);
    is_something_lost |= !claim.is_whole;
  }
  const Result<Candidates> got = newest(s.claims);
  if (is_something_lost && revision == 0) {
    ASSERT_EQ(got.status().code(), Code::invalid);
    return;
  }
  ASSERT_TRUE(got.is_ok());
  ASSERT_EQ(got->revision, revision);
  std::vector<Digest> contents;
  std::uint64_t votes[3] = {};
  for (std::uint32_t rank = 0, next = 0; rank < ranks; ++rank) {
    const bool is_one = s.claims[rank].is_whole && s.claims[rank].revision == revision;
    ASSERT_EQ(next < got->ranks.size() && got->ranks[next] == rank, is_one);
    if (!is_one) continue;
    ++next;
    ++votes[s.contents[rank]];
    contents.push_back(content(s.contents[rank]));
  }
  const Choice choice = choose(*got, contents);
  ASSERT_FALSE(choice.holders.empty());
  const std::uint64_t chosen = s.contents[choice.holders[0]];
  for (std::uint64_t other = 0; other < 3; ++other) ASSERT_LE(votes[other], votes[chosen]);
  for (const std::uint32_t rank : got->ranks) {
    const bool holds = std::binary_search(choice.holders.begin(), choice.holders.end(), rank);
    const bool has_drifted = std::binary_search(choice.drifted.begin(), choice.drifted.end(), rank);
    ASSERT_EQ(holds, s.contents[rank] == chosen);
    ASSERT_EQ(has_drifted, !holds);
    const bool could_be_lower = rank < choice.holders[0] && votes[s.contents[rank]] == votes[chosen];
    ASSERT_FALSE(could_be_lower);
  }
}

TEST(StateRule, NewestThenMostThenLowestInAllSituationsOfUpToFourRanks) {
  std::uint64_t situations = 1;
  for (std::size_t ranks = 1; ranks <= 4; ++ranks) {
    situations *= 18;
    for (std::uint64_t number = 0; number < situations; ++number) {
      check(situation(number, ranks));
      if (HasFatalFailure()) FAIL() << ranks << " ranks, situation " << number;
    }
  }
}

TEST(StateRule, WhatWasLostIsNotReplacedByTheContentOfNewProcesses) {
  const std::vector<Claim> claims = {{0, false}, {0, true}};
  const Result<Candidates> got = newest(claims);
  ASSERT_FALSE(got.is_ok());
  EXPECT_NE(got.status().text().find("Load a checkpoint"), std::string::npos);
}

}  // namespace
}  // namespace tutti
