// The etcd store before servers that answer nonsense, halves, too much, too slowly or not at all, and before a relay
// to a real etcd that loses answers and delivers requests late: every call ends in time with a sentence that says
// what came, and what happened has happened exactly once.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "src/base/format.h"
#include "src/membership/etcd_store.h"
#include "tests/membership/etcd_servers.h"
#include "tests/membership/http_server.h"
#include "tests/membership/store_sites.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;

std::unique_ptr<EtcdStore> open(const std::string& address, EtcdStore::Options options = {}) {
  auto store = EtcdStore::create(address, "secret", options);
  EXPECT_TRUE(store.is_ok()) << store.status().text();
  return *std::move(store);
}

EtcdStore::Options small() {
  EtcdStore::Options options;
  options.limits.one_try = 80ms;
  options.limits.grace = 50ms;
  options.limits.reply_bytes = 100'000;
  options.watch_time = 80ms;
  return options;
}

// What every kind of call says at a server that answers with `handler`.
std::vector<Status> all_calls(HttpServer::Handler handler, Nanoseconds time = 100ms) {
  const HttpServer server(std::move(handler));
  const auto store = open("etcd://" + server.host_port(), small());
  const auto soon = [&] { return deadline_after(monotonic_now(), time); };
  std::vector<Status> all{store->set("a", "1", soon()),
                          store->get("a", soon()).status(),
                          store->compare_and_swap("a", "1", "2", soon()).status(),
                          store->add("a", 1, soon()).status(),
                          store->gather("a", 1, soon()).status,
                          store->remove("a", soon()).status()};
  for (const Status& status : all) {
    EXPECT_TRUE(status.text().starts_with("store etcd://" + server.host_port() + "/tutti: ")) << status.text();
  }
  return all;
}

void expect_all(const std::vector<Status>& all, Code code, std::string_view part) {
  int with_part = 0;
  for (const Status& status : all) {
    EXPECT_EQ(status.code(), code) << status.text();
    const bool has_part = status.text().find(part) != std::string::npos;
    with_part += has_part ? 1 : 0;
    // On a machine with other work the last try may not get as far.
    const bool is_cut_off = code == Code::timeout && status.text().find("no answer within") != std::string::npos;
    EXPECT_TRUE(has_part || is_cut_off) << status.text();
  }
  EXPECT_GT(with_part, 0) << part;
}

TEST(EtcdHostile, NonsenseIsRefusedAtOnceWithItsBeginning) {
  expect_all(all_calls(
                 [](const HttpServer::Peer& peer, const std::string&, const std::string&) {
                   peer.answer(200, "Welcome to my home page");
                   return true;
                 },
                 60s),
             Code::invalid, "are no reply of etcd's (it is no JSON object): Welcome to my home page");
}

TEST(EtcdHostile, AnotherServersErrorPageSaysWhatToCheck) {
  expect_all(all_calls(
                 [](const HttpServer::Peer& peer, const std::string&, const std::string&) {
                   peer.answer(404, "<h1>Not here</h1>");
                   return true;
                 },
                 60s),
             Code::invalid, "This is not etcd's v3 API: check TUTTI_STORE");
}

TEST(EtcdHostile, ARedirectionIsNotFollowed) {
  std::atomic<int> requests = 0;
  const auto all = all_calls(
      [&](const HttpServer::Peer& peer, const std::string&, const std::string&) {
        ++requests;
        return peer.send("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
      },
      60s);
  expect_all(all, Code::invalid, "HTTP status 302");
  EXPECT_EQ(requests, 3 * 6);
}

TEST(EtcdHostile, AnEndlessAnswerIsCutOff) {
  expect_all(all_calls(
                 [](const HttpServer::Peer& peer, const std::string&, const std::string&) {
                   peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                   const std::string piece = "10000\r\n" + std::string(0x10000, '{') + "\r\n";
                   while (peer.send(piece)) continue;
                   return false;
                 },
                 60s),
             Code::system, "answers with more than 97.7 KiB, which is too much to take");
}

TEST(EtcdHostile, EndlessHeadersAreCutOff) {
  expect_all(all_calls([](const HttpServer::Peer& peer, const std::string&, const std::string&) {
               peer.send("HTTP/1.1 200 OK\r\n");
               const std::string header = "X-More: " + std::string(1000, 'x') + "\r\n";
               while (peer.send(header)) continue;
               return false;
             }),
             Code::timeout, "more than 65536 bytes of headers");
}

TEST(EtcdHostile, AnAnswerThatDripsDoesNotOutlastTheDeadline) {
  std::atomic<bool> ends = false;
  const Instant start = monotonic_now();
  const auto all = all_calls([&](const HttpServer::Peer& peer, const std::string&, const std::string&) {
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    while (!ends && peer.send(" ")) std::this_thread::sleep_for(10ms);
    return false;
  });
  ends = true;
  expect_all(all, Code::timeout, "no answer within ");
  EXPECT_LT(monotonic_now() - start, 60s);
}

TEST(EtcdHostile, HalfAnAnswerIsNone) {
  expect_all(all_calls([](const HttpServer::Peer& peer, const std::string&, const std::string&) {
               peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"header\":");
               return false;
             }),
             Code::timeout, "Check that etcd runs");
}

TEST(EtcdHostile, NoAnswerAtAllIsNone) {
  expect_all(all_calls([](const HttpServer::Peer&, const std::string&, const std::string&) { return false; }),
             Code::timeout, "(libcurl 52)");
}

TEST(EtcdHostile, WatchesThatEndOrSpeakNonsenseLeaveTheDeadline) {
  const char* const streams[] = {"",
                                 "\n\n\n",
                                 "{}\n",
                                 "null\n",
                                 R"({"result":{"created":true,"header":{}}})"
                                 "\n",
                                 R"({"result":{"canceled":true,"compact_revision":"5","header":{}}})"
                                 "\n",
                                 R"({"error":{"message":"no leader","grpc_code":14}})"
                                 "\n"};
  for (const char* const stream : streams) {
    std::atomic<int> watches = 0;
    const HttpServer server([&](const HttpServer::Peer& peer, const std::string& path, const std::string&) {
      if (path == "watch") {
        ++watches;
        peer.answer(200, stream);
      } else {
        peer.answer(200, R"({"header":{"revision":"7"}})");
      }
      return true;
    });
    const auto store = open("etcd://" + server.host_port(), small());
    const Status status = store->get("a", deadline_after(monotonic_now(), 100ms)).status();
    EXPECT_EQ(status.code(), Code::timeout);
    EXPECT_NE(status.text().find("nobody stored the key a before the deadline"), std::string::npos) << status.text();
    EXPECT_GT(watches, 0);
    EXPECT_LT(watches, 20) << "a busy loop";
  }
}

TEST(EtcdHostile, AnEventThatNeverEndsIsCutOff) {
  const HttpServer server([&](const HttpServer::Peer& peer, const std::string& path, const std::string&) {
    if (path != "watch") {
      peer.answer(200, R"({"header":{"revision":"7"}})");
      return true;
    }
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    while (peer.send(std::string(10'000, ' '))) continue;
    return false;
  });
  const auto store = open("etcd://" + server.host_port(), small());
  const Status status = store->get("a", later()).status();
  EXPECT_EQ(status.code(), Code::system);
  EXPECT_NE(status.text().find("an event of more than 97.7 KiB"), std::string::npos) << status.text();
}

TEST(EtcdHostile, AnEventNobodyAskedForIsAnError) {
  const HttpServer server([&](const HttpServer::Peer& peer, const std::string& path, const std::string&) {
    peer.answer(200, path == "watch" ? R"({"result":{"header":{},"events":[{"kv":{"key":"YQ==","value":"Yg=="}}]}})"
                                       "\n"
                                     : R"({"header":{"revision":"7"}})");
    return true;
  });
  const auto store = open("etcd://" + server.host_port(), small());
  EXPECT_EQ(store->get("a", later()).status().code(), Code::invalid);
}

// A real etcd behind a relay that a test can make lose things.
class EtcdRelayTest : public testing::Test {
 protected:
  enum class Fate { pass, lose_request, lose_answer };

  void SetUp() override {
    if (const std::string missing = EtcdServers::missing(); !missing.empty()) GTEST_SKIP() << missing;
    servers_ = &shared_etcd();
    prefix_ = testing::UnitTest::GetInstance()->current_test_info()->name();
    relay_ = std::make_unique<HttpServer>(
        [this](const HttpServer::Peer& peer, const std::string& path, const std::string& body) {
          const Fate fate = path == "kv/txn" ? fate_(body) : Fate::pass;
          if (fate == Fate::lose_request) return false;
          const std::string answer = servers_->ask(0, path, body);
          if (fate == Fate::lose_answer) return false;
          const bool is_refusal = answer.find("\"code\":") != std::string::npos;
          peer.answer(is_refusal ? 400 : 200, answer);
          return true;
        });
    near_ = open("etcd://" + relay_->host_port() + "/" + prefix_);
    far_ = open(servers_->address(prefix_));
    // Lease and session are there before anything is lost.
    ASSERT_TRUE(near_->set("warm", "up", later()).is_ok());
    ASSERT_TRUE(far_->remove("", later()).is_ok());
  }
  void TearDown() override {
    near_.reset();
    relay_.reset();
  }

  const EtcdServers* servers_ = nullptr;
  std::string prefix_;
  std::function<Fate(const std::string&)> fate_ = [](const std::string&) { return Fate::pass; };
  std::unique_ptr<HttpServer> relay_;
  std::unique_ptr<EtcdStore> near_;  // through the relay
  std::unique_ptr<EtcdStore> far_;
};

TEST_F(EtcdRelayTest, WhoseAnswersAreLostEveryOtherTimeEachChangeHappensOnce) {
  for (const Fate loss : {Fate::lose_answer, Fate::lose_request}) {
    int number = 0;
    fate_ = [&](const std::string&) { return number++ % 2 == 0 ? loss : Fate::pass; };
    ASSERT_TRUE(near_->set("key", "one", later()).is_ok());
    EXPECT_TRUE(near_->compare_and_swap("key", "one", "two", later())->stored);
    EXPECT_FALSE(near_->compare_and_swap("key", "one", "three", later())->stored);
    const auto first = near_->set_if_absent("new", "1", later());
    ASSERT_TRUE(first.is_ok()) << first.status().text();
    EXPECT_TRUE(first->stored);
    EXPECT_EQ(near_->set_if_absent("new", "2", later())->value, "1");
    for (int i = 1; i <= 10; ++i) EXPECT_EQ(*near_->add("sum", 1, later()), i);
    EXPECT_EQ(*near_->remove("", later()), 3);
    EXPECT_EQ(*near_->remove("", later()), 0);
    EXPECT_GT(number, 30) << "nothing was lost";
  }
}

// The first transaction is held back, the second passes; then the first arrives after all.
TEST_F(EtcdRelayTest, ALateCopyOfWhatHasHappenedDoesNotHappenAgain) {
  std::string held;
  fate_ = [&](const std::string& body) {
    if (!held.empty()) return Fate::pass;
    held = body;
    return Fate::lose_request;
  };
  EXPECT_TRUE(near_->set_if_absent("key", "value", later())->stored);
  ASSERT_EQ(*far_->remove("key", later()), 1);
  EXPECT_NE(servers_->ask(0, "kv/txn", held).find("header"), std::string::npos);
  EXPECT_TRUE(far_->gather("", 0, later()).entries.empty()) << "the key came back";
}

TEST_F(EtcdRelayTest, ALateCopyOfWhatWasGivenUpDoesNotHappen) {
  std::string held;
  fate_ = [&](const std::string& body) {
    if (!held.empty()) return Fate::pass;
    held = body;
    EXPECT_TRUE(far_->set("key", "theirs", later()).is_ok());
    return Fate::lose_request;
  };
  const auto swap = near_->set_if_absent("key", "ours", later());
  ASSERT_TRUE(swap.is_ok()) << swap.status().text();
  EXPECT_FALSE(swap->stored);
  EXPECT_EQ(swap->value, "theirs");
  ASSERT_EQ(*far_->remove("key", later()), 1);
  EXPECT_NE(servers_->ask(0, "kv/txn", held).find("header"), std::string::npos);
  EXPECT_TRUE(far_->gather("", 0, later()).entries.empty()) << "the key came after all";
}

TEST_F(EtcdRelayTest, ACopyThatArrivesJustInTimeCountsAsDone) {
  std::string held;
  int number = 0;
  fate_ = [&](const std::string& body) {
    ++number;
    if (number == 1) {  // held back, and its condition made false
      held = body;
      EXPECT_TRUE(far_->set("key", "theirs", later()).is_ok());
      return Fate::lose_request;
    }
    if (number == 3) {  // what settles the matter comes after the copy, whose condition is true again
      EXPECT_EQ(*far_->remove("key", later()), 1);
      servers_->ask(0, "kv/txn", held);
    }
    return Fate::pass;
  };
  const auto swap = near_->set_if_absent("key", "ours", later());
  ASSERT_TRUE(swap.is_ok()) << swap.status().text();
  EXPECT_TRUE(swap->stored);
  EXPECT_EQ(*far_->get("key", later()), "ours");
}

TEST_F(EtcdRelayTest, AChangeWhoseAnswersAreAllLostIsSaidToBeOpen) {
  fate_ = [](const std::string&) { return Fate::lose_answer; };
  const Status status = near_->set("key", "value", soon());
  EXPECT_EQ(status.code(), Code::timeout);
  EXPECT_NE(status.text().find("Whether the change has happened is open"), std::string::npos) << status.text();
  EXPECT_EQ(*far_->get("key", later()), "value");
  fate_ = [](const std::string&) { return Fate::pass; };
  EXPECT_EQ(*near_->add("sum", 1, later()), 1);
}

TEST_F(EtcdRelayTest, AnOpenChangeOfAForgottenProcessIsLost) {
  int number = 0;
  fate_ = [&](const std::string&) {
    if (number++ > 0) return Fate::pass;
    servers_->ask(0, "kv/deleterange",
                  R"({"key":")" + to_base64(prefix_ + "/session/") + R"(","range_end":")" +
                      to_base64(prefix_ + "/session0") + R"("})");
    return Fate::lose_request;
  };
  const Status status = near_->set("key", "value", later());
  EXPECT_EQ(status.code(), Code::peer_lost) << status.text();
  EXPECT_NE(status.text().find("has forgotten this process"), std::string::npos) << status.text();
  EXPECT_TRUE(near_->set("key", "value", later()).is_ok());
}

}  // namespace
}  // namespace tutti
