// The tcp store among strangers, crowds and clients that die: whatever they do, the others are served.
#include "src/membership/tcp_store.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <thread>

#include "src/base/handshake.h"
#include "tests/membership/store_sites.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;

// Remembers what the server said.
class Heard {
 public:
  Log log() {
    return Log(LogLevel::info, [this](LogLevel, std::string_view, std::string_view text) {
      const std::lock_guard lock(mutex_);
      lines_.emplace_back(text);
    });
  }
  bool has(std::string_view part) {
    const std::lock_guard lock(mutex_);
    return std::any_of(lines_.begin(), lines_.end(),
                       [&](const auto& line) { return line.find(part) != std::string::npos; });
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

class TcpStoreTest : public testing::Test {
 protected:
  void start(TcpStoreServer::Options options = {}) {
    options.secret = "secret";
    auto server = TcpStoreServer::start(options, heard_.log());
    ASSERT_TRUE(server.is_ok()) << server.status().text();
    server_ = std::move(*server);
  }

  std::unique_ptr<TcpStore> client(std::string_view secret = "secret", const std::string& host = "127.0.0.1") {
    return std::move(*TcpStore::create(server_->address(host), secret));
  }

  // A connection that says nothing by itself.
  Descriptor stranger() {
    Descriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(server_->port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    return fd;
  }

  // Whether the server closes the connection, whatever it says before.
  static bool is_closed(const Descriptor& fd) {
    char byte = 0;
    while (wait_ready(fd.get(), POLLIN, later())) {
      if (recv(fd.get(), &byte, 1, 0) <= 0) return true;
    }
    return false;
  }

  Heard heard_;
  std::unique_ptr<TcpStoreServer> server_;
};

TEST_F(TcpStoreTest, ListensOnBothFamilies) {
  start();
  ASSERT_TRUE(client()->set("a", "1", later()).is_ok());
  const Descriptor probe(socket(AF_INET6, SOCK_STREAM, 0));
  if (!probe) GTEST_SKIP() << "this machine has no IPv6";
  EXPECT_EQ(*client("secret", "::1")->get("a", later()), "1");
  EXPECT_EQ(server_->address("::1").substr(0, 12), "tcp://[::1]:");
}

TEST_F(TcpStoreTest, AnotherSecretIsRefusedAtOnceAtBothEnds) {
  start();
  const Status status = client("wrong")->set("a", "1", later());
  EXPECT_EQ(status.code(), Code::invalid);
  EXPECT_NE(status.text().find("did not prove that it knows the secret (TUTTI_SECRET); connection refused"),
            std::string::npos)
      << status.text();
  ASSERT_TRUE(client()->set("a", "1", later()).is_ok());
  server_.reset();
  EXPECT_TRUE(heard_.has("it has another secret (TUTTI_SECRET)"));
}

TEST_F(TcpStoreTest, AStrangerWhoSendsGarbageIsSentAway) {
  start();
  const Descriptor fd = stranger();
  const std::string garbage = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  ASSERT_EQ(send(fd.get(), garbage.data(), garbage.size(), 0), static_cast<ssize_t>(garbage.size()));
  EXPECT_TRUE(is_closed(fd));
  EXPECT_TRUE(client()->set("a", "1", later()).is_ok());
  EXPECT_TRUE(heard_.has("does not speak Tutti's protocol"));
}

TEST_F(TcpStoreTest, AHalfOpenConnectionIsClosedAfterTheTimeForTheHandshake) {
  TcpStoreServer::Options options;
  options.handshake_time = 50ms;
  start(options);
  const Descriptor silent = stranger();
  const Descriptor slow = stranger();
  ASSERT_EQ(send(slow.get(), "\x8eTUT", 4, 0), 4);
  EXPECT_TRUE(is_closed(silent));
  EXPECT_TRUE(is_closed(slow));
  EXPECT_TRUE(client()->set("a", "1", later()).is_ok());
  EXPECT_TRUE(heard_.has("did not finish the handshake within 50 ms; connection closed"));
}

TEST_F(TcpStoreTest, StrangersBeyondTheLimitAreTurnedAwayAndMembersStayServed) {
  TcpStoreServer::Options options;
  options.strangers = 3;
  options.handshake_time = 60s;
  start(options);
  const auto member = client();
  ASSERT_TRUE(member->set("a", "1", later()).is_ok());
  std::vector<Descriptor> silent;
  for (int i = 0; i < 3; ++i) silent.push_back(stranger());
  EXPECT_TRUE(is_closed(stranger()));
  EXPECT_EQ(*member->get("a", later()), "1");
  EXPECT_TRUE(heard_.has("turned away"));
}

// A member that passes the handshake and then sends something else.
TEST_F(TcpStoreTest, AMemberThatAnnouncesTooLargeAFrameLosesItsConnectionAlone) {
  start();
  const auto other = client();
  ASSERT_TRUE(other->set("a", "1", later()).is_ok());
  Descriptor fd = stranger();
  Handshake handshake(Handshake::Role::client, *tcp_store_key("secret"), *new_nonce(), "the store");
  while (!handshake.done()) {
    const auto output = handshake.take_output();
    ASSERT_EQ(send(fd.get(), output.data(), output.size(), 0), static_cast<ssize_t>(output.size()));
    std::vector<std::byte> arrived(handshake.wanted());
    ASSERT_EQ(recv(fd.get(), arrived.data(), arrived.size(), MSG_WAITALL), static_cast<ssize_t>(arrived.size()));
    handshake.feed(arrived);
  }
  const auto proof = handshake.take_output();
  ASSERT_EQ(send(fd.get(), proof.data(), proof.size(), 0), static_cast<ssize_t>(proof.size()));
  ASSERT_EQ(send(fd.get(), "\xff\xff\xff\x7f", 4, 0), 4);
  EXPECT_TRUE(is_closed(fd));
  EXPECT_EQ(*other->get("a", later()), "1");
  EXPECT_TRUE(heard_.has("sent what is no request: a frame of 2147483647 bytes is announced"));
}

TEST_F(TcpStoreTest, AThousandClientsAtOnceMeet) {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 2100) GTEST_SKIP() << "needs 2,100 descriptors, the limit is " << limit.rlim_cur;
  start();
  constexpr std::size_t kClients = 1000;
  std::vector<std::unique_ptr<TcpStore>> clients;
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.push_back(client());
    ASSERT_TRUE(clients.back()->set("rank/" + std::to_string(i), std::string(100, 'x'), later()).is_ok());
  }
  for (const auto& each : clients) {
    const auto gathered = each->gather("rank/", kClients, later());
    ASSERT_TRUE(gathered.status.is_ok()) << gathered.status.text();
    ASSERT_EQ(gathered.entries.size(), kClients);
  }
}

TEST_F(TcpStoreTest, AServerWithoutFreeDescriptorsServesThoseItHas) {
  start();
  const auto member = client();
  ASSERT_TRUE(member->set("a", "1", later()).is_ok());
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  std::vector<Descriptor> strangers;
  strangers.push_back(stranger());
  Descriptor waiting(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // No descriptor above those in use may be opened now; the server's accept meets that limit.
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(waiting.get()) + 1;
  setrlimit(RLIMIT_NOFILE, &tight);
  std::vector<Descriptor> fillers;
  while (true) {
    Descriptor filler(dup(waiting.get()));
    if (!filler) break;
    fillers.push_back(std::move(filler));
  }
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(server_->port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(waiting.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  fillers.clear();
  EXPECT_EQ(*member->get("a", later()), "1");
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(client()->set("b", "2", later()).is_ok());
}

// Processes that run `body` once the server is there: forked before its thread, which could hold the allocator's lock
// in that moment.
class Children {
 public:
  Children(int count, const std::function<bool(int which, TcpStore& store)>& body) {
    EXPECT_EQ(pipe2(pipe_, O_CLOEXEC), 0);
    for (int which = 0; which < count; ++which) {
      const pid_t child = fork();
      if (child != 0) {
        ids_.push_back(child);
        continue;
      }
      close(pipe_[1]);
      std::uint16_t port = 0;
      if (read(pipe_[0], &port, sizeof port) != sizeof port) _exit(2);
      const auto store = TcpStore::create("tcp://127.0.0.1:" + std::to_string(port), "secret");
      _exit(store.is_ok() && body(which, **store) ? 0 : 1);
    }
  }
  ~Children() {
    for (const int end : pipe_) close(end);
  }
  void go(std::uint16_t port) {
    for (std::size_t i = 0; i < ids_.size(); ++i) EXPECT_EQ(write(pipe_[1], &port, sizeof port), 2);
  }
  const std::vector<pid_t>& ids() const { return ids_; }

 private:
  int pipe_[2] = {-1, -1};
  std::vector<pid_t> ids_;
};

TEST_F(TcpStoreTest, AClientThatDiesWhileItWaitsIsForgotten) {
  Children children(1, [](int, TcpStore& store) {
    return store.set("waiting", "x", later()).is_ok() && store.get("never", later()).is_ok();
  });
  start();
  children.go(server_->port());
  const auto survivor = client();
  ASSERT_TRUE(survivor->get("waiting", later()).is_ok());
  kill(children.ids()[0], SIGKILL);
  waitpid(children.ids()[0], nullptr, 0);
  EXPECT_TRUE(survivor->set("never", "now", later()).is_ok());
  EXPECT_EQ(*survivor->get("never", later()), "now");
}

TEST_F(TcpStoreTest, ForkedProcessesMeet) {
  constexpr int kProcesses = 4;
  Children children(kProcesses, [](int which, TcpStore& store) {
    return store.set("rank/" + std::to_string(which), "here", later()).is_ok() &&
           store.gather("rank/", kProcesses, later()).entries.size() == kProcesses &&
           store.add("left", 1, later()).is_ok();
  });
  start();
  children.go(server_->port());
  for (const pid_t child : children.ids()) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(*client()->add("left", 0, later()), kProcesses);
}

TEST_F(TcpStoreTest, AClientKeepsTryingUntilTheServerIsThere) {
  start();
  const std::uint16_t port = server_->port();
  server_.reset();
  const std::string address = "tcp://127.0.0.1:" + std::to_string(port);
  const auto early = std::move(*TcpStore::create(address, "secret"));
  std::thread setter([&] { EXPECT_TRUE(early->set("a", "1", later()).is_ok()); });
  TcpStoreServer::Options options;
  options.port = port;
  start(options);
  setter.join();
  EXPECT_EQ(*client()->get("a", later()), "1");
}

TEST_F(TcpStoreTest, WhoNeverConnectsSaysWhatTheSystemSaid) {
  start();
  const std::string port = std::to_string(server_->port());
  const auto store = client();
  server_.reset();
  const Status status = store->set("a", "1", soon());
  EXPECT_EQ(status.code(), Code::timeout);
  EXPECT_NE(status.text().find("store tcp://127.0.0.1:" + port + ": connect to 127.0.0.1:" + port +
                               ": Connection refused (ECONNREFUSED, 111); "),
            std::string::npos)
      << status.text();
  EXPECT_NE(status.text().find(" tries in "), std::string::npos) << status.text();
}

TEST_F(TcpStoreTest, AServerThatEndsEndsTheWaitsOnIt) {
  start();
  const auto store = client();
  ASSERT_TRUE(store->set("a", "1", later()).is_ok());
  std::thread waiter([&] { EXPECT_EQ(store->get("never", later()).status().code(), Code::peer_lost); });
  // The waiter is at the server once its connection is the second one; a moment too early gives a refused connection,
  // so it is seen to be waiting first.
  ASSERT_TRUE(client()->set("b", "1", later()).is_ok());
  std::this_thread::sleep_for(100ms);
  server_.reset();
  waiter.join();
}

TEST_F(TcpStoreTest, AFullStoreSaysSoAndStoresNothing) {
  TcpStoreServer::Options options;
  options.table_bytes = 10'000;
  start(options);
  const auto store = client();
  EXPECT_TRUE(store->set("a", std::string(5'000, 'x'), later()).is_ok());
  const Status status = store->set("b", std::string(5'000, 'x'), later());
  EXPECT_EQ(status.code(), Code::system);
  EXPECT_NE(status.text().find("the store is full"), std::string::npos) << status.text();
  EXPECT_TRUE(store->set("a", std::string(9'000, 'x'), later()).is_ok())
      << "replacing a value needs only the difference";
}

TEST_F(TcpStoreTest, AMalformedAddressIsRefused) {
  for (const char* address : {"tcp://", "tcp://host", "tcp://host:0", "tcp://host:70000", "tcp://:80", "tcp://::1:80",
                              "udp://host:80", "tcp://host:80x", "host:80"}) {
    EXPECT_EQ(TcpStore::create(address, "").status().code(), Code::invalid) << address;
  }
}

}  // namespace
}  // namespace tutti
