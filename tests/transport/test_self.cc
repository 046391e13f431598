// A process's link to itself. The strict reader of the conformance suite does the checking of the contract.
#include <gtest/gtest.h>

#include "tests/conformance/party.h"
#include "transports/self/self_transport.h"

namespace tutti {
namespace {

using conformance::Line;
using conformance::Party;
using conformance::stream_header;
using conformance::stream_payload;
using conformance::Take;

const ProcessId kSelf{{7, 9}};
const ProcessId kOther{{7, 10}};

class Self : public ::testing::Test {
 protected:
  Line* connect(std::uint32_t lane = 0) { return party_.connect(party_, kNever, lane); }
  void drain() {
    while (party_.poll(Instant{}) > 0) {
    }
  }
  SendState send(Line& line, std::uint64_t index, std::size_t bytes) {
    return party_.send(line, stream_header(1, index, bytes), stream_payload(1, index, bytes));
  }

  Party party_{kSelf, std::make_unique<SelfTransport>(kSelf)};
};

TEST_F(Self, ReachesItselfOnly) {
  SelfTransport other(kOther);
  Status refused;

  EXPECT_TRUE(party_.transport().reaches(party_.address()));
  EXPECT_FALSE(party_.transport().reaches(other.address()));
  EXPECT_FALSE(party_.transport().reaches({}));
  EXPECT_EQ(party_.connect(kOther, other.address(), 0, kNever, &refused), nullptr);
  EXPECT_NE(refused.text().find(to_string(kOther)), std::string::npos) << refused.text();
  EXPECT_EQ(party_.connect(kOther, party_.address(), 0, kNever, &refused), nullptr);
}

TEST_F(Self, OneLinkPerLaneIsBothEnds) {
  Line* const line = connect();
  ASSERT_NE(line, nullptr);
  EXPECT_EQ(send(*line, 0, 1), SendState::closed) << "before connected";
  drain();

  EXPECT_TRUE(line->connected);
  EXPECT_EQ(connect(), line);
  Line* const second = connect(1);
  drain();
  EXPECT_NE(second, line);
  EXPECT_EQ(party_.lines().size(), 2u);
  EXPECT_EQ(send(*second, 0, 5), SendState::copied);
  drain();
  EXPECT_EQ(second->received.size(), 1u);
  EXPECT_TRUE(line->received.empty());
}

TEST_F(Self, FramesOfAllSizesComeBackInOrder) {
  Line* const line = connect();
  drain();
  std::vector<std::size_t> sizes;
  for (std::size_t bytes : {0, 1, 7, 63, 64, 65, 255, 256, 257, 4096, 100'000, 8 << 20}) sizes.push_back(bytes);

  for (std::size_t k = 0; k < sizes.size(); ++k) {
    EXPECT_EQ(send(*line, k, sizes[k]), sizes[k] <= 256 ? SendState::copied : SendState::pending);
  }
  EXPECT_FALSE(line->link->is_drained());
  drain();

  ASSERT_EQ(line->received.size(), sizes.size());
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    EXPECT_EQ(line->received[k].header, stream_header(1, k, sizes[k]));
    EXPECT_TRUE(line->received[k].payload == stream_payload(1, k, sizes[k])) << sizes[k] << " B";
  }
  EXPECT_TRUE(line->pending.empty());
  EXPECT_TRUE(line->link->is_drained());
}

TEST_F(Self, ALargePayloadIsHandedOverInPlaceAndEndsWithItsRelease) {
  Line* const line = connect();
  drain();
  const auto payload = stream_payload(1, 0, 5000);
  ASSERT_EQ(line->link->send(Header{{1}}, payload.data(), payload.size(), 77), SendState::pending);
  Event events[4];
  Transport& transport = party_.transport();

  ASSERT_EQ(transport.poll(events, Instant{}), 1u);
  EXPECT_EQ(events[0].kind, EventKind::delivery);
  EXPECT_EQ(events[0].data, payload.data());
  EXPECT_TRUE(events[0].in_place);
  EXPECT_FALSE(events[0].transient);
  const std::uint64_t token = events[0].token;
  EXPECT_EQ(transport.poll(events, Instant{}), 0u) << "sent before the release";
  line->link->release(token);

  EXPECT_FALSE(transport.prepare_wait());
  ASSERT_EQ(transport.poll(events, Instant{}), 1u);
  EXPECT_EQ(events[0].kind, EventKind::sent);
  EXPECT_EQ(events[0].token, 77u);
  EXPECT_TRUE(transport.prepare_wait());
}

TEST_F(Self, TheQueueIsBoundedButHeldPayloadsOfTheSenderDoNotFillIt) {
  Line* const line = connect();
  drain();
  std::uint64_t taken = 0;
  while (taken < 100'000 && send(*line, taken, 10) == SendState::copied) ++taken;
  EXPECT_EQ(taken, SelfOptions{}.queue_frames);
  drain();
  EXPECT_EQ(line->received.size(), taken);

  party_.taste = [](const Line&, const Event&) { return Take::hold; };
  for (std::uint64_t k = 0; k < 3000; ++k) {
    ASSERT_EQ(send(*line, taken + k, 300), SendState::pending) << k;
    drain();
  }
  EXPECT_EQ(line->held.size(), 3000u);
  EXPECT_EQ(line->pending.size(), 3000u);
  party_.release_all(*line);
  drain();
  EXPECT_TRUE(line->pending.empty());
}

TEST_F(Self, CloseEndsThePendingAndANewLinkMayFollow) {
  Line* const line = connect();
  drain();
  ASSERT_EQ(send(*line, 0, 5000), SendState::pending);
  ASSERT_EQ(send(*line, 1, 5), SendState::copied);

  line->link->close(Status(Code::aborted, "the test is done"));
  EXPECT_EQ(send(*line, 2, 5), SendState::closed);
  Line* const next = connect();
  drain();

  EXPECT_TRUE(line->closed);
  EXPECT_TRUE(line->received.empty());
  EXPECT_EQ(line->why.code(), Code::aborted);
  EXPECT_NE(line->why.text().find("the test is done"), std::string::npos);
  ASSERT_NE(next, line);
  EXPECT_EQ(send(*next, 0, 5), SendState::copied);
  drain();
  EXPECT_EQ(next->received.size(), 1u);
  party_.forget(*line);
}

TEST_F(Self, RandomTrafficKeepsTheOrder) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    Party party(kSelf, std::make_unique<SelfTransport>(kSelf));
    party.taste = [&](const Line&, const Event&) { return random.chance(0.3) ? Take::hold : Take::copy; };
    Line* const line = party.connect(party, kNever);
    party.poll(Instant{});
    std::uint64_t sent = 0;
    for (int step = 0; step < 2000; ++step) {
      const std::size_t bytes = random.below(600);
      const SendState state = party.send(*line, stream_header(1, sent, bytes), stream_payload(1, sent, bytes));
      sent += state == SendState::copied || state == SendState::pending ? 1 : 0;
      party.batch = 1 + random.below(8);
      if (random.chance(0.7)) party.poll(Instant{});
      if (!line->held.empty() && random.chance(0.5)) party.release_held(*line, random.below(line->held.size()));
    }
    party.taste = nullptr;
    party.release_all(*line);
    while (party.poll(Instant{}) > 0) {
    }
    ASSERT_EQ(line->received.size(), sent);
    EXPECT_TRUE(line->pending.empty());
    for (std::uint64_t k = 0; k < sent; ++k) {
      ASSERT_EQ(line->received[k].index(), k);
      ASSERT_TRUE(line->received[k].payload == stream_payload(1, k, line->received[k].header.words[2]));
    }
  }
}

}  // namespace
}  // namespace tutti
