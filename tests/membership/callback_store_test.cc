// The callback store's own: who is behind catches up, another secret is refused, errors of the primitives are passed
// on with what they leave open, and a store that is full is so for everybody.
#include "src/membership/callback_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "src/membership/memory_store.h"
#include "tests/membership/store_sites.h"

namespace tutti {
namespace {

// A memory store that can be told to fail, before or after it has done as asked.
class Primitives final : public StorePrimitives {
 public:
  Result<std::string> get(const std::string& key, Instant deadline) override {
    ++calls;
    if (!get_fails.is_ok()) return get_fails;
    return store.get(key, deadline);
  }
  Result<std::string> set_if_absent(const std::string& key, const std::string& value, Instant deadline) override {
    ++calls;
    const auto swap = store.set_if_absent(key, value, deadline);
    if (!set_fails.is_ok()) return set_fails;
    return *swap->value;
  }
  std::string address() const override { return "callback://test"; }

  MemoryStore store;
  Status get_fails;
  Status set_fails;
  std::atomic<int> calls = 0;
};

class CallbackStoreTest : public testing::Test {
 protected:
  std::unique_ptr<CallbackStore> open(std::string_view secret = "secret") {
    return *CallbackStore::create(primitives_, secret);
  }
  const std::shared_ptr<Primitives> primitives_ = std::make_shared<Primitives>();
};

TEST_F(CallbackStoreTest, WhoComesLateReadsEverythingThatCameBefore) {
  const auto early = open();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(early->set("key" + std::to_string(i % 10), "value", later()).is_ok());
  ASSERT_EQ(*early->remove("key1", later()), 1);
  EXPECT_EQ(open()->gather("key", 0, later()).entries.size(), 9u);
  EXPECT_EQ(*open()->add("sum", 1, later()), 1);
}

TEST_F(CallbackStoreTest, WhoIsBehindDecidesOnWhatIsThereNow) {
  const auto here = open();
  const auto there = open();
  ASSERT_TRUE(here->set("key", "1", later()).is_ok());
  EXPECT_FALSE(there->compare_and_swap("key", std::nullopt, "2", later())->stored);
  ASSERT_TRUE(there->set("key", "2", later()).is_ok());
  EXPECT_FALSE(here->compare_and_swap("key", "1", "3", later())->stored);
  ASSERT_EQ(*there->remove("key", later()), 1);
  EXPECT_EQ(*here->remove("key", later()), 0);
  EXPECT_EQ(here->get("key", soon()).status().code(), Code::timeout) << "removed, though it was known here";
}

TEST_F(CallbackStoreTest, ACallWithoutContentionNeedsTwoOfThePrimitivesAtMost) {
  const auto store = open();
  ASSERT_TRUE(store->set("key", "1", later()).is_ok());
  EXPECT_EQ(primitives_->calls, 1);
  ASSERT_TRUE(store->compare_and_swap("key", "1", "2", later())->stored);
  EXPECT_EQ(primitives_->calls, 2);
  ASSERT_TRUE(store->get("key", later()).is_ok());
  EXPECT_EQ(primitives_->calls, 3);
}

TEST_F(CallbackStoreTest, AnotherSecretAndStrangersEntriesAreRefused) {
  ASSERT_TRUE(open()->set("key", "value", later()).is_ok());
  for (const Status& status :
       {open("another")->get("key", later()).status(), open("another")->set("key", "forged", later())}) {
    EXPECT_EQ(status.code(), Code::invalid);
    EXPECT_NE(status.text().find("TUTTI_SECRET"), std::string::npos) << status.text();
  }
  EXPECT_EQ(*open()->get("key", later()), "value");
  ASSERT_TRUE(primitives_->store.set("tutti/1", "a stranger's", later()).is_ok());
  const Status status = open()->gather("", 0, later()).status;
  EXPECT_EQ(status.code(), Code::invalid);
  EXPECT_TRUE(status.text().starts_with("store callback://test: the key tutti/1 holds 12 bytes")) << status.text();
}

TEST_F(CallbackStoreTest, WhatThePrimitivesSayIsPassedOnAndWhatHappenedIsKnownAtTheNextCall) {
  const auto store = open();
  primitives_->set_fails = Status(Code::peer_lost, "the framework's store hung up");
  const Status status = store->add("sum", 5, later()).status();
  EXPECT_EQ(status.code(), Code::peer_lost);
  EXPECT_EQ(status.text(),
            "store callback://test: the framework's store hung up. Whether the change has happened is open");
  primitives_->set_fails = Status();
  EXPECT_EQ(*store->add("sum", 1, later()), 6);
  primitives_->get_fails = Status(Code::system, "no route");
  EXPECT_EQ(store->get("sum", later()).status().text(), "store callback://test: no route");
}

TEST_F(CallbackStoreTest, ManyThreadsOfOneProcessShareItsTable) {
  const auto store = open();
  const auto other = open();
  constexpr int kThreads = 4;
  constexpr int kAdds = 100;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kAdds; ++i) ASSERT_TRUE((i % 5 == 0 ? other : store)->add("sum", 1, later()).is_ok());
    });
  }
  EXPECT_TRUE(store->get("sum", later()).is_ok());
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(*other->add("sum", 0, later()), kThreads * kAdds);
}

}  // namespace
}  // namespace tutti
