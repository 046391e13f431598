// Frames: every size, every alignment, order and exactly-once in both directions, and whose the payload is when.
#include <algorithm>
#include <set>

#include "tests/conformance/conformance.h"

namespace tutti::conformance {

namespace {

// Sizes at and beside every power of two, and beside the transport's own limits.
std::vector<std::size_t> sizes_up_to(std::size_t most, std::size_t copied_bytes_max) {
  std::set<std::size_t> sizes{0, 1, 2, 3, 7, 8, 9, 40, 63, 64, 65, 1000, 4095, 4096, 4097, 100'003, most - 1, most};
  for (std::size_t power = 128; power <= most; power *= 2) sizes.insert({power - 1, power, power + 1});
  sizes.insert({copied_bytes_max, copied_bytes_max + 1});
  if (copied_bytes_max > 0) sizes.insert(copied_bytes_max - 1);
  sizes.erase(sizes.upper_bound(most), sizes.end());
  return {sizes.begin(), sizes.end()};
}

}  // namespace

TEST_P(Conformance, FramesOfEverySizeArriveWhole) {
  Party& a = add();
  Party& b = add();
  const auto [at_a, at_b] = join(a, b);
  ASSERT_NE(at_b, nullptr);
  const auto sizes = sizes_up_to(frame_bytes_max(), a.transport().capabilities().copied_bytes_max);

  for (std::size_t k = 0; k < sizes.size(); ++k) ASSERT_TRUE(send_frame(a, *at_a, 1, k, sizes[k]));
  Line* const there = at_b;
  Line* const here = at_a;
  ASSERT_TRUE(
      until([&] { return there->received.size() == sizes.size() && there->owes_nothing() && here->pending.empty(); },
            "frames of all sizes, and the end of their sends"));

  for (std::size_t k = 0; k < sizes.size(); ++k) expect_frame(*there, k, 1, k, sizes[k]);
}

TEST_P(Conformance, PayloadsMayLieAtAnyAddress) {
  Party& a = add();
  Party& b = add();
  const auto [at_a, at_b] = join(a, b);
  ASSERT_NE(at_b, nullptr);
  Line* const there = at_b;
  std::vector<std::size_t> sizes;

  for (std::size_t skew = 0; skew < 66; ++skew) {
    for (const std::size_t bytes :
         {std::size_t{5}, std::size_t{777}, std::min<std::size_t>(70'001, frame_bytes_max())}) {
      ASSERT_TRUE(send_frame(a, *at_a, 1, sizes.size(), bytes, skew));
      sizes.push_back(bytes);
    }
  }
  ASSERT_TRUE(until([&] { return there->received.size() == sizes.size() && there->owes_nothing(); }, "all frames"));

  for (std::size_t k = 0; k < sizes.size(); ++k) expect_frame(*there, k, 1, k, sizes[k]);
}

TEST_P(Conformance, TenThousandSmallFramesInBothDirectionsKeepTheirOrder) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  Line* const at_a = joined.first;
  Line* const at_b = joined.second;
  ASSERT_NE(at_b, nullptr);
  constexpr std::size_t kFrames = 10'000;
  const auto size_of_frame = [](std::size_t k) { return k % 97; };

  std::size_t from_a = 0;
  std::size_t from_b = 0;
  const auto push = [&](Party& from, Line& line, std::uint64_t stream, std::size_t& next) {
    for (int burst = 0; burst < 64 && next < kFrames; ++burst, ++next) {
      const std::size_t bytes = size_of_frame(next);
      const SendState state =
          from.send(line, stream_header(stream, next, bytes), stream_payload(stream, next, bytes));
      if (state == SendState::again) return;
      ASSERT_NE(state, SendState::closed);
    }
  };
  ASSERT_TRUE(until(
      [&] {
        push(a, *at_a, 1, from_a);
        push(b, *at_b, 2, from_b);
        return at_a->received.size() == kFrames && at_b->received.size() == kFrames && at_a->owes_nothing() &&
               at_b->owes_nothing();
      },
      "10,000 frames in each direction"));
  settle();

  ASSERT_EQ(at_a->received.size(), kFrames) << "frames came twice";
  ASSERT_EQ(at_b->received.size(), kFrames) << "frames came twice";
  for (std::size_t k = 0; k < kFrames && !HasFailure(); ++k) {
    expect_frame(*at_b, k, 1, k, size_of_frame(k));
    expect_frame(*at_a, k, 2, k, size_of_frame(k));
  }
}

TEST_P(Conformance, EveryPendingSendEndsInExactlyOneSentEvent) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  Line* const at_a = joined.first;
  Line* const at_b = joined.second;
  ASSERT_NE(at_b, nullptr);
  const std::size_t big = std::min<std::size_t>(
      {frame_bytes_max(), 200'000, std::max<std::size_t>(1, 4 * a.transport().capabilities().copied_bytes_max)});

  // Party counts the sent events, and overwrites each payload as soon as it may.
  std::uint64_t pending = 0;
  for (std::uint64_t k = 0; k < 60; ++k) {
    const std::size_t before = at_a->next_cookie;
    ASSERT_TRUE(send_frame(a, *at_a, 1, k, k % 3 == 0 ? 20 : big));
    pending += at_a->pending.contains(at_a->next_cookie - 1) ? 1 : 0;
    ASSERT_GT(at_a->next_cookie, before);
  }
  ASSERT_TRUE(until([&] { return at_b->received.size() == 60 && at_b->owes_nothing() && at_a->pending.empty(); },
                    "the end of all sends"));
  settle();

  EXPECT_EQ(at_a->sends_ended, pending);
  EXPECT_EQ(at_a->frames_sent, 60u);
  for (std::uint64_t k = 0; k < 60; ++k) expect_frame(*at_b, k, 1, k, k % 3 == 0 ? 20 : big);
}

TEST_P(Conformance, ASmallCopiedPayloadMayBeOverwrittenAtOnce) {
  Party& a = add();
  Party& b = add();
  const auto joined = join(a, b);
  Line* const at_b = joined.second;
  ASSERT_NE(at_b, nullptr);
  const std::size_t most = std::min(a.transport().capabilities().copied_bytes_max, frame_bytes_max());
  std::vector<std::byte> buffer(most + 1);

  // One buffer for all sends, filled anew each time.
  std::vector<std::size_t> sizes;
  for (std::uint64_t k = 0; k < 200; ++k) {
    const std::size_t bytes = most * k / 199;
    const auto payload = stream_payload(7, k, bytes);
    std::copy(payload.begin(), payload.end(), buffer.begin());
    SendState state = SendState::again;
    ASSERT_TRUE(until(
        [&] {
          state = joined.first->link->send(stream_header(7, k, bytes), buffer.data(), bytes, k);
          return state != SendState::again;
        },
        "room for a small frame"));
    ASSERT_EQ(state, SendState::copied) << bytes << " of " << most << " B";
    std::fill(buffer.begin(), buffer.end(), std::byte{0xAB});
    sizes.push_back(bytes);
  }
  ASSERT_TRUE(until([&] { return at_b->received.size() == sizes.size() && at_b->owes_nothing(); }, "all frames"));

  for (std::size_t k = 0; k < sizes.size(); ++k) expect_frame(*at_b, k, 7, k, sizes[k]);
}

TEST_P(Conformance, OneEventAtATimeLosesNothing) {
  Party& a = add();
  Party& b = add();
  a.batch = 1;
  b.batch = 1;
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);

  for (std::uint64_t k = 0; k < 100; ++k) {
    ASSERT_TRUE(send_frame(a, *joined.first, 1, k, 11 * k));
    ASSERT_TRUE(send_frame(b, *joined.second, 2, k, 7 * k));
    EXPECT_EQ(b.transport().poll({}, world_->now()), 0u) << "events reported into no room";
  }
  ASSERT_TRUE(until(
      [&] {
        return joined.second->received.size() == 100 && joined.first->received.size() == 100 &&
               joined.first->owes_nothing() && joined.second->owes_nothing() && joined.first->pending.empty() &&
               joined.second->pending.empty();
      },
      "all frames, one event a poll"));

  for (std::uint64_t k = 0; k < 100; ++k) {
    expect_frame(*joined.second, k, 1, k, 11 * k);
    expect_frame(*joined.first, k, 2, k, 7 * k);
  }
}

}  // namespace tutti::conformance
