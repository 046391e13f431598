// The board for small messages: over plain memory, with one thread and with one thread per member.
#include "src/transport/board.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "src/base/random.h"

namespace tutti {
namespace {

constexpr std::size_t kCapacity = 200;
constexpr std::uint32_t kTag = 7;

// Zeroed memory for the parts of some members, aligned as a segment is.
class Parts {
 public:
  explicit Parts(std::uint32_t members) : lines_(members * kLinesOfAPart) {}

  std::vector<std::byte*> all() {
    std::vector<std::byte*> parts;
    for (std::size_t at = 0; at < lines_.size(); at += kLinesOfAPart) parts.push_back(lines_[at].bytes);
    return parts;
  }

 private:
  struct alignas(Board::kLine) Line {
    std::byte bytes[Board::kLine] = {};
  };
  static constexpr std::size_t kLinesOfAPart = Board::member_bytes(kCapacity) / Board::kLine;
  std::vector<Line> lines_;
};

// Publishes a payload that follows from the member and the sequence; false where there is no room yet.
bool publish(Board& board, std::uint32_t member, std::uint64_t sequence) {
  std::byte* const room = board.begin(sequence);
  if (room == nullptr) return false;
  const auto bytes = static_cast<std::uint32_t>((sequence * 7 + member) % (kCapacity + 1));
  std::memset(room, static_cast<int>((sequence + member) & 0xff), bytes);
  board.publish(sequence, Header{{sequence, member}}, bytes);
  return true;
}

bool is_right(const Board& board, std::uint32_t member, std::uint64_t sequence) {
  const Board::CellHead* const cell = board.peek(member, sequence);
  if (cell == nullptr || cell->header != Header{{sequence, member}}) return false;
  if (cell->bytes != (sequence * 7 + member) % (kCapacity + 1)) return false;
  const std::byte* const payload = board.payload_of(member, sequence);
  for (std::uint32_t i = 0; i < cell->bytes; ++i) {
    if (payload[i] != std::byte((sequence + member) & 0xff)) return false;
  }
  return true;
}

TEST(Board, APublicationIsSeenByEveryMemberAndNoOtherIs) {
  Parts parts(3);
  Board writer(parts.all(), 0, kCapacity, kTag);
  Board reader(parts.all(), 1, kCapacity, kTag);
  Board other(parts.all(), 2, kCapacity, kTag);
  EXPECT_EQ(reader.peek(0, 1), nullptr);

  ASSERT_TRUE(publish(writer, 0, 1));

  EXPECT_TRUE(is_right(reader, 0, 1));
  EXPECT_TRUE(is_right(other, 0, 1));
  EXPECT_EQ(reader.peek(0, 2), nullptr);
  EXPECT_EQ(reader.peek(0, 1 + Board::kCells), nullptr) << "the same cell, a later publication";
  EXPECT_EQ(reader.peek(1, 1), nullptr) << "another member's cell";
}

TEST(Board, ACellIsNotOverwrittenBeforeEveryoneHasConsumedIt) {
  Parts parts(3);
  Board writer(parts.all(), 0, kCapacity, kTag);
  Board fast(parts.all(), 1, kCapacity, kTag);
  Board slow(parts.all(), 2, kCapacity, kTag);
  for (std::uint64_t s = 1; s <= Board::kCells; ++s) ASSERT_TRUE(publish(writer, 0, s));
  const std::uint64_t next = Board::kCells + 1;

  EXPECT_EQ(writer.begin(next), nullptr);
  fast.consume(Board::kCells);
  EXPECT_EQ(writer.begin(next), nullptr) << "one of two has not consumed";
  EXPECT_FALSE(writer.is_consumed(1));
  EXPECT_TRUE(is_right(slow, 0, 1)) << "still there for the slow one";
  slow.consume(1);
  EXPECT_TRUE(writer.is_consumed(1));
  EXPECT_FALSE(writer.is_consumed(2));
  ASSERT_TRUE(publish(writer, 0, next));

  EXPECT_TRUE(is_right(slow, 0, next));
  EXPECT_EQ(slow.peek(0, 1), nullptr);
  EXPECT_EQ(writer.begin(next + 1), nullptr) << "consumed only up to 1";
}

TEST(Board, SequencesMayHaveGaps) {
  Parts parts(2);
  Board writer(parts.all(), 0, kCapacity, kTag);
  Board reader(parts.all(), 1, kCapacity, kTag);

  // 3 and 103 share a cell when kCells divides 100.
  static_assert(100 % Board::kCells == 0);
  ASSERT_TRUE(publish(writer, 0, 3));
  EXPECT_EQ(writer.begin(103), nullptr);
  reader.consume(2);
  EXPECT_EQ(writer.begin(103), nullptr);
  reader.consume(3);
  ASSERT_TRUE(publish(writer, 0, 103));

  EXPECT_TRUE(is_right(reader, 0, 103));
  EXPECT_EQ(reader.peek(0, 3), nullptr);
  EXPECT_NE(writer.begin(104), nullptr) << "a cell that was never used";
}

TEST(Board, ANotedConsumptionSavesTheLook) {
  Parts parts(2);
  Board writer(parts.all(), 0, kCapacity, kTag);
  ASSERT_TRUE(publish(writer, 0, 1));
  EXPECT_FALSE(writer.is_consumed(1));

  writer.note_consumed(1, 1);
  EXPECT_TRUE(writer.is_consumed(1));
  writer.note_consumed(1, 0);
  EXPECT_TRUE(writer.is_consumed(1)) << "what is known to be consumed stays so";
}

// Found by test_simulation (seed 81278): a member that slept while the others left it behind took what they had
// reached in their next communicator for what they had reached in this one, and a result for certain that was none.
TEST(Board, WhatIsReachedOnAnotherBoardInTheSameMemoryIsNothingReached) {
  Parts parts(2);
  Board late(parts.all(), 0, kCapacity, kTag);
  Board other(parts.all(), 1, kCapacity, kTag);
  late.reach(5);
  EXPECT_EQ(late.least_reached(), 0u);
  other.reach(4);
  EXPECT_EQ(late.least_reached(), 4u);

  Board next(parts.all(), 1, kCapacity, kTag + 2);
  next.reach(7);

  EXPECT_EQ(next.reached(1), 7u);
  EXPECT_EQ(late.reached(1), 0u);
  EXPECT_EQ(late.least_reached(), 0u);
}

TEST(Board, AMemberAloneNeverWaits) {
  Parts parts(1);
  Board board(parts.all(), 0, kCapacity, kTag);
  for (std::uint64_t s = 1; s <= 20; ++s) {
    ASSERT_TRUE(publish(board, 0, s));
    EXPECT_TRUE(is_right(board, 0, s));
  }
}

TEST(Board, CapacityAndMemoryAreWholeLines) {
  Parts parts(1);
  const Board board(parts.all(), 0, kCapacity, kTag);
  EXPECT_EQ(board.capacity(), 256u);
  EXPECT_EQ(Board::member_bytes(0), Board::kLine * (1 + Board::kCells));
  EXPECT_EQ(Board::member_bytes(1), Board::member_bytes(64));
  EXPECT_EQ(Board::member_bytes(65) - Board::member_bytes(64), Board::kCells * Board::kLine);
}

TEST(Board, MembersOnThreadsOfTheirOwnSeeWholePublications) {
  constexpr std::uint32_t kMembers = 3;
  constexpr std::uint64_t kRounds = 20'000;
  Parts parts(kMembers);
  std::vector<std::uint64_t> wrong(kMembers, 0);
  const auto member = [&](std::uint32_t self) {
    Board board(parts.all(), self, kCapacity, kTag);
    for (std::uint64_t s = 1; s <= kRounds; ++s) {
      while (!publish(board, self, s)) std::this_thread::yield();
      for (std::uint32_t other = 0; other < kMembers; ++other) {
        while (board.peek(other, s) == nullptr) std::this_thread::yield();
        wrong[self] += is_right(board, other, s) ? 0 : 1;
      }
      board.consume(s);
    }
  };

  std::vector<std::thread> threads;
  for (std::uint32_t m = 0; m < kMembers; ++m) threads.emplace_back(member, m);
  for (auto& thread : threads) thread.join();

  for (std::uint32_t m = 0; m < kMembers; ++m) EXPECT_EQ(wrong[m], 0u) << "member " << m;
}

}  // namespace
}  // namespace tutti
