// A process that completed the transport's connect and then sends whatever it likes: no correct communicator may feel
// it, and nothing it sends may be answered with more than a line in the log.
#include <gtest/gtest.h>

#include <algorithm>

#include "src/base/format.h"
#include "tests/engine/script.h"

namespace tutti {
namespace {

// Frames from nowhere, half of them bits by chance, half of them nearly right: known communicator, real kinds.
class Rogue {
 public:
  explicit Rogue(Cluster& cluster) : cluster_(cluster) {
    ProcessId id;
    id.high = 0xbad;
    id.low = 0xbad;
    transport_ = cluster.network().attach(id);
    links_.resize(static_cast<std::size_t>(cluster.size()));
    for (int rank = 0; rank < cluster.size(); ++rank) connect(rank);
    cluster.run_for(std::chrono::milliseconds(1));
    poll();
    payload_.resize(5000);
    for (auto& byte : payload_) byte = static_cast<std::byte>(cluster.random().below(256));
  }

  // Only data, for communicators that nobody makes.
  void flood() { floods_ = true; }
  // Now and then hangs up and comes again.
  void reconnect() { reconnects_ = true; }

  void poll() {
    Event events[16];
    const std::size_t count = transport_->poll(events, cluster_.network().now());
    for (std::size_t i = 0; i < count; ++i) {
      if (events[i].kind == EventKind::delivery) events[i].link->release(events[i].token);
      answers_ += events[i].kind == EventKind::delivery;
    }
  }

  void turn() {
    poll();
    for (std::size_t i = 0; i < links_.size(); ++i) {
      if (links_[i]->is_open() && cluster_.random().chance(0.3)) send_something(*links_[i]);
      if (reconnects_ && cluster_.random().chance(0.01)) {
        links_[i]->close(Status(Code::aborted, "the rogue tries again"));
        connect(static_cast<int>(i));
      }
    }
  }

  void send(std::size_t rank, const Frame& frame) {
    ASSERT_EQ(links_[rank]->send(frame.pack(), nullptr, 0, 0), SendState::copied);
  }

  int links_open() const {
    return static_cast<int>(std::count_if(links_.begin(), links_.end(), [](const Link* l) { return l->is_open(); }));
  }

  std::size_t sent() const { return sent_; }
  std::size_t answers() const { return answers_; }

 private:
  void connect(int rank) {
    const ProcessAddress& target = cluster_.node(rank).engine->address();
    links_[static_cast<std::size_t>(rank)] =
        *transport_->connect(target.process, target.find("sim")->address, 0, kNever);
  }

  void send_something(Link& link) {
    Random& random = cluster_.random();
    Header header;
    for (auto& word : header.words) word = random.next();
    if (random.chance(0.5)) {
      Frame frame = Frame::unpack(header);
      frame.communicator = random.chance(0.8) ? 77 : random.below(100);
      frame.kind = static_cast<FrameKind>(random.below(10));
      frame.number = static_cast<std::uint32_t>(random.below(8));
      frame.source = static_cast<Rank>(random.below(5)) - 1;
      frame.target = static_cast<Rank>(random.below(5)) - 1;
      frame.lane = static_cast<std::uint8_t>(random.below(2));
      frame.message = static_cast<std::uint32_t>(random.below(4));
      frame.segment = static_cast<std::uint32_t>(random.below(4));
      frame.signature.kind = static_cast<CallKind>(random.below(16));
      header = frame.pack();
    }
    if (floods_) {
      Frame frame;
      frame.communicator = random.below(1000) + 100;
      frame.uncredited = true;
      header = frame.pack();
    }
    const std::size_t bytes = random.chance(0.3) ? 0 : random.below(random.chance(0.3) ? payload_.size() : 100);
    sent_ += link.send(header, payload_.data(), bytes, sent_) != SendState::again;
  }

  Cluster& cluster_;
  std::unique_ptr<SimTransport> transport_;
  std::vector<Link*> links_;
  std::vector<std::byte> payload_;
  bool floods_ = false;
  bool reconnects_ = false;
  std::size_t sent_ = 0;
  std::size_t answers_ = 0;
};

TEST(EngineHostile, ARogueProcessDisturbsNoCommunicator) {
  std::size_t sent = 0;
  for (std::uint64_t seed = 1; seed <= 60 && !HasFailure(); ++seed) {
    SCOPED_TRACE(format("seed {}", seed));
    ClusterOptions options;
    options.ranks = 3;
    options.one_host = seed % 3 == 0;
    Cluster cluster(seed, options);
    Rogue rogue(cluster);
    if (seed % 4 == 0) rogue.reconnect();
    Script script(cluster);
    std::vector<std::unique_ptr<CollectiveCall>> calls;
    for (int i = 0; i < 6; ++i) {
      calls.push_back(
          std::make_unique<CollectiveCall>(CollectiveCall::random_kind(cluster.random(), true), 3, cluster.random()));
      CollectiveCall& call = *calls.back();
      for (int rank = 0; rank < 3; ++rank)
        script.add(rank, "calls", [&cluster, &call, rank] { return cluster.start(rank, call.request(rank)); });
    }
    ASSERT_TRUE(cluster.run([&] {
      rogue.turn();
      return script.turn();
    }));
    for (const Operation* operation : script.operations())
      ASSERT_TRUE(operation->result().is_ok()) << operation->result().text();
    for (const auto& call : calls) {
      for (Rank rank = 0; rank < 3; ++rank) ASSERT_EQ(call->data().check(rank), "");
    }
    sent += rogue.sent();
    EXPECT_EQ(rogue.answers(), 0u);
    EXPECT_LE(cluster.log().size(), rogue.sent());
    for (const std::string& line : cluster.log()) {
      EXPECT_TRUE(line.find("dropped") != std::string::npos || line.find("closed the link") != std::string::npos)
          << line;
    }
  }
  EXPECT_GT(sent, 5'000u);
}

// What a stranger can make a process keep is bounded: who sends more than the window is cut off.
TEST(EngineHostile, AFloodForCommunicatorsThatNobodyMakesIsCutOff) {
  ClusterOptions options;
  options.ranks = 2;
  Cluster cluster(3, options);
  Rogue rogue(cluster);
  rogue.flood();
  ASSERT_TRUE(cluster.run([&] {
    rogue.turn();
    return rogue.links_open() == 0;
  })) << "it may go on for ever";
  EXPECT_LE(rogue.sent(), 2 * 2 * kWindowBytes / kFrameCost);
  ASSERT_EQ(cluster.log().size(), 2u);
  EXPECT_NE(cluster.log()[0].find("sent more than it may"), std::string::npos) << cluster.log()[0];
  CollectiveCall call(CallKind::all_reduce, 2, cluster.random());
  Script script(cluster);
  for (int rank = 0; rank < 2; ++rank)
    script.add(rank, "call", [&, rank] { return cluster.start(rank, call.request(rank)); });
  ASSERT_TRUE(script.run());
  for (Rank rank = 0; rank < 2; ++rank) ASSERT_EQ(call.data().check(rank), "");
}

// A goodbye in another's name, for a communicator that is not made yet, must not count when it is.
TEST(EngineHostile, AFrameInAnothersNameIsNotTakenForTheirsWhenTheCommunicatorComes) {
  ClusterOptions options;
  options.ranks = 2;
  Cluster cluster(4, options);
  Rogue rogue(cluster);
  Frame frame;
  frame.communicator = 88;
  frame.kind = FrameKind::goodbye;
  frame.source = 1;
  frame.target = 0;
  frame.message = 1;
  cluster.run_for(std::chrono::milliseconds(1));
  rogue.poll();
  rogue.send(0, frame);
  cluster.run_for(std::chrono::milliseconds(1));
  const Rank members[] = {0, 1};
  const std::uint64_t boards[] = {kNoBoard, kNoBoard};
  for (int rank = 0; rank < 2; ++rank) {
    Cluster::Node& node = cluster.node(rank);
    node.communicator =
        *node.engine->create_from(*node.communicator, 88, "next", members, boards, cluster.network().now());
  }
  CollectiveCall call(CallKind::all_reduce, 2, cluster.random());
  Script script(cluster);
  for (int rank = 0; rank < 2; ++rank)
    script.add(rank, "call", [&, rank] { return cluster.start(rank, call.request(rank)); });
  ASSERT_TRUE(script.run());
  for (const Operation* operation : script.operations())
    EXPECT_TRUE(operation->result().is_ok()) << operation->result().text();
}

}  // namespace
}  // namespace tutti
