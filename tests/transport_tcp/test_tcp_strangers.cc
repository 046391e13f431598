// Strangers at the port: whoever cannot prove the key is refused and told of, and a transfer that runs meanwhile does
// not notice. Each case runs one.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>

#include "src/base/random.h"
#include "tests/transport_tcp/cluster.h"
#include "transports/tcp/address.h"
#include "transports/tcp/setup.h"

namespace tutti::tcp {
namespace {

using std::chrono::milliseconds;
using Dialer = Setup;  // the fixture's base has a name like it

class TcpStrangers : public ::testing::Test {
 protected:
  static TcpOptions options() {
    TcpOptions options = test_options();
    options.handshake_limit = milliseconds(300);
    return options;
  }

  void SetUp() override {
    std::tie(at_a_, at_b_) = join(a_, b_);
    ASSERT_NE(at_b_, nullptr);
  }

  // Nobody was disturbed, and no link came of it.
  void TearDown() override {
    EXPECT_TRUE(poll_until({&a_, &b_}, [&] { return frames_taken_ == b_.frames; }));
    EXPECT_GT(b_.frames, 0u);
    EXPECT_EQ(a_.connected.size(), 1u);
    EXPECT_EQ(b_.connected.size(), 1u);
    EXPECT_TRUE(a_.closed.empty());
    EXPECT_TRUE(b_.closed.empty());
    EXPECT_TRUE(a_.log.empty());
  }

  // Moves frames from a to b until `condition` holds.
  bool transfer_until(const std::function<bool()>& condition) {
    return poll_until({&a_, &b_}, [&] {
      if (frames_taken_ - b_.frames < 4) {
        frames_taken_ += at_a_->send({}, payload_.data(), payload_.size(), 0) != SendState::again;
      }
      return condition();
    });
  }

  Endpoint port_of_b() const { return {IpAddress::loopback(false), parse_address(b_.address())->port}; }

  Descriptor knock(std::string_view words) const {
    Descriptor socket = open_socket(false);
    (void)start_connect(socket.get(), IpAddress::loopback(false), port_of_b());
    while (!connect_outcome(socket.get())) {
    }
    if (!words.empty()) {
      EXPECT_GT(send(socket.get(), words.data(), words.size(), MSG_NOSIGNAL), 0);
    }
    return socket;
  }

  // A dialer that knows the key and says this.
  Dialer dial(const Greeting& hello) const {
    Descriptor socket = open_socket(false);
    (void)start_connect(socket.get(), IpAddress::loopback(false), port_of_b());
    return Dialer(std::move(socket), port_of_b(),
                  Handshake(Handshake::Role::client, options().key, *new_nonce(), "b"), hello);
  }

  Greeting hello() const {
    Greeting hello;
    hello.from = *new_process_id();
    hello.to = b_.id;
    hello.frame_bytes_max = options().frame_bytes_max;
    return hello;
  }

  static bool is_hung_up(const Descriptor& socket) {
    char c = 0;
    const ssize_t got = recv(socket.get(), &c, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN);
  }

  const std::vector<std::byte> payload_ = pattern(100'000, 3);
  std::size_t frames_taken_ = 0;
  Node a_{options()};
  Node b_{options()};
  Link* at_a_ = nullptr;
  Link* at_b_ = nullptr;
};

TEST_F(TcpStrangers, OneWhoSpeaksAnotherProtocolIsHungUpOnAndNamed) {
  const Descriptor stranger = knock("GET / HTTP/1.1\r\nHost: node07\r\n\r\n");
  EXPECT_TRUE(transfer_until([&] { return is_hung_up(stranger); }));
  EXPECT_TRUE(b_.has_logged("does not speak Tutti's protocol"));
  EXPECT_TRUE(b_.has_logged(to_string(local_endpoint(stranger.get()))));
  EXPECT_EQ(b_.log.size(), 1u);
}

TEST_F(TcpStrangers, OneWhoSaysNothingIsHungUpOnAtTheLimit) {
  const Descriptor silent = knock("");
  const Descriptor slow = knock("\x8eTU");
  EXPECT_TRUE(transfer_until([&] { return is_hung_up(silent) && is_hung_up(slow); }));
  EXPECT_TRUE(b_.has_logged("the proof of the secret has not come within 3"));
  EXPECT_EQ(b_.log.size(), 2u);
}

TEST_F(TcpStrangers, OneOfAnotherVersionIsToldBothVersions) {
  std::string words("\x8eTUTTI\r\n\x09\x00\x01\x00\x00\x00\x00\x00", 16);
  const Descriptor stranger = knock(words);
  EXPECT_TRUE(
      transfer_until([&] { return b_.has_logged("speaks version 9 of the handshake, this process version 1"); }));
}

TEST_F(TcpStrangers, OneWithAnotherSecretIsRefusedAndBothSidesSayWhy) {
  TcpOptions wrong = options();
  wrong.key = *derive_key("another secret", "tutti tcp v1");
  Node c(wrong);
  c.connect(b_);

  EXPECT_TRUE(transfer_until([&] {
    c.poll();
    return !c.closed.empty();
  }));

  EXPECT_NE(c.closed[0].find("did not prove that it knows the secret (TUTTI_SECRET)"), std::string::npos)
      << c.closed[0];
  EXPECT_TRUE(b_.has_logged("it has another secret (TUTTI_SECRET)"));
  EXPECT_TRUE(c.connected.empty());
}

TEST_F(TcpStrangers, AKeyOfItsOwnGoesOutWithTheAddress) {
  TcpOptions first = test_options();
  first.key = *derive_key("the first's own", "tutti tcp v1");
  first.publish_key = true;
  TcpOptions second = test_options();
  second.key = *derive_key("the second's own", "tutti tcp v1");
  second.publish_key = true;
  Node c(first);
  Node d(second);
  c.connect(d);

  EXPECT_TRUE(transfer_until([&] {
    c.poll();
    d.poll();
    return !c.connected.empty() && !d.connected.empty();
  }));
}

TEST_F(TcpStrangers, OneWhoMeansAnotherProcessLaneOrLimitIsRefusedWithTheReason) {
  std::vector<std::pair<Greeting, Greeting::Reason>> cases(3, {hello(), Greeting::Reason::other_process});
  cases[0].first.to = *new_process_id();
  cases[1].first.lane = kLanesLimit;
  cases[1].second = Greeting::Reason::lane;
  cases[2].first.frame_bytes_max = 12345;
  cases[2].second = Greeting::Reason::frame_limit;
  for (const auto& [greeting, reason] : cases) {
    Dialer dialer = dial(greeting);
    Dialer::Step step = Dialer::Step::waiting;
    ASSERT_TRUE(transfer_until([&] { return (step = dialer.advance()) != Dialer::Step::waiting; }));
    ASSERT_EQ(step, Dialer::Step::greeted) << dialer.status().text();
    EXPECT_EQ(dialer.heard().kind, Greeting::Kind::refuse);
    EXPECT_EQ(dialer.heard().reason, reason);
    EXPECT_EQ(dialer.heard().from, b_.id);
  }
}

TEST_F(TcpStrangers, OneWhoKnowsTheKeyButSpeaksOutOfTurnIsHungUpOn) {
  for (const auto kind : {Greeting::Kind::offer, Greeting::Kind::go, Greeting::Kind::refuse}) {
    Greeting odd = hello();
    odd.kind = kind;
    odd.from = ProcessId{{~0ull, ~0ull}};
    Dialer dialer = dial(odd);
    ASSERT_TRUE(transfer_until([&] { return dialer.advance() == Dialer::Step::failed; }));
  }
}

TEST_F(TcpStrangers, RandomBytesBehindAGoodBeginningChangeNothing) {
  Random random(5);
  for (int i = 0; i < 60; ++i) {
    std::string words("\x8eTUTTI\r\n\x01\x00\x01\x00\x00\x00\x00\x00", 16);
    for (std::uint64_t k = random.below(300); k > 0; --k) words.push_back(static_cast<char>(random.next()));
    const std::size_t keep = 1 + random.below(words.size());
    const Descriptor stranger = knock(std::string_view(words).substr(0, keep));
    if (random.chance(0.5)) shutdown(stranger.get(), SHUT_WR);
    transfer_until([] { return true; });
  }
  EXPECT_TRUE(transfer_until([&] { return b_.log.size() >= 20; }));
}

TEST_F(TcpStrangers, CrowdsTakeFewDescriptorsAndFewLinesAndAFriendStillGetsIn) {
  const auto open_files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const bool is_long = std::getenv("TUTTI_TEST_LONG") != nullptr;
  const std::size_t crowd = is_long ? 10'000 : 1200;
  std::vector<Descriptor> strangers;
  std::ptrdiff_t most = 0;
  for (std::size_t i = 0; i < crowd; ++i) {
    strangers.push_back(open_socket(false));
    ASSERT_TRUE(strangers.back()) << describe_errno(errno);
    (void)start_connect(strangers.back().get(), IpAddress::loopback(false), port_of_b());
    if (i % 100 == 0) transfer_until([] { return true; });
    most = std::max(most, open_files() - static_cast<std::ptrdiff_t>(strangers.size()));
  }
  Node friend_(options());
  Link* const link = friend_.connect(b_);
  EXPECT_TRUE(transfer_until([&] {
    friend_.poll();
    return link->is_open() || !friend_.closed.empty();
  }));

  EXPECT_TRUE(link->is_open());
  EXPECT_LE(most, static_cast<std::ptrdiff_t>(options().handshakes_max) + 40);
  EXPECT_LE(b_.log.size(), 60u);
  ASSERT_TRUE(poll_until({&a_, &b_, &friend_}, [&] { return b_.connected.size() == 2; }));
  link->close(Status());
  ASSERT_TRUE(poll_until({&a_, &b_, &friend_}, [&] { return b_.connected.size() == 1; }));
  b_.closed.clear();
}

}  // namespace
}  // namespace tutti::tcp
