// From RDMA to TCP and back: lanes whose port goes down, or cannot be connected at all, with a connection in reserve.
#include <gtest/gtest.h>

#include "tests/conformance/tcp_world.h"
#include "tests/transport_verbs/fake_verbs.h"
#include "transports/failover/failover.h"
#include "transports/failover/reserve.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {
namespace {

using namespace std::chrono_literals;

struct Node {
  explicit Node(const std::string& device, std::size_t ring_bytes = 16 << 10) {
    id = *new_process_id();
    const Log sink(LogLevel::info,
                   [this](LogLevel, std::string_view, std::string_view text) { log += std::string(text) + "\n"; });
    VerbsOptions options;
    options.process = id;
    options.host_name = "node";
    options.devices = {device};
    options.ring_bytes = ring_bytes;
    options.log = sink;
    options.make_control = [this] { return Result(conformance::make_loopback_tcp(id, 4)); };
    auto verbs = make_verbs_transport(std::move(options), fake_library());
    EXPECT_TRUE(verbs.is_ok()) << verbs.status().text();
    auto both = make_reserved_transport(*std::move(verbs), conformance::make_loopback_tcp(id, 1));
    FailoverOptions failover;
    failover.process = id;
    failover.reserve = true;
    failover.pause_min = 10ms;
    failover.log = sink;
    transport = make_failover_transport(*std::move(both), failover);
  }

  void poll() {
    Event events[16];
    const std::size_t count = transport->poll(events, monotonic_now());
    for (std::size_t i = 0; i < count; ++i) {
      const Event& event = events[i];
      if (event.kind == EventKind::connected) link = event.link;
      if (event.kind == EventKind::closed) closed = event.link->status().text();
      if (event.kind == EventKind::sent) ++sent;
      if (event.kind == EventKind::fetched) event.link->release(event.token);
      if (event.kind != EventKind::delivery) continue;
      EXPECT_EQ(event.header.words[0], frames++) << "out of order";
      if (event.data == nullptr && event.bytes > 0) {
        targets.emplace_back(event.bytes);
        if (event.link->fetch(event.token, targets.back().data()) == FetchState::done)
          event.link->release(event.token);
      } else {
        event.link->release(event.token);
      }
    }
  }

  ProcessId id;
  std::string log;
  std::unique_ptr<Transport> transport;
  Link* link = nullptr;
  std::string closed;
  std::uint64_t frames = 0;
  std::size_t sent = 0;
  std::deque<std::vector<std::byte>> targets;
};

class VerbsFailover : public ::testing::Test {
 protected:
  void SetUp() override { reset_fake_verbs({fake_port("fake0"), fake_port("fake1")}); }
  void TearDown() override {
    for (const std::string& breach : fake_breaches()) ADD_FAILURE() << breach;
    EXPECT_EQ(fake_pinned_bytes(), 0u);
  }
};

bool until(Node& a, Node& b, const std::function<bool()>& condition) {
  const Instant give_up = monotonic_now() + 20s;
  while (!condition() && monotonic_now() < give_up) {
    a.poll();
    b.poll();
  }
  return condition();
}

// Sends frames of all sizes until `count` have come; `disturb` is called when so many have.
void stream(Node& from, Node& to, std::uint64_t count, std::uint64_t when, const std::function<void()>& disturb) {
  const std::vector<std::byte> payload(100'000, std::byte{5});
  const std::uint64_t had = to.frames;
  std::uint64_t next = had;
  ASSERT_TRUE(until(from, to,
                    [&] {
                      if (disturb && to.frames - had >= when) {
                        disturb();
                        when = ~0ull;
                      }
                      if (next < had + count) {
                        const SendState state = from.link->send(
                            Header{{next}}, payload.data(), next % 5 == 0 ? payload.size() : 50 * (next % 100), next);
                        if (state == SendState::copied || state == SendState::pending) ++next;
                      }
                      return to.frames == had + count && from.link->is_drained();
                    }))
      << to.frames - had << " of " << count << "; " << from.closed;
}

}  // namespace

TEST_F(VerbsFailover, APortThatGoesDownUnderWayCostsNoFrameAndIsUsedAgainWhenItIsBack) {
  Node a("fake0");
  Node b("fake1");
  ASSERT_TRUE(a.transport->connect(b.id, b.transport->address(), 0, monotonic_now() + 10s).is_ok());
  ASSERT_TRUE(until(a, b, [&] { return a.link != nullptr && b.link != nullptr; }));
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
  ASSERT_TRUE(a.transport->connect(b->id, b->transport->address(), 0, monotonic_now() + 10s).is_ok());
  ASSERT_TRUE(until(a, *b, [&] { return a.link != nullptr && b->link != nullptr; }));
  stream(a, *b, 10, 0, {});

  b.reset();
  Node c("fake1");
  ASSERT_TRUE(until(a, c, [&] { return !a.closed.empty(); }));
  EXPECT_NE(a.closed.find("is closed: "), std::string::npos) << a.closed;  // its end, or a write after that
}

}  // namespace tutti::verbs
