// The fault wrapper: each fault does what it says, and what it does not say stays whole.
#include <gtest/gtest.h>

#include <bit>

#include "tests/conformance/party.h"
#include "transports/fault/fault_transport.h"
#include "transports/sim/sim_network.h"
#include "transports/sim/sim_transport.h"

namespace tutti {
namespace {

using conformance::Line;
using conformance::Party;
using conformance::stream_header;
using conformance::stream_payload;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Two processes in a simulated network, each behind a fault wrapper, and an open link between them.
class Fault : public ::testing::Test {
 protected:
  void start(const FaultOptions& at_a, const FaultOptions& at_b = {}) {
    auto wrapped_a = std::make_unique<FaultTransport>(network_.attach(kA), at_a);
    auto wrapped_b = std::make_unique<FaultTransport>(network_.attach(kB), at_b);
    fault_a_ = wrapped_a.get();
    fault_b_ = wrapped_b.get();
    a_ = std::make_unique<Party>(kA, std::move(wrapped_a));
    b_ = std::make_unique<Party>(kB, std::move(wrapped_b));
    line_a_ = a_->connect(*b_, network_.now() + seconds(10));
    ASSERT_TRUE(runs_until([&] { return line_a_->connected && b_->open_line(kA) != nullptr; }));
    line_b_ = b_->open_line(kA);
  }
  template <typename Condition>
  bool runs_until(Condition condition) {
    for (int turn = 0; turn < 100'000; ++turn) {
      if (condition()) return true;
      if (a_->poll(network_.now()) + b_->poll(network_.now()) > 0) continue;
      if (!network_.advance()) network_.advance_to(network_.now() + milliseconds(1));
    }
    return false;
  }
  SendState send(std::uint64_t index, std::size_t bytes) {
    return a_->send(*line_a_, stream_header(1, index, bytes), stream_payload(1, index, bytes));
  }
  // Sends frames until they are all taken or the link is closed; returns how many were taken.
  std::uint64_t send_all(std::uint64_t frames, std::size_t bytes) {
    std::uint64_t taken = 0;
    (void)runs_until([&] {
      for (SendState state = SendState::copied; taken < frames && state != SendState::again;) {
        state = send(taken, bytes);
        if (state == SendState::closed) return true;
        taken += state == SendState::again ? 0 : 1;
      }
      return taken == frames;
    });
    return taken;
  }
  bool is_whole(std::size_t k) const {
    return line_b_->received[k].payload == stream_payload(1, k, line_b_->received[k].header.words[2]);
  }

  const ProcessId kA{{1, 1}};
  const ProcessId kB{{2, 2}};
  SimNetwork network_{1};
  FaultTransport* fault_a_ = nullptr;
  FaultTransport* fault_b_ = nullptr;
  std::unique_ptr<Party> a_;
  std::unique_ptr<Party> b_;
  Line* line_a_ = nullptr;
  Line* line_b_ = nullptr;
};

TEST_F(Fault, CutsALinkAfterSoManyFrames) {
  FaultOptions options;
  options.cut_after_frames = 5;
  start(options);

  EXPECT_EQ(send_all(20, 10), 5u);
  ASSERT_TRUE(runs_until([&] { return line_a_->closed && line_b_->closed; }));

  EXPECT_NE(line_a_->why.text().find("after 5 frames"), std::string::npos) << line_a_->why.text();
  EXPECT_EQ(line_a_->why.code(), Code::peer_lost);
  EXPECT_LE(line_b_->received.size(), 5u);
}

TEST_F(Fault, CutsALinkAfterSoManyBytes) {
  FaultOptions options;
  options.cut_after_bytes = 1000;
  start(options);

  EXPECT_EQ(send_all(20, 300), 4u);
  ASSERT_TRUE(runs_until([&] { return line_a_->closed && line_b_->closed; }));
}

TEST_F(Fault, CutsByChanceSoonerOrLater) {
  FaultOptions options;
  options.cut_probability = 0.05;
  start(options);

  EXPECT_LT(send_all(2000, 10), 2000u);
  ASSERT_TRUE(runs_until([&] { return line_a_->closed && line_b_->closed; }));
}

TEST_F(Fault, CutsOnRequest) {
  start({});
  EXPECT_EQ(send_all(5, 10), 5u);
  fault_a_->cut_after(kB, 3);
  std::uint64_t more = 0;
  while (more < 10 && send(5 + more, 10) == SendState::copied) ++more;
  EXPECT_EQ(more, 3u);
  ASSERT_TRUE(runs_until([&] { return line_a_->closed && line_b_->closed; }));

  // A new link is a new chance; this time the cut comes from the other side and at once.
  a_->forget(*line_a_);
  line_a_ = a_->connect(*b_, network_.now() + seconds(10));
  ASSERT_TRUE(runs_until([&] { return line_a_->connected && b_->open_line(kA) != nullptr; }));
  fault_b_->cut(kA);
  ASSERT_TRUE(runs_until([&] { return line_a_->closed && b_->open_line(kA) == nullptr; }));
}

TEST_F(Fault, FlipsOneBitOfTheNextPayloadOnly) {
  start({});
  ASSERT_EQ(send_all(3, 1000), 3u);
  ASSERT_TRUE(runs_until([&] { return line_b_->received.size() == 3 && line_b_->owes_nothing(); }));
  fault_b_->flip_next(kA);
  for (std::uint64_t k = 3; k < 6; ++k) {
    ASSERT_TRUE(runs_until([&] { return send(k, 1000) != SendState::again; }));
  }
  ASSERT_TRUE(runs_until([&] { return line_b_->received.size() == 6 && line_b_->owes_nothing(); }));

  const auto expected = stream_payload(1, 3, 1000);
  int bits = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    bits += std::popcount(static_cast<unsigned>(expected[i] ^ line_b_->received[3].payload[i]));
  }
  EXPECT_EQ(bits, 1);
  for (const std::size_t k : {0u, 1u, 2u, 4u, 5u}) EXPECT_TRUE(is_whole(k)) << k;
}

TEST_F(Fault, FlipsByChanceHoweverThePayloadComes) {
  FaultOptions options;
  options.flip_probability = 0.5;
  start({}, options);

  ASSERT_EQ(send_all(400, 1000), 400u);
  ASSERT_TRUE(runs_until([&] { return line_b_->received.size() == 400 && line_b_->owes_nothing(); }));

  int damaged_with_data = 0;
  int damaged_fetched = 0;
  int whole = 0;
  for (std::size_t k = 0; k < 400; ++k) {
    if (is_whole(k)) {
      ++whole;
    } else if (line_b_->received[k].had_data) {
      ++damaged_with_data;
    } else {
      ++damaged_fetched;
    }
    EXPECT_EQ(line_b_->received[k].header, stream_header(1, k, 1000));
  }
  EXPECT_GT(whole, 100);
  EXPECT_GT(damaged_with_data, 30);
  EXPECT_GT(damaged_fetched, 30);
}

TEST_F(Fault, StallsALinkForATime) {
  start({});
  const Instant until = network_.now() + seconds(1);
  fault_a_->stall(kB, until);
  a_->poll(network_.now());

  EXPECT_EQ(send(0, 10), SendState::again);
  ASSERT_NE(b_->send(*line_b_, stream_header(2, 0, 10), stream_payload(2, 0, 10)), SendState::again);
  ASSERT_TRUE(runs_until([&] { return !line_a_->received.empty(); }));

  EXPECT_GE(network_.now(), until);
  EXPECT_EQ(send_all(1, 10), 1u);
}

TEST_F(Fault, DelaysKeepTheOrderAndLoseNothing) {
  FaultOptions options;
  options.delay_probability = 0.5;
  options.delay_max = milliseconds(20);
  options.again_probability = 0.3;
  start(options, options);

  EXPECT_EQ(send_all(500, 700), 500u);
  ASSERT_TRUE(runs_until(
      [&] { return line_b_->received.size() == 500 && line_b_->owes_nothing() && line_a_->pending.empty(); }));

  for (std::size_t k = 0; k < 500; ++k) {
    ASSERT_EQ(line_b_->received[k].index(), k);
    EXPECT_TRUE(is_whole(k));
  }
}

}  // namespace
}  // namespace tutti
