// Flow: a receiver that does not poll, or holds deliveries, or fetches late, stops its sender and no one else.
#include <algorithm>

#include "tests/conformance/conformance.h"

namespace tutti::conformance {

TEST_P(Conformance, AReceiverThatDoesNotPollStopsTheSenderAndRecovers) {
  Party& a = add();
  Party& b = add();
  Party& c = add();
  const auto joined = join(a, b);
  const auto other = join(a, c);
  ASSERT_NE(joined.second, nullptr);
  ASSERT_NE(other.second, nullptr);
  const std::size_t bytes = std::min<std::size_t>(4096, frame_bytes_max());
  constexpr std::uint64_t kFramesMax = 16'384;  // 64 MiB: more than anybody should take for one who does not read
  const auto payload = stream_payload(1, 0, bytes);

  // Nobody polls b; a goes on polling, and its other link goes on working.
  std::uint64_t taken = 0;
  int refusals = 0;
  while (taken < kFramesMax && refusals < 50) {
    const SendState state = a.send(*joined.first, stream_header(1, taken, bytes), payload);
    ASSERT_NE(state, SendState::closed);
    if (state == SendState::again) {
      ++refusals;
      a.poll(world_->now());
      world_->rest();
    } else {
      ++taken;
      refusals = 0;
    }
  }
  ASSERT_LT(taken, kFramesMax) << "64 MiB were taken for a receiver that never polled";
  const auto b_party = std::find_if(parties_.begin(), parties_.end(), [&](const auto& p) { return p.get() == &b; });
  std::unique_ptr<Party> aside = std::move(*b_party);
  parties_.erase(b_party);
  expect_talks(a, *other.first, c, *other.second);
  parties_.push_back(std::move(aside));

  // b wakes: all that was taken comes, and then more.
  const std::uint64_t total = taken + 100;
  for (; taken < total; ++taken)
    ASSERT_TRUE(until(
        [&, index = taken] {
          return a.send(*joined.first, stream_header(1, index, bytes), payload) != SendState::again;
        },
        "room again"));
  ASSERT_TRUE(until(
      [&] {
        return joined.second->received.size() == total && joined.second->owes_nothing() &&
               joined.first->pending.empty();
      },
      "everything that was taken"));
  for (std::uint64_t k = 0; k < total && !HasFailure(); ++k) {
    EXPECT_EQ(joined.second->received[k].header, stream_header(1, k, bytes));
    EXPECT_TRUE(joined.second->received[k].payload == payload) << "frame " << k;
  }
}

TEST_P(Conformance, HeldDeliveriesKeepTheirDataAndMayBeReleasedInAnyOrder) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  Line* const at_b = joined.second;
  ASSERT_NE(at_b, nullptr);
  b.taste = [](const Line&, const Event&) { return Take::hold; };
  Random random(test_seed());
  constexpr std::uint64_t kFrames = 600;
  const auto size_of_frame = [&](std::uint64_t k) {
    return std::min<std::size_t>((k * 2654435761u) % 9000, frame_bytes_max());
  };

  std::uint64_t next = 0;
  ASSERT_TRUE(until(
      [&] {
        while (next < kFrames) {
          const std::size_t bytes = size_of_frame(next);
          const SendState state =
              a.send(*joined.first, stream_header(1, next, bytes), stream_payload(1, next, bytes));
          if (state != SendState::copied && state != SendState::pending) break;
          ++next;
        }
        // Up to twelve are held for long, and any of them may be the next to go.
        while (at_b->held.size() > 12 || (!at_b->held.empty() && random.chance(0.1))) {
          b.release_held(*at_b, random.below(at_b->held.size()));
        }
        return next == kFrames && at_b->received.size() == kFrames;
      },
      "all frames, with some held"));
  b.release_all(*at_b);
  ASSERT_TRUE(until([&] { return at_b->owes_nothing() && joined.first->pending.empty(); }, "the last sends"));

  for (std::uint64_t k = 0; k < kFrames; ++k) expect_frame(*at_b, k, 1, k, size_of_frame(k));
}

TEST_P(Conformance, AReceiverThatHoldsEverythingStopsTheSenderUntilItReleases) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  Line* const at_b = joined.second;
  ASSERT_NE(at_b, nullptr);
  b.taste = [](const Line&, const Event&) { return Take::hold; };
  const std::size_t bytes = std::min<std::size_t>(8192, frame_bytes_max());
  constexpr std::uint64_t kFrames = 2'000;

  // Nothing is released until nothing moves; then everything is, backwards.
  std::uint64_t next = 0;
  int quiet = 0;
  int stops = 0;
  ASSERT_TRUE(until(
      [&] {
        const std::size_t had = at_b->received.size();
        const std::uint64_t from = next;
        while (next < kFrames) {
          const SendState state =
              a.send(*joined.first, stream_header(1, next, bytes), stream_payload(1, next, bytes));
          if (state != SendState::copied && state != SendState::pending) break;
          ++next;
        }
        pump();
        quiet = at_b->received.size() == had && next == from ? quiet + 1 : 0;
        if (quiet > 100) {
          quiet = 0;
          ++stops;
          b.release_all(*at_b);
        }
        return at_b->received.size() == kFrames && at_b->fetching.empty();
      },
      "all frames, with everything held"));
  b.release_all(*at_b);
  ASSERT_TRUE(until([&] { return joined.first->pending.empty(); }, "the last sends"));

  for (std::uint64_t k = 0; k < kFrames && !HasFailure(); ++k) expect_frame(*at_b, k, 1, k, bytes);
  RecordProperty("stops", stops);
}

TEST_P(Conformance, HoldingAsMuchAsIsAllowedDoesNotStopTheSender) {
  const std::uint32_t may_hold = add().transport().capabilities().held_frames_max;
  ASSERT_LE(may_hold, 4096u);
  for (const std::size_t wanted : {std::size_t{100}, (std::size_t{512} << 10) / std::max(may_hold, 1u)}) {
    parties_.clear();
    Party& a = add();
    Party& b = add();
    const auto joined = join(a, b);
    Line* const at_b = joined.second;
    ASSERT_NE(at_b, nullptr);
    const std::size_t bytes = std::min(wanted, frame_bytes_max());
    const auto held_not_in_place = [](const Line& line) {
      return static_cast<std::uint32_t>(
          std::count_if(line.held.begin(), line.held.end(), [](const auto& held) { return !held.event.in_place; }));
    };
    b.taste = [&](const Line& line, const Event& event) {
      return !event.in_place && held_not_in_place(line) < may_hold ? Take::hold : Take::copy;
    };

    // The first ones are held for good; all the others pass by them.
    constexpr std::uint64_t kFrames = 400;
    for (std::uint64_t k = 0; k < kFrames; ++k) ASSERT_TRUE(send_frame(a, *joined.first, 1, k, bytes));
    ASSERT_TRUE(until(
        [&] { return at_b->received.size() == kFrames && at_b->fetching.empty() && joined.first->pending.empty(); },
        "all frames, past those that are held"));

    b.release_all(*at_b);
    for (std::uint64_t k = 0; k < kFrames; ++k) expect_frame(*at_b, k, 1, k, bytes);
  }
}

TEST_P(Conformance, AFetchMayComeLate) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  Line* const at_b = joined.second;
  ASSERT_NE(at_b, nullptr);
  b.taste = [](const Line&, const Event&) { return Take::fetch_later; };
  const std::vector<std::size_t> sizes{100, 5'000, 0, 70'000, 300'000, 64, 1'000'000, 20'000, 9, 300'000};

  int turns_waited = 0;
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    const std::size_t bytes = std::min(sizes[k], frame_bytes_max());
    const auto payload = stream_payload(1, k, bytes);
    ASSERT_TRUE(until(
        [&] {
          if (!at_b->unfetched.empty() && ++turns_waited % 10 == 0) b.fetch_now(*at_b, 0);
          return a.send(*joined.first, stream_header(1, k, bytes), payload) != SendState::again;
        },
        "room for a frame"));
  }
  ASSERT_TRUE(until(
      [&] {
        if (!at_b->unfetched.empty() && ++turns_waited % 10 == 0) b.fetch_now(*at_b, at_b->unfetched.size() - 1);
        return at_b->received.size() == sizes.size() && at_b->owes_nothing() && joined.first->pending.empty();
      },
      "all frames, fetched late"));

  for (std::size_t k = 0; k < sizes.size(); ++k) expect_frame(*at_b, k, 1, k, std::min(sizes[k], frame_bytes_max()));
}

TEST_P(Conformance, ADeliveryMayBeReleasedWithoutALook) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  Line* const at_b = joined.second;
  ASSERT_NE(at_b, nullptr);
  b.taste = [](const Line& line, const Event&) { return line.received.size() % 2 == 0 ? Take::drop : Take::copy; };
  const std::vector<std::size_t> sizes{10, 20, 100'000, 400'000, 0, 3, 1'000'000, 999'999, 70'000, 70'000, 8, 50'000};

  // received counts the delivery itself, so the frames with an even number are copied.
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    ASSERT_TRUE(send_frame(a, *joined.first, 1, k, std::min(sizes[k], frame_bytes_max())));
  }
  ASSERT_TRUE(until(
      [&] { return at_b->received.size() == sizes.size() && at_b->owes_nothing() && joined.first->pending.empty(); },
      "all frames, every other one dropped"));

  for (std::size_t k = 0; k < sizes.size(); ++k) {
    EXPECT_EQ(at_b->received[k].index(), k);
    if (k % 2 == 0) expect_frame(*at_b, k, 1, k, std::min(sizes[k], frame_bytes_max()));
  }
}

}  // namespace tutti::conformance
