// Sends of a group, by a run over links that do what the test says: what is staged once, who waits for whom, and that
// memory goes back exactly when nobody needs it any more. What is given back is overwritten at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "algorithms/catalog.h"
#include "src/engine/lane_run.h"

namespace tutti {
namespace {

constexpr std::uint32_t kSegment = 640;

struct Sent {
  std::uint64_t cookie = 0;
  const std::byte* data = nullptr;
  std::uint32_t segment = 0;
  bool is_pending = false;
};

class LendingTransport final : public Transport {
 public:
  explicit LendingTransport(std::size_t most) : buffers(most) { capabilities_.name = "lending"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return {}; }
  bool reaches(std::span<const std::byte>) const override { return false; }
  Result<Link*> connect(const ProcessId&, std::span<const std::byte>, std::uint32_t, Instant) override {
    return Status(Code::unsupported, "there is nobody");
  }
  void forget(Link*) override {}
  std::size_t poll(std::span<Event>, Instant) override { return 0; }
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override { return true; }
  void finish_wait() override {}
  std::byte* borrow(const std::byte*, std::size_t bytes) override {
    if (lent.size() >= buffers) return nullptr;
    ++borrowed;
    memory.push_back(std::make_unique<std::byte[]>(bytes));
    lent[memory.back().get()] = bytes;
    return memory.back().get();
  }
  void give_back(std::byte* buffer) override {
    ASSERT_TRUE(lent.contains(buffer)) << "given back twice";
    std::memset(buffer, 0xee, lent[buffer]);
    lent.erase(buffer);
  }

  std::size_t buffers;
  std::size_t borrowed = 0;
  std::map<std::byte*, std::size_t> lent;
  std::vector<std::unique_ptr<std::byte[]>> memory;  // kept, so that a late reader finds the scribble

 private:
  Capabilities capabilities_;
};

// Sends out of lent memory are pending until the test says that they are read; all others are copied.
class LateLink final : public Link {
 public:
  explicit LateLink(LendingTransport& transport) : transport_(transport) {}
  ProcessId peer() const override { return {}; }
  std::uint32_t lane() const override { return 0; }
  bool is_open() const override { return true; }
  const Status& status() const override { return status_; }
  std::string describe() const override { return "a link"; }
  SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) override {
    if (is_full) return SendState::again;
    const Frame frame = Frame::unpack(header);
    const bool is_lent = transport_.lent.contains(const_cast<std::byte*>(payload));
    sent.push_back({cookie, payload, frame.segment, is_lent});
    if (!is_lent) content[frame.segment].assign(payload, payload + bytes);
    lengths[frame.segment] = bytes;
    return is_lent ? SendState::pending : SendState::copied;
  }
  FetchState fetch(std::uint64_t, std::byte*) override { return FetchState::closed; }
  void release(std::uint64_t) override {}
  void close(const Status&) override {}

  bool is_full = false;
  std::vector<Sent> sent;
  std::map<std::uint32_t, std::vector<std::byte>> content;  // what the peer has read, by segment
  std::map<std::uint32_t, std::size_t> lengths;

 private:
  LendingTransport& transport_;
  Status status_;
};

// The root of a broadcast to all others at once.
class Root {
 public:
  Root(Rank ranks, std::uint32_t segments, std::size_t buffers)
      : transport(buffers), input(segments * std::size_t{kSegment} - 8) {
    for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<std::byte>(i * 31 / 7);
    const auto algorithm = std::find_if(all_algorithms().begin(), all_algorithms().end(), [](const Algorithm& each) {
      return each.what == Collective::broadcast && each.name == std::string_view("direct");
    });
    Extents extents;
    extents.input.count = extents.output.count = input.size();
    extents.in_place = true;
    CompileOptions options;
    options.segment_bytes = kSegment;
    lane = *compile(make_program(*algorithm, {Collective::broadcast, ranks, 0, 0, true}), extents, options);
    recorder = Recorder::open({.enabled = false}, {}, Log());
    for (Rank peer = 1; peer < ranks; ++peer) {
      links.push_back(std::make_unique<LateLink>(transport));
      channels.push_back(std::make_unique<Channel>());
      channels.back()->link = links.back().get();
      channels.back()->transport = &transport;
      channels.back()->open = true;
    }
    prepare();
  }

  void prepare() {
    LaneRun::Job job;
    job.lane = &lane;
    job.bases[0] = job.bases[1] = input.data();
    job.recorder = recorder.get();
    run.prepare(job);
    for (std::uint32_t p = 0; p < channels.size(); ++p) run.set_channel(p, channels[p].get());
  }
  void start() { run.start(wire, {}, {}); }
  LateLink& link(std::size_t peer) { return *links[peer]; }

  // The peer reads the oldest frame that it has not read; false: there is none.
  bool read_one(std::size_t peer) {
    auto& sent = link(peer).sent;
    const auto next = std::find_if(sent.begin(), sent.end(), [](const Sent& each) { return each.is_pending; });
    if (next == sent.end()) return false;
    next->is_pending = false;
    link(peer).content[next->segment].assign(next->data, next->data + link(peer).lengths[next->segment]);
    const Wire::PendingSend ended = wire.take_pending(next->cookie);
    EXPECT_NE(ended.shared, nullptr);
    if (run.is_current(ended.step)) run.was_read(wire, ended.step.step, {});
    return true;
  }
  void read_all(std::size_t peer) {
    while (read_one(peer)) {
    }
  }
  // There is room on the link again.
  void open(std::size_t peer) {
    link(peer).is_full = false;
    const auto blocked = std::exchange(channels[peer]->blocked, {});
    for (const StepReference& step : blocked) {
      if (run.is_current(step)) run.retry(wire, step.step, {});
    }
  }
  // Whether the peer has read all of the input, each segment once.
  ::testing::AssertionResult has_read_all(std::size_t peer) {
    std::vector<std::byte> all;
    for (const auto& [segment, bytes] : link(peer).content) all.insert(all.end(), bytes.begin(), bytes.end());
    if (all != input) return ::testing::AssertionFailure() << "peer " << peer << " has read something else";
    if (link(peer).sent.size() != link(peer).content.size())
      return ::testing::AssertionFailure() << "a segment was sent twice to peer " << peer;
    return ::testing::AssertionSuccess();
  }
  std::size_t sent_to(std::size_t peer) { return link(peer).sent.size(); }

  LendingTransport transport;
  std::vector<std::byte> input;
  CompiledLane lane;
  std::unique_ptr<Recorder> recorder;
  std::vector<std::unique_ptr<LateLink>> links;
  std::vector<std::unique_ptr<Channel>> channels;
  Wire wire;
  LaneRun run{nullptr};
};

TEST(LaneRunGroups, EachSegmentIsStagedOnceAndGoesBackWhenTheLastHasReadIt) {
  Root root(4, 5, 8);
  root.start();

  // Who sends has done its part: what it sent may be overwritten.
  EXPECT_TRUE(root.run.is_done());
  EXPECT_TRUE(root.run.is_quiet());
  const std::vector<std::byte> given = root.input;
  std::fill(root.input.begin(), root.input.end(), std::byte{0x11});
  EXPECT_EQ(root.transport.borrowed, 5u);
  root.run.finish();

  root.read_all(0);
  root.read_all(1);
  EXPECT_EQ(root.transport.lent.size(), 5u);
  root.read_one(2);
  EXPECT_EQ(root.transport.lent.size(), 4u);
  root.read_all(2);
  EXPECT_TRUE(root.transport.lent.empty());
  root.input = given;
  for (std::size_t peer = 0; peer < 3; ++peer) EXPECT_TRUE(root.has_read_all(peer));
}

TEST(LaneRunGroups, WithLittleMemoryEachWaitsForItsOwnReaderAlone) {
  Root root(4, 40, 6);
  root.start();
  for (std::size_t peer = 0; peer < 3; ++peer) {
    EXPECT_GE(root.sent_to(peer), LaneRun::kReadAhead);
    EXPECT_LT(root.sent_to(peer), 40u);
  }
  // In turns, all is staged once.
  for (int i = 0; i < 200; ++i) root.read_one(static_cast<std::size_t>(i % 3));

  EXPECT_TRUE(root.run.is_done());
  EXPECT_EQ(root.transport.borrowed, 40u);
  EXPECT_TRUE(root.transport.lent.empty());
  for (std::size_t peer = 0; peer < 3; ++peer) EXPECT_TRUE(root.has_read_all(peer));
}

TEST(LaneRunGroups, AMemberThatComesLateHoldsUpNobody) {
  for (const std::size_t buffers : {1u, 2u, 6u, 100u}) {
    Root root(4, 40, buffers);
    root.link(1).is_full = true;
    root.start();
    for (int i = 0; i < 200; ++i) {
      root.read_one(0);
      root.read_one(2);
    }
    EXPECT_TRUE(root.has_read_all(0)) << buffers << " buffers";
    EXPECT_TRUE(root.has_read_all(2)) << buffers << " buffers";
    EXPECT_EQ(root.sent_to(1), 0u);
    EXPECT_FALSE(root.run.is_done());

    root.open(1);
    root.read_all(1);
    EXPECT_TRUE(root.run.is_done()) << buffers << " buffers";
    EXPECT_TRUE(root.has_read_all(1)) << buffers << " buffers";
    EXPECT_TRUE(root.transport.lent.empty()) << buffers << " buffers";
  }
}

TEST(LaneRunGroups, AReaderThatNeverReadsHoldsUpNobody) {
  Root root(4, 40, 6);
  root.start();
  for (int i = 0; i < 200; ++i) {
    root.read_one(0);
    root.read_one(2);
  }
  EXPECT_TRUE(root.has_read_all(0));
  EXPECT_TRUE(root.has_read_all(2));
  root.read_all(1);
  EXPECT_TRUE(root.run.is_done());
  EXPECT_TRUE(root.has_read_all(1));
  EXPECT_TRUE(root.transport.lent.empty());
}

TEST(LaneRunGroups, TheLastOfAGroupIsNotStagedForItselfAlone) {
  Root root(3, 5, 0);
  root.link(1).is_full = true;
  root.start();
  EXPECT_EQ(root.sent_to(0), 5u);
  root.transport.buffers = 8;
  root.open(1);

  EXPECT_TRUE(root.run.is_done());
  EXPECT_TRUE(root.has_read_all(1));
  EXPECT_TRUE(root.transport.lent.empty());
  EXPECT_FALSE(root.read_one(1)) << "it was sent out of lent memory";
}

TEST(LaneRunGroups, AnAbandonedRunKeepsOnlyWhatIsStillRead) {
  Root root(4, 5, 8);
  root.link(1).is_full = true;
  root.start();
  root.read_one(0);
  root.read_one(2);
  EXPECT_EQ(root.transport.lent.size(), 5u);
  root.run.abandon(root.wire);
  EXPECT_TRUE(root.run.is_quiet());
  EXPECT_EQ(root.transport.lent.size(), 4u);
  root.run.finish();

  // The run goes on to another operation, and what it began with is still read rightly.
  root.open(1);
  root.prepare();
  root.start();
  root.read_all(0);
  root.read_all(2);
  root.read_all(1);
  EXPECT_TRUE(root.run.is_done());
  EXPECT_TRUE(root.transport.lent.empty());
  EXPECT_EQ(root.sent_to(1), 5u);
  EXPECT_TRUE(root.has_read_all(1));
  for (const std::size_t peer : {0u, 2u}) {
    EXPECT_EQ(root.sent_to(peer), 10u);
    for (const auto& [segment, bytes] : root.link(peer).content)
      EXPECT_EQ(std::memcmp(bytes.data(), root.input.data() + segment * kSegment, bytes.size()), 0);
  }
}

TEST(LaneRunGroups, WhatAClosedChannelReadIsReadNoMore) {
  Root root(3, 5, 8);
  root.start();
  root.read_all(0);
  EXPECT_EQ(root.transport.lent.size(), 5u);

  std::vector<Wire::PendingSend> ended;
  root.wire.take_pending_of(*root.channels[1], ended);
  EXPECT_EQ(ended.size(), 5u);
  for (const Wire::PendingSend& send : ended) EXPECT_NE(send.shared, nullptr);
  EXPECT_TRUE(root.transport.lent.empty());
}

}  // namespace
}  // namespace tutti
