// From RDMA to TCP and back: lanes whose port goes down, or cannot be connected at all, with a connection in reserve.
#include <gtest/gtest.h>

#include "tests/transport_failover/frames.h"
#include "tests/transport_verbs/fake_verbs.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {
namespace {

using namespace std::chrono_literals;

struct Node : FrameEnd {
  explicit Node(const std::string& device, std::size_t ring_bytes = 16 << 10) {
    VerbsOptions options;
    options.process = id;
    options.host_name = "node";
    options.devices = {device};
    options.ring_bytes = ring_bytes;
    options.log = sink();
    options.make_control = [this] { return Result(conformance::make_loopback_tcp(id, 4)); };
    auto verbs = make_verbs_transport(std::move(options), fake_library());
    EXPECT_TRUE(verbs.is_ok()) << verbs.status().text();
    transport = reserved(*std::move(verbs));
  }
};

class VerbsFailover : public ::testing::Test {
 protected:
  void SetUp() override { reset_fake_verbs({fake_port("fake0"), fake_port("fake1")}); }
  void TearDown() override {
    for (const std::string& breach : fake_breaches()) ADD_FAILURE() << breach;
    EXPECT_EQ(fake_pinned_bytes(), 0u);
  }
};

}  // namespace

TEST_F(VerbsFailover, APortThatGoesDownUnderWayCostsNoFrameAndIsUsedAgainWhenItIsBack) {
  Node a("fake0");
  Node b("fake1");
  connect(a, b);
  EXPECT_EQ(a.link->describe().substr(0, 6), "verbs ");

  stream(a, b, 400, 100, [] { set_fake_port_state("fake1", IBV_PORT_DOWN); });
  EXPECT_NE(a.log.find("transport retry counter exceeded (wc status 12"), std::string::npos) << a.log;
  EXPECT_NE(a.log.find("The process is still there"), std::string::npos) << a.log;
  stream(a, b, 100, 0, {});

  set_fake_port_state("fake1", IBV_PORT_ACTIVE);
  ASSERT_TRUE(until(a, b, [&] { return (a.log + b.log).find(" is back after ") != std::string::npos; })) << a.log;
  stream(a, b, 100, 0, {});
  EXPECT_EQ(a.closed + b.closed, "");
}

TEST_F(VerbsFailover, ALaneThatCannotBeConnectedBeginsOnTheReserve) {
  Node a("fake0", 16 << 10);
  Node b("fake1", 32 << 10);
  ASSERT_TRUE(a.transport->connect(b.id, b.transport->address(), 0, monotonic_now() + 10s).is_ok());
  ASSERT_TRUE(until(a, b, [&] { return a.link != nullptr; }));

  stream(a, b, 200, 0, {});
  EXPECT_NE(a.log.find("set TUTTI_VERBS_RING_BYTES alike"), std::string::npos) << a.log;
  EXPECT_NE(a.log.find("all goes over tcp "), std::string::npos) << a.log;
  EXPECT_EQ(b.link->describe().substr(0, 4), "tcp ");  // which has no other connection for it
}

TEST_F(VerbsFailover, TheEndOfTheProcessEndsBoth) {
  Node a("fake0");
  auto b = std::make_unique<Node>("fake1");
  connect(a, *b);
  stream(a, *b, 10, 0, {});

  b.reset();
  Node c("fake1");
  ASSERT_TRUE(until(a, c, [&] { return !a.closed.empty(); }));
  EXPECT_NE(a.closed.find("is closed: "), std::string::npos) << a.closed;  // its end, or a write after that
}

}  // namespace tutti::verbs
