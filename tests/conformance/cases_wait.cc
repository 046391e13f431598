// Sleeping: whoever sleeps on the wait descriptor is woken by a frame, a connect, a close, and a notified segment;
// and no wake-up is lost between two threads that sleep whenever they have nothing to do.
#include <poll.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/conformance/conformance.h"

namespace tutti::conformance {

namespace {

constexpr int kSleepMax_ms = 10'000;

bool readable(int descriptor, int timeout_ms) {
  pollfd entry{descriptor, POLLIN, 0};
  return ::poll(&entry, 1, timeout_ms) == 1;
}

// Polls until there is nothing to do and the transport agrees that one may sleep.
bool falls_asleep(Party& sleeper, World& world) {
  for (int turn = 0; turn < 100'000; ++turn) {
    if (sleeper.poll(world.now()) == 0 && sleeper.transport().prepare_wait()) return true;
  }
  return false;
}

// The wake-up for a sleeper, while the others go on.
bool is_woken(Party& sleeper, const std::vector<std::unique_ptr<Party>>& parties, World& world) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(kSleepMax_ms);
  bool woken = false;
  while (!woken && std::chrono::steady_clock::now() < give_up) {
    for (const auto& party : parties) {
      if (party.get() != &sleeper) party->poll(world.now());
    }
    woken = readable(sleeper.transport().wait_descriptor(), 1);
  }
  sleeper.transport().finish_wait();
  return woken;
}

// Sends a small frame while only the sender is polled.
void send_alone(Party& from, Line& line, std::uint64_t index, World& world) {
  const auto payload = stream_payload(1, index, 10);
  SendState state = SendState::again;
  for (int turn = 0; turn < 100'000 && state == SendState::again; ++turn) {
    state = from.send(line, stream_header(1, index, 10), payload);
    from.poll(world.now());
  }
  ASSERT_NE(state, SendState::again);
}

}  // namespace

TEST_P(Conformance, NobodySleepsOverAFrameThatIsThere) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  settle();

  send_alone(a, *joined.first, 0, *world_);
  bool would_sleep = true;
  for (int turn = 0; turn < 1000 && would_sleep; ++turn) {
    a.poll(world_->now());
    world_->rest();
    if (b.transport().prepare_wait()) {
      // Ready to sleep; then at least the descriptor must say so at once.
      would_sleep = b.transport().wait_descriptor() < 0 || !readable(b.transport().wait_descriptor(), 0);
      b.transport().finish_wait();
    } else {
      would_sleep = false;
    }
  }

  EXPECT_FALSE(would_sleep);
  ASSERT_TRUE(until([&] { return joined.second->received.size() == 1; }, "the frame"));
}

TEST_P(Conformance, WhoHasNothingToDoCanSleep) {
  if (world_->has_virtual_clock()) GTEST_SKIP() << "nothing to wait on";
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  expect_talks(a, *joined.first, b, *joined.second, 100);
  settle();
  for (Party* const each : {&a, &b}) {
    if (each->transport().wait_descriptor() < 0) GTEST_SKIP() << "nothing to wait on";
    EXPECT_TRUE(until(
        [&] {
          if (!each->transport().prepare_wait()) return false;
          const bool sleeps = !readable(each->transport().wait_descriptor(), 0);
          each->transport().finish_wait();
          return sleeps;
        },
        "sleep"));
  }
}

TEST_P(Conformance, ASleeperIsWokenByConnectFrameAndClose) {
  Party& a = add();
  Party& b = add();
  if (world_->has_virtual_clock() || b.transport().wait_descriptor() < 0) GTEST_SKIP() << "nothing to wait on";

  ASSERT_TRUE(falls_asleep(b, *world_));
  Line* const at_a = a.connect(b, soon());
  ASSERT_NE(at_a, nullptr);
  EXPECT_TRUE(is_woken(b, parties_, *world_)) << "by a connect";
  ASSERT_TRUE(until([&] { return at_a->connected && b.open_line(a.id()) != nullptr; }, "the link"));
  Line* const at_b = b.open_line(a.id());
  settle();

  for (std::uint64_t k = 0; k < 20; ++k) {
    ASSERT_TRUE(falls_asleep(b, *world_));
    send_alone(a, *at_a, k, *world_);
    EXPECT_TRUE(is_woken(b, parties_, *world_)) << "by frame " << k;
    ASSERT_TRUE(until([&] { return at_b->received.size() == k + 1; }, "the frame"));
  }

  // The peer's reading wakes a sender that ran out of room.
  const std::size_t bytes = std::min<std::size_t>(65'536, frame_bytes_max());
  std::uint64_t taken = 0;
  SendState state = SendState::copied;
  while (state != SendState::again && taken < 4'000) {
    state = a.send(*at_a, stream_header(2, taken, bytes), stream_payload(2, 0, bytes));
    taken += state != SendState::again ? 1 : 0;
    if (state == SendState::again && a.poll(world_->now()) > 0) state = SendState::copied;
  }
  ASSERT_EQ(state, SendState::again);
  if (a.transport().prepare_wait()) {
    EXPECT_TRUE(is_woken(a, parties_, *world_)) << "by room in the queue";
  }
  ASSERT_TRUE(
      until([&] { return at_b->received.size() == 20 + taken && at_b->owes_nothing() && at_a->pending.empty(); },
            "all frames"));
  settle();

  ASSERT_TRUE(falls_asleep(b, *world_));
  at_a->link->close(Status(Code::aborted, "time to wake up"));
  EXPECT_TRUE(is_woken(b, parties_, *world_)) << "by a close";
  ASSERT_TRUE(until([&] { return at_a->closed && at_b->closed; }, "closed at both ends"));
}

TEST_P(Conformance, ASleeperIsWokenByTheEndOfItsPeer) {
  Party& a = add();
  Party& b = add();
  if (world_->has_virtual_clock() || b.transport().wait_descriptor() < 0) GTEST_SKIP() << "nothing to wait on";
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  settle();

  ASSERT_TRUE(falls_asleep(b, *world_));
  destroy(a);

  EXPECT_TRUE(is_woken(b, parties_, *world_));
  ASSERT_TRUE(until([&] { return joined.second->closed; }, "the closed event"));
}

TEST_P(Conformance, ASleeperIsWokenByNotifyAfterASegmentWrite) {
  Party& a = add();
  Party& b = add();
  if (!a.transport().capabilities().has_segment) GTEST_SKIP() << "no segment";
  if (world_->has_virtual_clock() || b.transport().wait_descriptor() < 0) GTEST_SKIP() << "nothing to wait on";
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  settle();

  for (std::uint64_t round = 1; round <= 20; ++round) {
    auto* const ours = reinterpret_cast<std::atomic<std::uint64_t>*>(a.transport().segment());
    auto* const seen = reinterpret_cast<std::atomic<std::uint64_t>*>(joined.second->link->segment());
    ASSERT_TRUE(falls_asleep(b, *world_));
    ours->store(round, std::memory_order_release);
    joined.first->link->notify();
    EXPECT_TRUE(is_woken(b, parties_, *world_)) << "round " << round;
    EXPECT_EQ(seen->load(std::memory_order_acquire), round);
  }
}

TEST_P(Conformance, NoWakeUpIsLostBetweenTwoThreads) {
  Party& a = add();
  Party& b = add();
  if (world_->has_virtual_clock() || a.transport().wait_descriptor() < 0) GTEST_SKIP() << "nothing to wait on";
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  settle();
  constexpr std::uint64_t kRounds = 2'000;

  // Each answers the other's frame k with its own frame k, and sleeps in between, sometimes after a look or two.
  std::atomic<int> overslept{0};
  std::atomic<int> sleeps{0};
  const auto play = [&](Party& party, Line& line, bool begins, std::uint64_t seed) {
    Random random(seed);
    std::uint64_t sent = 0;
    while (sent < kRounds || line.received.size() < kRounds) {
      const std::uint64_t may_send = begins ? line.received.size() + 1 : line.received.size();
      if (sent < std::min(may_send, kRounds)) {
        const SendState state = party.send(line, stream_header(9, sent, 30), stream_payload(9, sent, 30));
        if (state == SendState::closed) return;
        if (state != SendState::again) ++sent;
      }
      std::size_t events = 0;
      for (std::uint64_t look = random.below(4) + 1; look > 0 && events == 0; --look)
        events = party.poll(monotonic_now());
      if (events > 0 || (sent == kRounds && line.received.size() == kRounds)) continue;
      if (!party.transport().prepare_wait()) continue;
      ++sleeps;
      const bool woken = readable(party.transport().wait_descriptor(), kSleepMax_ms);
      party.transport().finish_wait();
      if (!woken && ++overslept > 2) return;
    }
  };
  std::thread other([&] { play(b, *joined.second, false, 2); });
  play(a, *joined.first, true, 1);
  other.join();

  EXPECT_EQ(overslept, 0) << "after " << sleeps << " sleeps";
  ASSERT_EQ(joined.first->received.size(), kRounds);
  ASSERT_EQ(joined.second->received.size(), kRounds);
  for (std::uint64_t k = 0; k < kRounds && !HasFailure(); ++k) {
    expect_frame(*joined.first, k, 9, k, 30);
    expect_frame(*joined.second, k, 9, k, 30);
  }
}

}  // namespace tutti::conformance
