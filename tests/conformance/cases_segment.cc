// Segments: what a process writes into its own, its peers see; and boards work over them.
#include <algorithm>
#include <cstring>

#include "src/transport/board.h"
#include "tests/conformance/conformance.h"

namespace tutti::conformance {

TEST_P(Conformance, ASegmentIsZeroAtFirstAndSeenByThePeer) {
  Party& a = add();
  Party& b = add();
  if (!a.transport().capabilities().has_segment) {
    EXPECT_EQ(a.transport().segment(), nullptr);
    EXPECT_EQ(a.transport().segment_bytes(), 0u);
    const auto joined = join(a, b);
    ASSERT_NE(joined.second, nullptr);
    EXPECT_EQ(joined.first->link->segment(), nullptr);
    joined.first->link->notify();
    return;
  }
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  const std::size_t bytes = a.transport().segment_bytes();
  std::byte* const own = a.transport().segment();
  std::byte* const seen = joined.second->link->segment();
  ASSERT_NE(own, nullptr);
  ASSERT_NE(seen, nullptr);
  ASSERT_GT(bytes, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(own) % Board::kLine, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(seen) % Board::kLine, 0u);
  EXPECT_TRUE(std::all_of(seen, seen + bytes, [](std::byte x) { return x == std::byte{0}; })) << "not zero at first";

  const auto pattern = stream_payload(1, 0, bytes);
  std::memcpy(own, pattern.data(), bytes);
  EXPECT_EQ(std::memcmp(seen, pattern.data(), bytes), 0);
  const auto other = stream_payload(2, 0, bytes);
  std::memcpy(b.transport().segment(), other.data(), bytes);
  EXPECT_EQ(std::memcmp(joined.first->link->segment(), other.data(), bytes), 0);
  EXPECT_EQ(std::memcmp(seen, pattern.data(), bytes), 0) << "two processes share one segment";

  // Frames and segments do not disturb each other.
  for (std::uint64_t k = 0; k < 100; ++k) ASSERT_TRUE(send_frame(a, *joined.first, 3, k, 100 * k));
  ASSERT_TRUE(
      until([&] { return joined.second->received.size() == 100 && joined.second->owes_nothing(); }, "100 frames"));
  for (std::uint64_t k = 0; k < 100; ++k) expect_frame(*joined.second, k, 3, k, 100 * k);
  EXPECT_EQ(std::memcmp(seen, pattern.data(), bytes), 0);
}

TEST_P(Conformance, ASegmentStaysReadableAfterItsOwnerHasGone) {
  Party& a = add();
  Party& b = add();
  if (!a.transport().capabilities().has_segment) GTEST_SKIP() << "no segment";
  const auto joined = join(a, b);
  ASSERT_NE(joined.second, nullptr);
  const std::size_t bytes = a.transport().segment_bytes();
  const auto pattern = stream_payload(1, 0, bytes);
  std::memcpy(a.transport().segment(), pattern.data(), bytes);
  const std::byte* const seen = joined.second->link->segment();

  destroy(a);
  ASSERT_TRUE(until([&] { return joined.second->closed; }, "the closed event"));

  EXPECT_EQ(joined.second->link->segment(), seen);
  EXPECT_EQ(std::memcmp(seen, pattern.data(), bytes), 0);
  b.forget(*joined.second);
}

TEST_P(Conformance, ABoardWorksOverSegments) {
  if (!add().transport().capabilities().has_segment) GTEST_SKIP() << "no segment";
  constexpr std::size_t kCapacity = 500;
  Random random(test_seed());

  for (const std::uint32_t members : {2u, 4u}) {
    parties_.clear();
    for (std::uint32_t m = 0; m < members; ++m) add();
    std::vector<std::vector<std::byte*>> parts(members, std::vector<std::byte*>(members));
    for (std::uint32_t i = 0; i < members; ++i) {
      ASSERT_GE(parties_[i]->transport().segment_bytes(), Board::member_bytes(kCapacity));
      parts[i][i] = parties_[i]->transport().segment();
      for (std::uint32_t j = i + 1; j < members; ++j) {
        const auto joined = join(*parties_[i], *parties_[j]);
        ASSERT_NE(joined.second, nullptr);
        parts[i][j] = joined.first->link->segment();
        parts[j][i] = joined.second->link->segment();
      }
    }
    std::vector<Board> boards;
    for (std::uint32_t m = 0; m < members; ++m) boards.emplace_back(parts[m], m, kCapacity, 1);

    // Everyone publishes and reads at its own pace; many more publications than there are cells.
    constexpr std::uint64_t kLast = 200;
    std::vector<std::uint64_t> published(members, 0);
    std::vector<std::uint64_t> consumed(members, 0);
    int refused = 0;
    for (std::uint64_t step = 0; step < 1'000'000 && *std::min_element(consumed.begin(), consumed.end()) < kLast;
         ++step) {
      const auto m = static_cast<std::uint32_t>(random.below(members));
      const std::uint64_t next = published[m] + 1;
      if (next <= kLast && next <= consumed[m] + Board::kCells && random.chance(0.7)) {
        if (std::byte* const room = boards[m].begin(next)) {
          const auto payload = stream_payload(m, next, next * 13 % (kCapacity + 1));
          std::copy(payload.begin(), payload.end(), room);
          boards[m].publish(next, stream_header(m, next, payload.size()), static_cast<std::uint32_t>(payload.size()));
          published[m] = next;
        } else {
          ++refused;
        }
      }
      const std::uint64_t wanted = consumed[m] + 1;
      if (wanted > published[m]) continue;
      bool all_there = true;
      for (std::uint32_t other = 0; other < members; ++other) {
        all_there = all_there && boards[m].peek(other, wanted) != nullptr;
      }
      if (!all_there) continue;
      for (std::uint32_t other = 0; other < members; ++other) {
        const auto* const cell = boards[m].peek(other, wanted);
        const auto expected = stream_payload(other, wanted, wanted * 13 % (kCapacity + 1));
        ASSERT_EQ(cell->bytes, expected.size());
        ASSERT_EQ(cell->header, stream_header(other, wanted, expected.size()));
        ASSERT_EQ(std::memcmp(boards[m].payload_of(other, wanted), expected.data(), expected.size()), 0);
      }
      boards[m].consume(wanted);
      consumed[m] = wanted;
    }
    for (std::uint32_t m = 0; m < members; ++m) EXPECT_EQ(consumed[m], kLast) << "member " << m;
    EXPECT_GT(refused, 0) << "no cell was ever in use when its turn came: the case shows too little";
  }
}

}  // namespace tutti::conformance
