// Connecting: from either side, from both, to the dead, the silent and the wrong, to nonsense; several peers and
// lanes.
#include <algorithm>
#include <chrono>

#include "tests/conformance/conformance.h"

namespace tutti::conformance {

using std::chrono::milliseconds;

TEST_P(Conformance, ConnectsFromOneSideAndTheOtherLearnsOfIt) {
  Party& a = add();
  Party& b = add();

  const auto [at_a, at_b] = join(a, b);

  ASSERT_NE(at_b, nullptr);
  EXPECT_TRUE(at_a->link->is_open());
  EXPECT_TRUE(at_b->link->is_open());
  EXPECT_TRUE(at_a->link->status().is_ok());
  EXPECT_EQ(at_b->peer, a.id());
  expect_talks(a, *at_a, b, *at_b);
  settle();
  EXPECT_EQ(a.count_lines(b.id()), 1u);
  EXPECT_EQ(b.count_lines(a.id()), 1u);
}

TEST_P(Conformance, ConnectingAgainReturnsTheLinkThatExists) {
  Party& a = add();
  Party& b = add();
  Line* const first = a.connect(b, soon());
  ASSERT_NE(first, nullptr);

  Line* const while_connecting = a.connect(b, soon());
  ASSERT_TRUE(until([&] { return first->connected && b.open_line(a.id()) != nullptr; }, "a link"));
  Line* const while_open = a.connect(b, soon());
  Line* const from_the_other_side = b.connect(a, soon());

  EXPECT_EQ(while_connecting, first);
  EXPECT_EQ(while_open, first);
  EXPECT_EQ(from_the_other_side, b.open_line(a.id()));
  settle();
  EXPECT_EQ(a.count_lines(b.id(), false), 1u);
  EXPECT_EQ(b.count_lines(a.id(), false), 1u);
}

TEST_P(Conformance, BothConnectingAtOnceGivesOneLinkOnEachSide) {
  for (int lead = 0; lead < 8; ++lead) {
    Party& a = add();
    Party& b = add();

    // b starts a little later each time, so that the crossing happens at different points.
    Line* const from_a = a.connect(b, soon());
    for (int turn = 0; turn < lead / 2; ++turn) a.poll(world_->now());
    if (lead % 2 == 1) world_->rest();
    Line* const from_b = b.connect(a, soon());
    ASSERT_NE(from_a, nullptr);
    ASSERT_NE(from_b, nullptr);
    ASSERT_TRUE(until([&] { return (from_a->connected || from_a->closed) && (from_b->connected || from_b->closed); },
                      "both ends connected"));
    settle();

    ASSERT_TRUE(from_a->open()) << "a's link: " << from_a->why.text();
    ASSERT_TRUE(from_b->open()) << "b's link: " << from_b->why.text();
    EXPECT_EQ(a.count_lines(b.id(), false), 1u);
    EXPECT_EQ(b.count_lines(a.id(), false), 1u);
    expect_talks(a, *from_a, b, *from_b, 1000);
    parties_.clear();
  }
}

TEST_P(Conformance, AFrameSentAtOnceWhenConnectedArrivesFirst) {
  Party& a = add();
  Party& b = add();
  Line* const at_a = a.connect(b, soon());
  ASSERT_NE(at_a, nullptr);

  bool a_sent = false;
  bool b_sent = false;
  const auto send_first = [&](Party& from, Line* line, bool& done, std::uint64_t stream) {
    if (line == nullptr || !line->connected || done) return;
    done = from.send(*line, stream_header(stream, 0, 40), stream_payload(stream, 0, 40)) != SendState::again;
  };
  ASSERT_TRUE(until(
      [&] {
        send_first(a, at_a, a_sent, 1);
        Line* const at_b = b.open_line(a.id());
        send_first(b, at_b, b_sent, 2);
        return at_b != nullptr && !at_b->received.empty() && at_b->received[0].complete && !at_a->received.empty() &&
               at_a->received[0].complete;
      },
      "the first frames"));

  expect_frame(*b.open_line(a.id()), 0, 1, 0, 40);
  expect_frame(*at_a, 0, 2, 0, 40);
}

TEST_P(Conformance, ConnectingToADeadPeerIsClosedByTheDeadlineWithASentence) {
  Party& a = add();
  Party& b = add();
  const ProcessId dead = b.id();
  const auto address = b.address();
  destroy(b);

  const Instant deadline = in(milliseconds(300));
  Status refused;
  Line* const line = a.connect(dead, address, 0, deadline, &refused);

  if (line == nullptr) {
    EXPECT_FALSE(refused.text().empty());
    return;
  }
  ASSERT_TRUE(until([&] { return line->closed || world_->now() >= deadline; }, "the deadline"));
  for (int turn = 0; turn < 3; ++turn) pump();
  EXPECT_TRUE(line->closed) << "neither connected nor closed at the deadline";
  EXPECT_FALSE(line->connected);
  EXPECT_GT(line->why.text().size(), 20u) << line->why.text();
  ASSERT_TRUE(line->closed);
  a.forget(*line);
}

TEST_P(Conformance, ConnectingToASilentPeerEndsByTheDeadline) {
  Party& a = add();
  const auto silent_id = new_process_id();
  const auto silent = world_->make(*silent_id);  // alive, but nobody polls it

  const Instant deadline = in(milliseconds(200));
  Line* const line = a.connect(*silent_id, silent->address(), 0, deadline);
  ASSERT_NE(line, nullptr);
  ASSERT_TRUE(until([&] { return world_->now() >= deadline; }, "the deadline"));
  for (int turn = 0; turn < 3; ++turn) pump();

  EXPECT_TRUE(line->connected || line->closed) << "neither connected nor closed at the deadline";
  if (line->closed) {
    EXPECT_GT(line->why.text().size(), 20u) << line->why.text();
  }
  parties_.clear();
}

TEST_P(Conformance, ConnectingUnderAWrongProcessIdIsRefused) {
  Party& a = add();
  Party& b = add();
  const auto nobody = new_process_id();

  const Instant deadline = in(milliseconds(500));
  Line* const line = a.connect(*nobody, b.address(), 0, deadline);

  if (line != nullptr) {
    ASSERT_TRUE(until([&] { return line->closed || world_->now() >= deadline; }, "the deadline"));
    for (int turn = 0; turn < 3; ++turn) pump();
    EXPECT_TRUE(line->closed);
    EXPECT_FALSE(line->connected);
  }
  settle();
  EXPECT_EQ(b.lines().size(), 0u) << "the peer reported an event about a stranger";
}

TEST_P(Conformance, BytesThatAreNoAddressAreNotReachable) {
  Party& a = add();
  Party& b = add();
  const auto address = b.address();
  EXPECT_LE(address.size(), 4096u);
  EXPECT_GT(address.size(), 0u);
  EXPECT_TRUE(a.transport().reaches(address));

  Random random(test_seed());
  std::vector<std::vector<std::byte>> nonsense{{}};
  for (const std::size_t size : {1u, 7u, 8u, 24u, 64u, 300u, 4096u}) {
    for (int i = 0; i < 20; ++i) nonsense.push_back(stream_payload(random.next(), 0, size));
  }
  for (std::size_t size = 0; size < address.size(); ++size) {
    nonsense.emplace_back(address.begin(), address.begin() + static_cast<std::ptrdiff_t>(size));
  }

  for (const auto& bytes : nonsense) {
    EXPECT_FALSE(a.transport().reaches(bytes)) << bytes.size() << " bytes of nonsense";
    Status refused;
    EXPECT_EQ(a.connect(b.id(), bytes, 0, soon(), &refused), nullptr);
    EXPECT_FALSE(refused.is_ok());
  }
  // A damaged address may happen to be a good one; asking is harmless all the same.
  for (int i = 0; i < 500; ++i) {
    auto damaged = address;
    damaged[random.below(damaged.size())] ^= std::byte(1u << random.below(8));
    if (random.chance(0.3)) damaged.resize(damaged.size() + 1 + random.below(100));
    (void)a.transport().reaches(damaged);
  }
  settle();
  EXPECT_EQ(b.lines().size(), 0u);
}

TEST_P(Conformance, ClosingWhileConnectingEndsInOneClosedEvent) {
  for (int turns = 0; turns < 4; ++turns) {
    Party& a = add();
    Party& b = add();
    Line* const line = a.connect(b, soon());
    ASSERT_NE(line, nullptr);
    for (int turn = 0; turn < turns; ++turn) pump();

    line->link->close(Status(Code::aborted, "the test closes it again"));
    ASSERT_TRUE(until([&] { return line->closed; }, "the closed event"));
    settle();

    EXPECT_NE(line->why.text().find("the test closes it again"), std::string::npos) << line->why.text();
    for (const auto& at_b : b.lines()) EXPECT_TRUE(at_b->closed) << "the peer kept its end open";
    a.forget(*line);
    parties_.clear();
  }
}

TEST_P(Conformance, ATransportMayGoWhileItConnects) {
  for (int turns = 0; turns < 4; ++turns) {
    Party& a = add();
    Party& b = add();
    ASSERT_NE(a.connect(b, soon()), nullptr);
    for (int turn = 0; turn < turns; ++turn) pump();

    destroy(a);
    settle();

    for (const auto& at_b : b.lines()) EXPECT_TRUE(at_b->closed) << "the peer kept its end open";
    parties_.clear();
  }
}

TEST_P(Conformance, SeveralPeersAreSeveralLinks) {
  constexpr std::size_t kPeers = 4;
  for (std::size_t i = 0; i < kPeers; ++i) add();
  for (std::size_t i = 0; i < kPeers; ++i) {
    for (std::size_t j = i + 1; j < kPeers; ++j)
      ASSERT_NE(parties_[(i + j) % 2 == 0 ? i : j]->connect(*parties_[(i + j) % 2 == 0 ? j : i], soon()), nullptr);
  }
  const auto linked = [&](std::size_t i, std::size_t j) { return parties_[i]->open_line(parties_[j]->id()); };
  const auto all_linked = [&] {
    for (std::size_t i = 0; i < kPeers; ++i) {
      for (std::size_t j = 0; j < kPeers; ++j) {
        if (i != j && linked(i, j) == nullptr) return false;
      }
    }
    return true;
  };
  ASSERT_TRUE(until(all_linked, "a link between any two"));

  for (std::uint64_t k = 0; k < 50; ++k) {
    for (std::size_t i = 0; i < kPeers; ++i) {
      for (std::size_t j = 0; j < kPeers; ++j) {
        if (i != j) {
          ASSERT_TRUE(send_frame(*parties_[i], *linked(i, j), 10 * i + j, k, 10 + 17 * k));
        }
      }
    }
  }
  const auto all_there = [&] {
    for (std::size_t i = 0; i < kPeers; ++i) {
      for (std::size_t j = 0; j < kPeers; ++j) {
        if (i != j && (linked(i, j)->received.size() < 50 || !linked(i, j)->owes_nothing())) return false;
      }
    }
    return true;
  };
  ASSERT_TRUE(until(all_there, "50 frames from everyone to everyone"));

  for (std::size_t i = 0; i < kPeers; ++i) {
    for (std::size_t j = 0; j < kPeers; ++j) {
      for (std::uint64_t k = 0; i != j && k < 50; ++k) expect_frame(*linked(j, i), k, 10 * i + j, k, 10 + 17 * k);
    }
  }
}

TEST_P(Conformance, LanesToOnePeerAreIndependentLinks) {
  Party& a = add();
  Party& b = add();
  const std::uint32_t lanes = std::min(3u, a.transport().capabilities().lanes_max);
  if (lanes < 2) GTEST_SKIP() << "one lane only";

  std::vector<std::pair<Line*, Line*>> joined;
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    joined.push_back(lane % 2 == 0 ? join(a, b, lane) : join(b, a, lane));
    if (lane % 2 == 1) std::swap(joined.back().first, joined.back().second);
    ASSERT_NE(joined.back().second, nullptr);
  }
  for (std::uint64_t k = 0; k < 100; ++k) {
    for (std::uint32_t lane = 0; lane < lanes; ++lane) {
      ASSERT_TRUE(send_frame(a, *joined[lane].first, 100 + lane, k, 33 * (lane + 1)));
    }
  }
  const auto all_there = [&] {
    return std::all_of(joined.begin(), joined.end(), [](const auto& line) {
      return line.second->received.size() == 100 && line.second->owes_nothing();
    });
  };
  ASSERT_TRUE(until(all_there, "100 frames on each lane"));
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    for (std::uint64_t k = 0; k < 100; ++k) expect_frame(*joined[lane].second, k, 100 + lane, k, 33 * (lane + 1));
  }

  // One lane ends; the others do not notice, or all end.
  joined[1].first->link->close(Status(Code::aborted, "the test closes lane 1"));
  ASSERT_TRUE(
      until([&] { return joined[1].first->closed && joined[1].second->closed; }, "lane 1 closed at both ends"));
  settle();
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    if (lane == 1) continue;
    if (world_->lanes_end_together()) {
      EXPECT_TRUE(joined[lane].first->closed && joined[lane].second->closed);
      continue;
    }
    EXPECT_TRUE(joined[lane].first->open());
    expect_talks(a, *joined[lane].first, b, *joined[lane].second);
  }
}

}  // namespace tutti::conformance
