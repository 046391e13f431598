// A fabric whose wire is cut without a word: its lanes go on over TCP, and back; without another way they wait. And
// one that loses messages without a word, and goes on.
#include <gtest/gtest.h>

#include "tests/transport_fabric/memory_wire.h"
#include "tests/transport_failover/frames.h"
#include "transports/fabric/fabric.h"

namespace tutti::fabric {
namespace {

using namespace std::chrono_literals;

constexpr Nanoseconds kStallLimit = 200ms;

struct Node : FrameEnd {
  Node(MemoryNetwork& network, bool has_reserve) {
    FabricOptions options;
    options.process = id;
    options.host_name = "node";
    options.stall_limit = kStallLimit;
    options.ends_when_silent = has_reserve;
    options.log = sink();
    std::vector<std::unique_ptr<Wire>> wires;
    wires.push_back(std::make_unique<MemoryWire>(network));
    transport = make_fabric_transport(conformance::make_loopback_tcp(id, 1), std::move(wires), std::move(options));
    if (has_reserve) transport = reserved(std::move(transport));
  }
};

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

// Of frames small and large, what asks for those, their pieces, and what confirms them: whichever it is.
TEST(FabricFailover, AMessageThatTheWireLosesIsMissedAndItsFramesGoAnotherWay) {
  int missed = 0;
  for (std::uint64_t which = 1; which <= 16; ++which) {
    SCOPED_TRACE(which);
    MemoryNetwork network;
    Node a(network, true);
    Node b(network, true);
    connect(a, b);
    stream(a, b, 200, 100, [&] { network.lost = network.messages + which; });
    missed += (a.log + b.log).find("memory 1 has lost 1 of the") != std::string::npos;
    EXPECT_EQ(a.closed + b.closed, "");
    if (HasFatalFailure()) return;
  }
  EXPECT_GE(missed, 12) << "confirmations alone may be lost without harm";
}

TEST(FabricFailover, WithoutAnotherWayALinkThatLosesAMessageEnds) {
  MemoryNetwork network;
  Node a(network, false);
  Node b(network, false);
  connect(a, b);
  network.lost = network.messages + 1;
  ASSERT_EQ(a.link->send(Header{{0}}, nullptr, 0, 0), SendState::copied);
  ASSERT_TRUE(until(a, b, [&] { return !a.closed.empty() && !b.closed.empty(); }));
  EXPECT_NE(b.closed.find("has lost 1 of the"), std::string::npos) << b.closed;
  EXPECT_NE(a.closed.find("has lost 1 of the"), std::string::npos) << a.closed;
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

// A process that is asked now and then whether all has left it must not ask its peer with every frame from then on.
TEST(FabricDrain, WhoHasDrainedOnceSendsNoMoreThanItsFrames) {
  constexpr std::uint64_t kFrames = 50;
  MemoryNetwork network;
  Node a(network, false);
  Node b(network, false);
  connect(a, b);
  ASSERT_EQ(a.link->send(Header{{0}}, nullptr, 0, 0), SendState::copied);
  ASSERT_TRUE(until(a, b, [&] { return a.link->is_drained(); }));
  const std::uint64_t before = network.messages;
  for (std::uint64_t i = 1; i <= kFrames; ++i) {
    ASSERT_EQ(a.link->send(Header{{i}}, nullptr, 0, i), SendState::copied);
    ASSERT_TRUE(until(a, b, [&] { return b.frames == i + 1; }));
  }
  EXPECT_LE(network.messages - before, kFrames + kFrames / 8) << "with what confirms them";
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
