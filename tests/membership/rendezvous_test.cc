// The rendezvous at every store: all find all, and every way of failing names its rank and ends everybody's wait.
#include "src/membership/rendezvous.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "tests/membership/store_sites.h"

namespace tutti {
namespace {

std::vector<std::byte> blob_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class Rendezvous : public testing::TestWithParam<SiteKind> {
 protected:
  void SetUp() override {
    if (const std::string missing = site_->missing(); !missing.empty()) GTEST_SKIP() << missing;
    (void)site_->open();  // what it starts dies with the thread that started it
  }

  // Runs the given ranks as threads and returns what each got.
  std::vector<Result<Roster>> meet(int size, const std::vector<int>& ranks, Instant deadline) {
    std::vector<Result<Roster>> results(ranks.size(), Status(Code::internal, "not run"));
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      threads.emplace_back([&, i] {
        const auto store = site_->open();
        results[i] =
            rendezvous(*store, "group", ranks[i], size, blob_of("blob" + std::to_string(ranks[i])), deadline);
      });
    }
    for (auto& thread : threads) thread.join();
    return results;
  }

  std::unique_ptr<StoreSite> site_ = GetParam().make();
};

TEST_P(Rendezvous, EveryRankGetsEverybodysBlob) {
  for (int round = 0; round < 3; ++round) {  // the name is free again once all have returned
    for (const auto& roster : meet(4, {2, 0, 3, 1}, later())) {
      ASSERT_TRUE(roster.is_ok()) << roster.status().text();
      ASSERT_EQ(roster->members.size(), 4u);
      for (std::size_t rank = 0; rank < 4; ++rank) {
        EXPECT_EQ(roster->members[rank].blob, blob_of("blob" + std::to_string(rank)));
        EXPECT_EQ(roster->members[rank].pid, getpid());
      }
    }
    EXPECT_TRUE(site_->open()->gather("", 0, later()).entries.empty()) << "nothing is left behind";
  }
}

TEST_P(Rendezvous, OneRankAloneMeetsItself) {
  const auto results = meet(1, {0}, later());
  ASSERT_TRUE(results[0].is_ok()) << results[0].status().text();
}

TEST_P(Rendezvous, MissingRanksAreNamed) {
  for (const auto& roster : meet(5, {0, 1, 4}, deadline_after(monotonic_now(), site_->patience()))) {
    ASSERT_FALSE(roster.is_ok());
    EXPECT_EQ(roster.status().code(), Code::timeout);
    EXPECT_EQ(roster.status().culprit(), 2);
    EXPECT_NE(roster.status().text().find("group group: rank 2 and rank 3 of 5 did not arrive within "),
              std::string::npos)
        << roster.status().text();
  }
}

TEST_P(Rendezvous, TwoProcessesThatAreOneRankAreNamedToAll) {
  const auto results = meet(4, {0, 1, 1}, later());  // rank 2 and 3 never come: only the error can end this
  int named = 0;
  for (const auto& roster : results) {
    ASSERT_FALSE(roster.is_ok());
    EXPECT_EQ(roster.status().code(), Code::invalid) << roster.status().text();
    EXPECT_EQ(roster.status().culprit(), 1);
    named += roster.status().text().find("two processes are rank 1: ") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(named, 3);
}

TEST_P(Rendezvous, AnotherSizeIsNamedToAll) {
  const auto small = site_->open();
  const auto large = site_->open();
  Result<Roster> at_small = Status(Code::internal, "not run");
  std::thread other([&] { at_small = rendezvous(*small, "group", 1, 2, {}, later()); });
  const auto at_large = rendezvous(*large, "group", 0, 8, {}, later());
  other.join();
  for (const Result<Roster>* roster : {static_cast<const Result<Roster>*>(&at_small), &at_large}) {
    ASSERT_FALSE(roster->is_ok());
    EXPECT_EQ(roster->status().code(), Code::invalid);
    EXPECT_NE(roster->status().text().find("size 8"), std::string::npos) << roster->status().text();
    EXPECT_NE(roster->status().text().find("size 2"), std::string::npos) << roster->status().text();
  }
}

TEST_P(Rendezvous, ARankThatFailsEndsTheOthersWaitAtOnce) {
  std::vector<Result<Roster>> results;
  std::thread others([&] { results = meet(4, {0, 1, 3}, later()); });
  const auto store = site_->open();
  const Status why(Code::invalid, "count 7 is not a count");
  ASSERT_TRUE(fail_rendezvous(*store, "group", 2, 4, why, later()).is_ok());
  others.join();
  for (const auto& roster : results) {
    ASSERT_FALSE(roster.is_ok());
    EXPECT_EQ(roster.status().code(), Code::invalid);
    EXPECT_EQ(roster.status().culprit(), 2);
    EXPECT_NE(roster.status().text().find("cannot take part: count 7 is not a count"), std::string::npos)
        << roster.status().text();
  }
}

TEST_P(Rendezvous, ImpossibleRanksAreRefused) {
  const auto store = site_->open();
  EXPECT_EQ(rendezvous(*store, "group", 4, 4, {}, later()).status().code(), Code::invalid);
  EXPECT_EQ(rendezvous(*store, "group", -1, 4, {}, later()).status().code(), Code::invalid);
  EXPECT_EQ(rendezvous(*store, "group", 0, 0, {}, later()).status().code(), Code::invalid);
}

TEST_P(Rendezvous, WhatNoRankPublishedIsAnError) {
  const auto store = site_->open();
  ASSERT_TRUE(store->set("rendezvous/group/rank/000001", "garbage", later()).is_ok());
  const auto roster = rendezvous(*store, "group", 0, 2, {}, later());
  ASSERT_FALSE(roster.is_ok());
  EXPECT_NE(roster.status().text().find("holds 7 bytes that no rank published"), std::string::npos);
}

TEST_P(Rendezvous, ForkedProcessesMeet) {
  if (!site_->spans_processes())
    GTEST_SKIP() << "this store is one process's, or may not be used by one that is forked";
  constexpr int kProcesses = 3;
  for (int rank = 0; rank < kProcesses; ++rank) {
    if (fork() == 0) {
      const auto roster = rendezvous(*site_->open(), "processes", rank, kProcesses, blob_of("x"), later());
      _exit(roster.is_ok() && roster->members[static_cast<std::size_t>(rank)].pid == getpid() ? 0 : 1);
    }
  }
  for (int rank = 0; rank < kProcesses; ++rank) {
    int status = 0;
    wait(&status);
    EXPECT_EQ(status, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, Rendezvous, testing::ValuesIn(kSiteKinds), site_name);

}  // namespace
}  // namespace tutti
