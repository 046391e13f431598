// The contract of src/membership/store.h, at every store.
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <thread>

#include "tests/membership/store_sites.h"

namespace tutti {
namespace {

class StoreConformance : public testing::TestWithParam<SiteKind> {
 protected:
  void SetUp() override {
    if (const std::string missing = site_->missing(); !missing.empty()) GTEST_SKIP() << missing;
    here_ = site_->open();
    there_ = site_->open();
  }

  std::unique_ptr<StoreSite> site_ = GetParam().make();
  std::shared_ptr<Store> here_;
  std::shared_ptr<Store> there_;
};

TEST_P(StoreConformance, WhatOneStoresAllRead) {
  const std::string value("any \0 bytes \xff", 12);
  ASSERT_TRUE(here_->set("key", value, later()).is_ok());
  EXPECT_EQ(*there_->get("key", later()), value);
  ASSERT_TRUE(there_->set("key", "", later()).is_ok());
  EXPECT_EQ(*here_->get("key", later()), "");
}

TEST_P(StoreConformance, GetWaitsUntilTheKeyIsThere) {
  std::thread setter([&] { EXPECT_TRUE(there_->set("late", "value", later()).is_ok()); });
  EXPECT_EQ(*here_->get("late", later()), "value");
  setter.join();
}

TEST_P(StoreConformance, GetEndsByItsDeadlineAndNamesStoreAndKey) {
  const auto value = here_->get("absent", soon());
  ASSERT_FALSE(value.is_ok());
  EXPECT_EQ(value.status().code(), Code::timeout);
  EXPECT_EQ(value.status().text(),
            "store " + here_->address() + ": nobody stored the key absent before the deadline");
}

TEST_P(StoreConformance, SetIfAbsentStoresOnce) {
  const auto first = here_->set_if_absent("key", "first", later());
  ASSERT_TRUE(first.is_ok()) << first.status().text();
  EXPECT_TRUE(first->stored);
  EXPECT_EQ(first->value, "first");
  const auto second = there_->set_if_absent("key", "second", later());
  ASSERT_TRUE(second.is_ok());
  EXPECT_FALSE(second->stored);
  EXPECT_EQ(second->value, "first");
}

TEST_P(StoreConformance, CompareAndSwapNeedsTheExpectedValue) {
  const auto absent = here_->compare_and_swap("key", "x", "y", later());
  ASSERT_TRUE(absent.is_ok());
  EXPECT_FALSE(absent->stored);
  EXPECT_EQ(absent->value, std::nullopt);
  ASSERT_TRUE(here_->set("key", "", later()).is_ok());
  EXPECT_FALSE(there_->compare_and_swap("key", std::nullopt, "y", later())->stored) << "empty is not absent";
  EXPECT_TRUE(there_->compare_and_swap("key", "", "y", later())->stored);
  EXPECT_EQ(*here_->get("key", later()), "y");
}

TEST_P(StoreConformance, ASwapThatDoesNotHappenWakesNobody) {
  std::thread waiter([&] { EXPECT_EQ(*here_->get("key", later()), "set"); });
  for (int i = 0; i < 50; ++i) EXPECT_FALSE(there_->compare_and_swap("key", "x", "y", later())->stored);
  ASSERT_TRUE(there_->set("key", "set", later()).is_ok());
  waiter.join();
}

TEST_P(StoreConformance, OfManyConcurrentSwapsOneWinsEachRound) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 20;
  std::atomic<int> wins = 0;
  ASSERT_TRUE(here_->set("epoch", "0", later()).is_ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      const auto store = site_->open();
      for (int round = 0; round < kRounds; ++round) {
        const auto swap = store->compare_and_swap("epoch", std::to_string(round), std::to_string(round + 1), later());
        ASSERT_TRUE(swap.is_ok()) << swap.status().text();
        wins += swap->stored ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wins, std::stoi(*here_->get("epoch", later())));
}

TEST_P(StoreConformance, AddSumsUpOverThreadsAndHandles) {
  constexpr int kThreads = 4;
  constexpr int kAdds = 50;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto& store = t % 2 == 0 ? here_ : there_;
      for (int i = 0; i < kAdds; ++i) ASSERT_TRUE(store->add("sum", t % 2 == 0 ? 3 : -1, later()).is_ok());
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(*here_->add("sum", 0, later()), 2 * kAdds * 3 - 2 * kAdds);
}

TEST_P(StoreConformance, AddRefusesWhatIsNoNumberOrDoesNotFit) {
  ASSERT_TRUE(here_->set("text", "12x", later()).is_ok());
  EXPECT_EQ(here_->add("text", 1, later()).status().code(), Code::invalid);
  EXPECT_EQ(*here_->get("text", later()), "12x");
  ASSERT_TRUE(here_->add("big", std::numeric_limits<std::int64_t>::max(), later()).is_ok());
  EXPECT_EQ(here_->add("big", 1, later()).status().code(), Code::invalid);
  EXPECT_EQ(*here_->add("big", -1, later()), std::numeric_limits<std::int64_t>::max() - 1);
}

TEST_P(StoreConformance, GatherWaitsForTheCountAndIsSorted) {
  constexpr int kCount = 5;
  std::thread setter([&] {
    for (int i = kCount; i-- > 0;) {
      EXPECT_TRUE(there_->set("ranks/" + std::to_string(i), std::to_string(i * i), later()).is_ok());
      EXPECT_TRUE(there_->set("other/" + std::to_string(i), "x", later()).is_ok());
    }
  });
  const auto gathered = here_->gather("ranks/", kCount, later());
  setter.join();
  ASSERT_TRUE(gathered.status.is_ok()) << gathered.status.text();
  ASSERT_EQ(gathered.entries.size(), static_cast<std::size_t>(kCount));
  for (int i = 0; i < kCount; ++i) {
    EXPECT_EQ(gathered.entries[static_cast<std::size_t>(i)],
              std::pair("ranks/" + std::to_string(i), std::to_string(i * i)));
  }
}

TEST_P(StoreConformance, GatherThatTimesOutBringsWhatIsThere) {
  ASSERT_TRUE(there_->set("ranks/0", "a", later()).is_ok());
  ASSERT_TRUE(there_->set("ranks/2", "c", later()).is_ok());
  const auto gathered = here_->gather("ranks/", 3, soon());
  EXPECT_EQ(gathered.status.code(), Code::timeout);
  ASSERT_EQ(gathered.entries.size(), 2u);
  EXPECT_EQ(gathered.entries[1].first, "ranks/2");
}

TEST_P(StoreConformance, GatherOfNoneNeverWaits) {
  const auto gathered = here_->gather("nothing/", 0, later());
  EXPECT_TRUE(gathered.status.is_ok());
  EXPECT_TRUE(gathered.entries.empty());
}

TEST_P(StoreConformance, RemoveTakesThePrefixAlone) {
  for (const char* key : {"a/1", "a/2", "b/1"}) ASSERT_TRUE(here_->set(key, "x", later()).is_ok());
  EXPECT_EQ(*there_->remove("a/", later()), 2);
  EXPECT_EQ(*there_->remove("a/", later()), 0);
  EXPECT_EQ(here_->gather("", 0, later()).entries.size(), 1u);
}

TEST_P(StoreConformance, ARemovedKeyIsWaitedForAgain) {
  ASSERT_TRUE(here_->set("a/1", "x", later()).is_ok());
  std::thread gatherer([&] {
    const auto gathered = there_->gather("a/", 2, later());
    ASSERT_TRUE(gathered.status.is_ok());
    EXPECT_EQ(gathered.entries.size(), 2u);
    EXPECT_EQ(gathered.entries[0].first, "a/2");
  });
  ASSERT_TRUE(here_->remove("a/1", later()).is_ok());
  ASSERT_TRUE(here_->set("a/2", "x", later()).is_ok());
  ASSERT_TRUE(here_->set("a/3", "x", later()).is_ok());
  gatherer.join();
}

TEST_P(StoreConformance, KeysAndValuesHaveBounds) {
  const std::string longest_key(Store::kKeyBytes, 'k');
  const std::string longest_value(Store::kValueBytes, 'v');
  EXPECT_TRUE(here_->set(longest_key, longest_value, later()).is_ok());
  EXPECT_EQ(*there_->get(longest_key, later()), longest_value);
  EXPECT_TRUE(there_->compare_and_swap(longest_key, longest_value, longest_value, later())->stored);
  for (const Status& status : {here_->set("", "x", later()), here_->set(longest_key + "k", "x", later()),
                               here_->set("key", longest_value + "v", later()), here_->get("", later()).status(),
                               here_->gather(longest_key + "k", 1, later()).status}) {
    EXPECT_EQ(status.code(), Code::invalid);
    EXPECT_TRUE(status.text().starts_with("store " + here_->address() + ": ")) << status.text();
  }
}

TEST_P(StoreConformance, AThreadThatWaitsKeepsNobodyWaiting) {
  std::thread waiter([&] { EXPECT_EQ(*here_->get("go", later()), "now"); });
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(here_->set("key" + std::to_string(i), "x", later()).is_ok());
  EXPECT_TRUE(here_->set("go", "now", later()).is_ok());
  waiter.join();
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreConformance, testing::ValuesIn(kSiteKinds), site_name);

}  // namespace
}  // namespace tutti
