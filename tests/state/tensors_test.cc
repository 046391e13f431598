// Tensors, their chunks and their hashes.
#include "src/state/tensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "src/base/random.h"
#include "src/state/state_chunks.h"

namespace tutti {
namespace {

Tensor tensor(std::vector<std::byte>& memory, std::size_t from, std::size_t bytes) {
  return {memory.data() + from, bytes, DataType::uint8};
}

TEST(StateTensors, MistakesAreRefusedAndChangeNothing) {
  std::vector<std::byte> memory(100);
  Tensors tensors;
  ASSERT_TRUE(tensors.add("a", tensor(memory, 10, 20)).is_ok());
  const auto refused = [&](const Status& status, const std::string& part) {
    EXPECT_EQ(status.code(), Code::invalid);
    EXPECT_NE(status.text().find(part), std::string::npos) << status.text();
    EXPECT_EQ(tensors.all().size(), 1u);
    EXPECT_EQ(tensors.bytes(), 20u);
    EXPECT_EQ(tensors.all().at("a").memory, memory.data() + 10);
  };
  refused(tensors.add("", tensor(memory, 50, 1)), "empty");
  refused(tensors.add(std::string(4097, 'n'), tensor(memory, 50, 1)), "4097 bytes");
  refused(tensors.add("a", tensor(memory, 50, 1)), "already");
  refused(tensors.add("b", {nullptr, 1, DataType::uint8}), "NULL");
  refused(tensors.add("b", {memory.data(), std::uint64_t{1} << 62, DataType::float64}), "address space");
  refused(tensors.move("b", memory.data()), "no tensor b");
  refused(tensors.move("a", nullptr), "NULL");
  refused(tensors.remove("b"), "no tensor b");
  for (const auto& [from, bytes] : {std::pair{0, 11}, {29, 5}, {10, 20}, {15, 2}, {0, 100}})
    refused(tensors.add("b", tensor(memory, static_cast<std::size_t>(from), static_cast<std::size_t>(bytes))),
            "shares memory with tensor a");
}

TEST(StateTensors, NeighboursEmptyOnesAndMovesAreAllowed) {
  std::vector<std::byte> memory(100);
  Tensors tensors;
  ASSERT_TRUE(tensors.add("a", tensor(memory, 10, 20)).is_ok());
  ASSERT_TRUE(tensors.add("before", tensor(memory, 0, 10)).is_ok());
  ASSERT_TRUE(tensors.add("after", tensor(memory, 30, 10)).is_ok());
  ASSERT_TRUE(tensors.add("empty", {nullptr, 0, DataType::float32}).is_ok());
  ASSERT_TRUE(tensors.add("inside", {memory.data() + 15, 0, DataType::float32}).is_ok());
  ASSERT_TRUE(tensors.move("a", memory.data() + 70).is_ok());
  ASSERT_TRUE(tensors.move("a", memory.data() + 71).is_ok());  // also to where it was partly itself
  ASSERT_TRUE(tensors.move("empty", nullptr).is_ok());
  ASSERT_TRUE(tensors.add("in its old place", tensor(memory, 10, 20)).is_ok());
  EXPECT_EQ(tensors.move("a", memory.data() + 25).code(), Code::invalid);
  EXPECT_EQ(tensors.all().at("a").memory, memory.data() + 71);
  ASSERT_TRUE(tensors.remove("before").is_ok());
  ASSERT_TRUE(tensors.add("before", tensor(memory, 0, 10)).is_ok());
  EXPECT_EQ(tensors.bytes(), 60u);
}

TEST(StateChunks, CoverEveryByteOnceAndTheLargeGoByThemselves) {
  constexpr std::uint64_t kChunk = 64;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    std::vector<std::byte> memory(20'000);
    Tensors tensors;
    std::size_t at = 0;
    for (int i = 0; i < 60; ++i) {
      const std::size_t bytes = random.below(random.below(4) == 0 ? 300 : 40);
      ASSERT_TRUE(tensors.add(std::to_string(random.next()), tensor(memory, at, bytes)).is_ok());
      at += bytes;
    }
    const StateChunks chunks(tensors, kChunk);
    std::vector<int> covered(at, 0);
    std::uint64_t total = 0;
    for (std::uint32_t chunk = 0; chunk < chunks.count(); ++chunk) {
      std::uint64_t bytes = 0;
      ASSERT_FALSE(chunks.pieces(chunk).empty());
      const bool is_large = tensors.all().at(chunks.tensor(chunk)).bytes() >= kChunk;
      EXPECT_TRUE(!is_large || chunks.pieces(chunk).size() == 1);
      for (const Piece& piece : chunks.pieces(chunk)) {
        ASSERT_GT(piece.bytes, 0u);
        bytes += piece.bytes;
        for (std::uint64_t i = 0; i < piece.bytes; ++i)
          ++covered[static_cast<std::size_t>(piece.memory - memory.data()) + i];
      }
      EXPECT_EQ(bytes, chunks.bytes(chunk));
      EXPECT_LE(bytes, kChunk);
      total += bytes;
    }
    EXPECT_EQ(total, at);
    EXPECT_EQ(std::count(covered.begin(), covered.end(), 1), static_cast<std::ptrdiff_t>(at));
  }
}

TEST(StateContent, TheHashIsThatOfTheBytesHoweverTheyAreCutAndChangesWithEachBit) {
  std::vector<std::byte> memory(5000);
  Random random(3);
  for (std::byte& b : memory) b = static_cast<std::byte>(random.next());
  const Digest whole = digest_of(std::span<const std::byte>(memory));
  for (int i = 0; i < 50; ++i) {
    std::vector<Piece> pieces;
    for (std::size_t at = 0; at < memory.size();) {
      const std::size_t bytes = std::min(1 + random.below(900), memory.size() - at);
      pieces.push_back({memory.data() + at, bytes});
      at += bytes;
    }
    EXPECT_EQ(digest_of(pieces), whole);
    std::vector<std::byte> copy(memory.size());
    copy_out(pieces, copy.data());
    EXPECT_EQ(copy, memory);
    std::vector<std::byte> back(memory.size());
    for (Piece& piece : pieces) piece.memory = back.data() + (piece.memory - memory.data());
    copy_in(pieces, copy.data());
    EXPECT_EQ(back, memory);
  }
  for (std::size_t bit = 0; bit < 8 * memory.size(); bit += 977) {
    memory[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_NE(digest_of(std::span<const std::byte>(memory)), whole);
    memory[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

}  // namespace
}  // namespace tutti
