// A fabric whose wire is cut without a word: its lanes go on over TCP, and back; without another way they wait.
#include <gtest/gtest.h>

#include <deque>
#include <functional>

#include "tests/conformance/tcp_world.h"
#include "tests/transport_fabric/memory_wire.h"
#include "transports/fabric/fabric.h"
#include "transports/failover/failover.h"
#include "transports/failover/reserve.h"

namespace tutti::fabric {
namespace {

using namespace std::chrono_literals;

constexpr Nanoseconds kStallLimit = 200ms;

struct Node {
  Node(MemoryNetwork& network, bool has_reserve) {
    id = *new_process_id();
    const Log sink(LogLevel::info,
                   [this](LogLevel, std::string_view, std::string_view text) { log += std::string(text) + "\n"; });
    FabricOptions options;
    options.process = id;
    options.host_name = "node";
    options.stall_limit = has_reserve ? kStallLimit : Nanoseconds(0);
    options.log = sink;
    transport = make_fabric_transport(conformance::make_loopback_tcp(id, 1), std::make_unique<MemoryWire>(network),
                                      std::move(options));
    if (!has_reserve) return;
    auto both = make_reserved_transport(std::move(transport), conformance::make_loopback_tcp(id, 1));
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
      if (event.kind == EventKind::fetched) event.link->release(event.token);
      if (event.kind != EventKind::delivery) continue;
      EXPECT_EQ(event.header.words[0], frames++) << "out of order";
      if (event.data == nullptr && event.bytes > 0 && !is_late) {
        targets.emplace_back(event.bytes);
        if (event.link->fetch(event.token, targets.back().data()) == FetchState::done)
          event.link->release(event.token);
      } else if (!is_late) {
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
  bool is_late = false;  // holds what comes
  std::deque<std::vector<std::byte>> targets;
};

bool until(Node& a, Node& b, const std::function<bool()>& condition) {
  const Instant give_up = monotonic_now() + 20s;
  while (!condition() && monotonic_now() < give_up) {
    a.poll();
    b.poll();
  }
  return condition();
}

void connect(Node& a, Node& b) {
  ASSERT_TRUE(a.transport->connect(b.id, b.transport->address(), 0, monotonic_now() + 10s).is_ok());
  ASSERT_TRUE(until(a, b, [&] { return a.link != nullptr && b.link != nullptr; })) << a.log << b.log;
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
                            Header{{next}}, payload.data(), next % 5 == 0 ? payload.size() : 50 * (next % 80), next);
                        if (state == SendState::copied || state == SendState::pending) ++next;
                      }
                      return to.frames == had + count && from.link->is_drained();
                    }))
      << to.frames - had << " of " << count << "; " << from.closed << from.log;
}

TEST(FabricFailover, AWireThatIsCutWithoutAWordCostsNoFrameAndIsUsedAgain) {
  MemoryNetwork network;
  Node a(network, true);
  Node b(network, true);
  connect(a, b);
  EXPECT_EQ(a.link->describe().substr(0, 7), "memory ");

  stream(a, b, 400, 100, [&] { network.is_cut = true; });
  EXPECT_NE((a.log + b.log).find("memory 1 has brought nothing for"), std::string::npos) << a.log << b.log;
  EXPECT_NE(a.log.find("The process is still there"), std::string::npos) << a.log;

  network.is_cut = false;
  ASSERT_TRUE(until(a, b, [&] { return (a.log + b.log).find(" is back after ") != std::string::npos; })) << a.log;
  stream(a, b, 100, 0, {});
  EXPECT_EQ(a.closed + b.closed, "");
}

TEST(FabricFailover, AReceiverThatTakesItsTimeIsNotTakenForLost) {
  MemoryNetwork network;
  Node a(network, true);
  Node b(network, true);
  connect(a, b);
  b.is_late = true;
  for (std::uint64_t i = 0; i < 4; ++i) ASSERT_EQ(a.link->send(Header{{i}}, nullptr, 0, i), SendState::copied);
  const Instant enough = monotonic_now() + 3 * kStallLimit;
  ASSERT_TRUE(until(a, b, [&] { return monotonic_now() > enough; }));
  EXPECT_EQ(b.frames, 4u);
  EXPECT_EQ(a.log.find("has brought nothing"), std::string::npos) << a.log;
  EXPECT_EQ(a.closed + b.closed, "");
}

// Its caller has tried, polls, and is about to sleep: no event says that it may try again.
TEST(FabricWait, WhoeverWasRefusedDoesNotSleepWhenThereIsRoom) {
  MemoryNetwork network;
  Node a(network, false);
  Node b(network, false);
  connect(a, b);
  std::uint64_t sent = 0;
  while (a.link->send(Header{{sent}}, nullptr, 0, sent) == SendState::copied) ++sent;
  ASSERT_TRUE(until(a, b, [&] { return b.frames == sent; }));  // and b has said so
  for (int i = 0; i < 3; ++i) b.poll();
  a.poll();
  EXPECT_FALSE(a.transport->prepare_wait());
  EXPECT_EQ(a.link->send(Header{{sent}}, nullptr, 0, sent), SendState::copied);
}

TEST(FabricFailover, WithoutAnotherWayALinkWaits) {
  MemoryNetwork network;
  Node a(network, false);
  Node b(network, false);
  connect(a, b);
  network.is_cut = true;
  ASSERT_EQ(a.link->send(Header{{0}}, nullptr, 0, 0), SendState::copied);
  const Instant enough = monotonic_now() + 3 * kStallLimit;
  ASSERT_TRUE(until(a, b, [&] { return monotonic_now() > enough; }));
  EXPECT_TRUE(a.link->is_open());
  EXPECT_EQ(a.closed + b.closed, "");
}

}  // namespace
}  // namespace tutti::fabric
