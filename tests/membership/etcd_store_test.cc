// The etcd store at real etcd clusters: members and leaders that die or fall silent, strangers, and keys that go.
#include "src/membership/etcd_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <set>
#include <thread>

#include "src/base/format.h"
#include "src/membership/stores.h"
#include "tests/membership/etcd_servers.h"
#include "tests/membership/store_sites.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<EtcdStore> open(const std::string& address, std::string_view secret = "secret",
                                EtcdStore::Options options = {}) {
  auto store = EtcdStore::create(address, secret, options);
  EXPECT_TRUE(store.is_ok()) << store.status().text();
  return *std::move(store);
}

// Impatient with one member, so that tests of silent ones are short.
EtcdStore::Options impatient() {
  EtcdStore::Options options;
  options.limits.one_try = 500ms;
  options.watch_time = 500ms;
  return options;
}

class EtcdStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = EtcdServers::missing(); !missing.empty()) GTEST_SKIP() << missing;
  }
};

class EtcdClusterTest : public EtcdStoreTest {
 protected:
  void SetUp() override {
    EtcdStoreTest::SetUp();
    if (!IsSkipped())
      servers_ = std::make_unique<EtcdServers>(
          3, std::vector<std::string>{"--heartbeat-interval", "50", "--election-timeout", "500"});
  }
  std::unique_ptr<EtcdServers> servers_;
};

// Threads that count at one store while `disturb` runs; then all that they were told is held against what is there.
void count_while(const EtcdServers& servers, const std::function<void()>& disturb) {
  constexpr int kThreads = 3;
  std::atomic<bool> ends{false};
  std::mutex mutex;
  std::multiset<std::int64_t> sums;
  std::atomic<int> swaps{0};
  std::vector<std::thread> threads;
  const auto seed = open(servers.address("counting"));
  ASSERT_TRUE(seed->set("epoch", "0", later()).is_ok());
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      const auto store = open(servers.address("counting"));
      while (!ends) {
        const auto sum = store->add("sum", 1, later());
        ASSERT_TRUE(sum.is_ok()) << sum.status().text();
        const auto epoch = store->get("epoch", later());
        ASSERT_TRUE(epoch.is_ok()) << epoch.status().text();
        const auto swap = store->compare_and_swap("epoch", *epoch, std::to_string(std::stoi(*epoch) + 1), later());
        ASSERT_TRUE(swap.is_ok()) << swap.status().text();
        if (swap->stored) ++swaps;
        const std::lock_guard lock(mutex);
        sums.insert(*sum);
      }
    });
  }
  disturb();
  const auto have_counted_enough = [&] {
    const std::lock_guard lock(mutex);
    return sums.size() > 10;
  };
  for (const Instant limit = later(); !have_counted_enough() && monotonic_now() < limit;)
    std::this_thread::sleep_for(10ms);
  ends = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(*seed->add("sum", 0, later()), static_cast<std::int64_t>(sums.size()));
  EXPECT_EQ(std::set<std::int64_t>(sums.begin(), sums.end()).size(), sums.size()) << "two adds gave the same sum";
  EXPECT_EQ(*seed->get("epoch", later()), std::to_string(swaps));
  EXPECT_GT(sums.size(), 10u) << "too little happened to say anything";
}

TEST_F(EtcdClusterTest, NothingIsLostOrDoubledWhenLeadersAreKilledAndComeBack) {
  const char* const is_long = std::getenv("TUTTI_TEST_LONG");
  const int kills = is_long != nullptr && std::string_view(is_long) == "1" ? 30 : 2;
  count_while(*servers_, [&] {
    for (int kill = 0; kill < kills; ++kill) {
      std::this_thread::sleep_for(200ms);
      const int leader = servers_->leader();
      servers_->kill(leader);
      EXPECT_NE(servers_->leader(), leader);
      std::this_thread::sleep_for(200ms);
      servers_->restart(leader);
    }
  });
}

TEST_F(EtcdClusterTest, AWaitGoesOnWhenTheMemberThatItWatchesIsKilled) {
  const auto store = open(servers_->address("waiting"), "secret", impatient());
  std::thread waiter([&] { EXPECT_EQ(*store->get("key", later()), "value"); });
  std::this_thread::sleep_for(100ms);
  servers_->kill(0);
  const auto other = open(servers_->address("waiting"));
  ASSERT_TRUE(other->set("key", "value", later()).is_ok());
  waiter.join();
}

TEST_F(EtcdClusterTest, AMemberThatFallsSilentIsLeft) {
  const auto store = open(servers_->address("silent"), "secret", impatient());
  ASSERT_TRUE(store->set("a", "1", later()).is_ok());
  std::thread waiter([&] { EXPECT_EQ(*store->get("late", later()), "value"); });
  std::this_thread::sleep_for(100ms);
  const int silent = servers_->leader();
  servers_->signal(silent, SIGSTOP);
  const auto other = open(servers_->address("silent"), "secret", impatient());
  EXPECT_TRUE(other->set("late", "value", later()).is_ok());
  waiter.join();
  EXPECT_EQ(*store->get("a", later()), "1");
  EXPECT_EQ(*store->add("sum", 1, later()), 1);
  servers_->signal(silent, SIGCONT);
}

TEST_F(EtcdClusterTest, AMinorityAloneIsLostRatherThanWrong) {
  EtcdStore::Options options = impatient();
  options.limits.silence = 700ms;
  const auto store = open(servers_->address("minority"), "secret", options);
  ASSERT_TRUE(store->set("a", "1", later()).is_ok());
  servers_->kill(0);
  servers_->kill(1);
  const Status status = store->set("a", "2", later());
  EXPECT_EQ(status.code(), Code::peer_lost) << status.text();
  EXPECT_TRUE(status.text().starts_with("store " + store->address() + ": member 127.0.0.1:")) << status.text();
  EXPECT_NE(status.text().find("Whether the change has happened is open"), std::string::npos) << status.text();
}

TEST_F(EtcdStoreTest, WhoNeverConnectsSaysWhatTheSystemSaid) {
  const auto store = open("etcd://127.0.0.1:1/x");
  const Status status = store->set("a", "1", soon());
  EXPECT_EQ(status.code(), Code::timeout);
  EXPECT_TRUE(status.text().starts_with(
      "store etcd://127.0.0.1:1/x: member 127.0.0.1:1: connect: Connection refused (ECONNREFUSED, 111); "))
      << status.text();
}

TEST_F(EtcdStoreTest, AClusterThatIsGoneIsLostAndItsWaitsEnd) {
  EtcdStore::Options options = impatient();
  options.limits.silence = 300ms;
  EtcdServers servers(1);
  const auto store = open(servers.address("x"), "secret", options);
  ASSERT_TRUE(store->set("a", "1", later()).is_ok());
  std::thread waiter([&] { EXPECT_EQ(store->get("never", later()).status().code(), Code::peer_lost); });
  std::this_thread::sleep_for(100ms);
  servers.kill(0);
  waiter.join();
  const Status status = store->set("a", "2", later());
  EXPECT_EQ(status.code(), Code::peer_lost) << status.text();
}

TEST_F(EtcdStoreTest, AnotherSecretNeitherReadsNorIsRead) {
  const EtcdServers& servers = shared_etcd();
  const auto member = open(servers.address("strangers"));
  const auto stranger = open(servers.address("strangers"), "another");
  ASSERT_TRUE(member->set("a", "1", later()).is_ok());
  for (const Status& status :
       {stranger->get("a", later()).status(), stranger->gather("", 1, later()).status,
        stranger->add("a", 1, later()).status(), stranger->compare_and_swap("a", "1", "2", later()).status(),
        stranger->set("b", "forged", later())}) {
    EXPECT_EQ(status.code(), Code::invalid);
    EXPECT_NE(status.text().find("TUTTI_SECRET"), std::string::npos) << status.text();
  }
  // By etcd's own means, which need no secret.
  servers.ask(0, "kv/put", R"({"key":")" + to_base64("strangers/data/c") + R"(","value":"MQ=="})");
  const Status forged = member->get("c", later()).status();
  EXPECT_EQ(forged.code(), Code::invalid);
  EXPECT_NE(forged.text().find("the key strangers/data/c holds 1 bytes"), std::string::npos) << forged.text();
  EXPECT_EQ(*member->get("a", later()), "1");
}

TEST_F(EtcdStoreTest, PrefixesAreWorldsApart) {
  const EtcdServers& servers = shared_etcd();
  const auto one = open(servers.address("one"));
  const auto other = open(servers.address("one/more"), "another secret");
  ASSERT_TRUE(one->set("a", "1", later()).is_ok());
  ASSERT_TRUE(other->set("a", "2", later()).is_ok());
  EXPECT_EQ(one->gather("", 0, later()).entries.size(), 1u);
  EXPECT_EQ(*other->remove("", later()), 1);
  EXPECT_EQ(*one->get("a", later()), "1");
}

TEST_F(EtcdStoreTest, KeysStayWhileAnyProcessLivesAndGoWithTheLast) {
  EtcdServers servers(1, {"--heartbeat-interval", "50", "--election-timeout", "500"});  // for leases of a second
  EtcdStore::Options options;
  options.lease_seconds = 1;
  auto writer = open(servers.address("job"), "secret", options);
  auto other = open(servers.address("job"), "secret", options);
  ASSERT_TRUE(writer->set("a", "1", later()).is_ok());
  ASSERT_TRUE(other->set("b", "2", later()).is_ok());
  writer.reset();
  std::this_thread::sleep_for(2500ms);  // more than two leases
  EXPECT_EQ(*other->get("a", later()), "1") << "whoever wrote it";
  other.reset();
  const auto reader = open(servers.address("job"));
  while (!reader->gather("", 0, later()).entries.empty()) std::this_thread::sleep_for(50ms);
  EXPECT_EQ(servers.ask(0, "kv/range", R"({"key":")" + to_base64("job/lease") + R"("})").find("kvs"),
            std::string::npos);
}

TEST_F(EtcdStoreTest, AJobWhoseLeaseAndSessionsAreGoneMakesNewOnes) {
  const EtcdServers& servers = shared_etcd();
  const auto store = open(servers.address("forgotten"));
  ASSERT_TRUE(store->set("a", "1", later()).is_ok());
  const auto keys = [&](const std::string& prefix) {
    return R"({"key":")" + to_base64(prefix) + R"(","range_end":")" + to_base64(etcd_range_end(prefix)) + R"("})";
  };
  servers.ask(0, "kv/deleterange", keys("forgotten/session/"));
  EXPECT_TRUE(store->set("b", "2", later()).is_ok());
  const auto lease = decode_etcd_range(servers.ask(0, "kv/range", keys("forgotten/lease")));
  ASSERT_TRUE(lease.is_ok());
  const std::string number =
      *StoreSeal::create("secret", "tutti etcd store v1")->open("forgotten/lease", lease->found.entries.at(0).value);
  servers.ask(0, "lease/revoke", R"({"ID":")" + number + R"("})");
  EXPECT_EQ(store->gather("", 0, later()).entries.size(), 0u);
  EXPECT_EQ(*store->add("c", 3, later()), 3);
  EXPECT_EQ(*store->get("c", later()), "3");
}

TEST_F(EtcdStoreTest, IsOpenedByItsAddress) {
  const EtcdServers& servers = shared_etcd();
  const auto one = open_store(servers.address("tutti"), {"secret"}, later());
  const std::string without_prefix = servers.address("");
  const auto other = open_store(without_prefix.substr(0, without_prefix.size() - 1), {"secret"}, later());
  ASSERT_TRUE(one.is_ok() && other.is_ok());
  EXPECT_EQ((*one)->address(), (*other)->address());
  ASSERT_TRUE((*one)->set("a", "1", later()).is_ok());
  EXPECT_EQ(*(*other)->get("a", later()), "1");
}

TEST(EtcdAddressTest, IsReadOrRefused) {
  const auto parsed = parse_etcd_address("etcd://a:1,[::1]:2379,c.example:3/jobs/one/");
  ASSERT_TRUE(parsed.is_ok()) << parsed.status().text();
  ASSERT_EQ(parsed->members.size(), 3u);
  EXPECT_EQ(to_string(parsed->members[1]), "[::1]:2379");
  EXPECT_EQ(parsed->prefix, "jobs/one");
  EXPECT_EQ(parse_etcd_address("etcd://a:1")->prefix, "tutti");
  EXPECT_EQ(parse_etcd_address("etcd://a:1/")->prefix, "tutti");
  for (const char* const address : {"etcd://", "etcd://a", "etcd://a:0", "etcd://a:1,", "etcd://,a:1",
                                    "etcd://a:1,,b:2", "http://a:1", "etcd:///x", "etcd://user@:1x"}) {
    const Status status = parse_etcd_address(address).status();
    EXPECT_EQ(status.code(), Code::invalid) << address;
    EXPECT_NE(status.text().find("expected etcd://HOST:PORT"), std::string::npos) << status.text();
  }
}

}  // namespace
}  // namespace tutti
