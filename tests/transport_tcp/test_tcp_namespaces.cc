// Two hosts with two NICs each, as network namespaces joined by two pairs of virtual cables. The namespaces have no
// names and live in descriptors of this process alone, so they and the cables vanish with it, whatever happens.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>

#include "src/base/format.h"
#include "tests/transport_tcp/cluster.h"
#include "transports/tcp/interfaces.h"
#include "transports/tcp/socket.h"

namespace tutti::tcp {
namespace {

using std::chrono::milliseconds;

class TcpNamespaces : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "network namespaces need root";
    if (std::system("ip -V >/dev/null 2>&1") != 0) GTEST_SKIP() << "there is no ip command";
    home_ = open_own();
    for (Descriptor& host : hosts_) {
      if (unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "unshare: " << describe_errno(errno);
      host = open_own();
    }
    enter(0);
    for (int cable = 0; cable < 2; ++cable) {
      if (!ip(format("link add t{} type veth peer name t{} netns /proc/{}/fd/{}", cable, cable, getpid(),
                     hosts_[1].get()))) {
        GTEST_SKIP() << "virtual cables cannot be made here";
      }
    }
    for (int host = 0; host < 2; ++host) {
      enter(host);
      for (int cable = 0; cable < 2; ++cable) {
        ASSERT_TRUE(ip(format("addr add 10.77.{}.{}/24 dev t{}", cable, host + 1, cable)));
        ASSERT_TRUE(ip(format("link set t{} up", cable)));
      }
    }
    for (int host = 0; host < 2; ++host) {
      enter(host);
      ASSERT_TRUE(poll_until({}, has_both_carriers)) << "the cables do not come up";
      nodes_[host] = make_node(host);
      ASSERT_NE(nodes_[host]->transport, nullptr);
    }
  }

  void TearDown() override {
    for (auto& node : nodes_) node.reset();
    if (home_) {
      ASSERT_EQ(setns(home_.get(), CLONE_NEWNET), 0);
    }
  }

  static Descriptor open_own() { return Descriptor(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)); }
  void enter(int host) { ASSERT_EQ(setns(hosts_[host].get(), CLONE_NEWNET), 0); }
  // The kernel reports the carrier of a new cable a little later.
  static bool has_both_carriers() {
    const auto found = find_interfaces({});
    return found && found->size() == 2;
  }
  static bool ip(const std::string& command) { return std::system(("ip " + command).c_str()) == 0; }

  std::unique_ptr<Node> make_node(int host, Nanoseconds silence_limit = milliseconds(900)) {
    enter(host);
    TcpOptions options = test_options();
    options.host = HostId{{static_cast<std::uint64_t>(host), 7}};
    options.host_name = format("node0{}", host);
    options.silence_limit = silence_limit;
    auto node = std::make_unique<Node>(options);
    node->enter = [this, host] { enter(host); };
    return node;
  }

  Node& a() { return *nodes_[0]; }
  Node& b() { return *nodes_[1]; }

  void expect_transfer(Link& link) {
    const auto payload = pattern(300'000, 5);
    const std::size_t had = b().frames;
    link.send({}, payload.data(), payload.size(), 0);
    ASSERT_TRUE(poll_until({&a(), &b()}, [&] { return b().frames > had && link.is_drained(); }));
    EXPECT_EQ(b().received, payload);
  }

  Descriptor home_;
  Descriptor hosts_[2];
  std::unique_ptr<Node> nodes_[2];
};

TEST_F(TcpNamespaces, LanesGoOverBothCablesAndOneCutClosesOneLane) {
  EXPECT_EQ(a().transport->capabilities().lanes_max, 4u);
  const auto [lane0, b0] = join(a(), b(), 0);
  const auto [lane1, b1] = join(a(), b(), 1);
  ASSERT_NE(b1, nullptr);
  EXPECT_NE(lane0->describe().find("10.77.0.1"), std::string::npos) << lane0->describe();
  EXPECT_NE(lane1->describe().find("10.77.1.1"), std::string::npos) << lane1->describe();
  expect_transfer(*lane0);
  expect_transfer(*lane1);

  // The second cable is cut with a frame under way on it; b's end of the lane is idle.
  enter(0);
  ASSERT_TRUE(ip("link set t1 down"));
  const auto payload = pattern(100, 1);
  lane1->send({}, payload.data(), payload.size(), 0);
  ASSERT_TRUE(poll_until({&a(), &b()}, [&] { return !a().closed.empty() && !b().closed.empty(); }));

  EXPECT_EQ(lane1->status().code(), Code::peer_lost);
  EXPECT_NE(a().closed[0].find("has not answered for"), std::string::npos) << a().closed[0];
  EXPECT_NE(a().closed[0].find("node01"), std::string::npos) << a().closed[0];
  EXPECT_NE(b().closed[0].find("has not answered for"), std::string::npos) << b().closed[0];
  EXPECT_TRUE(lane1->is_cut_off() && b1->is_cut_off()) << "nothing was said of the processes";
  EXPECT_TRUE(lane0->is_open());
  expect_transfer(*lane0);

  // As long as the other lane lives, the lane comes back over its own cable only.
  a().enter();
  const auto vain = a().transport->connect(b().id, b().address(), 1, monotonic_now() + milliseconds(300));
  ASSERT_TRUE(vain.is_ok()) << vain.status().text();
  ASSERT_TRUE(poll_until({&a(), &b()}, [&] { return a().closed.size() == 2; }));
  EXPECT_EQ(a().closed[1].find("10.77.0.1"), std::string::npos) << a().closed[1];
  enter(0);
  ASSERT_TRUE(ip("link set t1 up"));
  const auto [again, b_again] = join(a(), b(), 1);
  ASSERT_NE(b_again, nullptr);
  EXPECT_NE(again->describe().find("t1 10.77.1.1"), std::string::npos) << again->describe();
  expect_transfer(*again);
}

TEST_F(TcpNamespaces, AHostThatTalksAndDoesNotHearIsNoticed) {
  enter(1);
  nodes_[1] = make_node(1, Nanoseconds(-1));  // it never looks, and goes on talking
  const auto [to_b, to_a] = join(a(), b(), 0);
  ASSERT_NE(to_a, nullptr);
  expect_transfer(*to_b);
  enter(1);
  if (std::system("tc qdisc add dev t0 clsact && "
                  "tc filter add dev t0 ingress bpf direct-action bytecode '1,6 0 0 2'") != 0)
    GTEST_SKIP() << "tc cannot drop what comes in here";

  const auto payload = pattern(100, 1);
  to_b->send({}, payload.data(), payload.size(), 0);
  Instant talk_at = monotonic_now();
  ASSERT_TRUE(poll_until({&a(), &b()}, [&] {
    if (monotonic_now() >= talk_at && to_a->is_open()) {
      to_a->send({}, payload.data(), payload.size(), 0);
      talk_at += milliseconds(300);
    }
    return !a().closed.empty();
  }));

  EXPECT_EQ(to_b->status().code(), Code::peer_lost);
  EXPECT_NE(a().closed[0].find("acknowledged nothing for"), std::string::npos) << a().closed[0];
  EXPECT_TRUE(to_b->is_cut_off());
  EXPECT_GT(a().frames, 0u);  // it was heard meanwhile

  // The end of our connection would still reach it, and say something of us that is not true.
  const Instant later = monotonic_now() + milliseconds(100);
  ASSERT_TRUE(poll_until({&b()}, [&] { return monotonic_now() >= later; }));
  EXPECT_TRUE(b().closed.empty()) << b().closed[0];
}

TEST_F(TcpNamespaces, AHostThatDoesNotAnswerIsExplainedWithEveryWayThatWasTried) {
  const auto address = b().address();
  const ProcessId peer = b().id;
  enter(1);
  ASSERT_TRUE(ip("addr del 10.77.0.2/24 dev t0"));
  ASSERT_TRUE(ip("addr del 10.77.1.2/24 dev t1"));

  a().enter();
  const auto link = a().transport->connect(peer, address, 0, monotonic_now() + milliseconds(2600));
  ASSERT_TRUE(link.is_ok()) << link.status().text();
  ASSERT_TRUE(poll_until({&a()}, [&] { return !a().closed.empty(); }));

  EXPECT_EQ((*link)->status().code(), Code::timeout);
  for (const char* part :
       {"from t0 10.77.0.1 to 10.77.0.2:", "from t1 10.77.1.1 to 10.77.1.2:", "node01", "tries in"}) {
    EXPECT_NE(a().closed[0].find(part), std::string::npos) << part << " in: " << a().closed[0];
  }
}

}  // namespace
}  // namespace tutti::tcp
