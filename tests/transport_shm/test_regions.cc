// Frames out of shareable memory: read in place, and what happens when the memory is freed or the sender goes.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/transport_shm/node.h"

namespace tutti::shm_test {
namespace {

// How many mappings of memory regions this process has.
std::size_t count_mapped_regions() {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    // The receiver maps without write access.
    if (line.find("tutti-region") != std::string::npos && line.find(" r--s ") != std::string::npos) ++count;
  }
  return count;
}

struct Pair {
  Node a{1};
  Node b{2};
  Link* link = a.join(b);
  std::vector<Event> held;

  Pair() {
    b.on_delivery = [this](const Event& event) { held.push_back(event); };
  }
  bool until(const std::function<bool()>& condition) {
    return a.until([&] {
      b.poll();
      return condition();
    });
  }
  void release_all() {
    for (const Event& event : held) event.link->release(event.token);
    held.clear();
  }
};

TEST(ShmRegions, AreReadInPlaceAndSentIsSaidAfterTheRelease) {
  Pair pair;
  std::byte* const memory = *pair.a.regions.allocate(1 << 20);
  std::memset(memory, 5, 1 << 20);

  ASSERT_EQ(pair.link->send(header_of(1), memory + 1000, 100'000, 9), SendState::pending);
  EXPECT_FALSE(pair.link->is_drained());
  ASSERT_TRUE(pair.until([&] { return pair.held.size() == 1; }));
  const Event event = pair.held[0];
  EXPECT_TRUE(event.in_place);
  EXPECT_FALSE(event.transient);
  ASSERT_NE(event.data, nullptr);
  EXPECT_EQ(event.data[99'999], std::byte{5});
  memory[1000] = std::byte{6};
  EXPECT_EQ(event.data[0], std::byte{6});  // the same memory
  for (int i = 0; i < 1000; ++i) pair.a.poll();
  EXPECT_EQ(pair.a.sent, 0u);

  pair.release_all();
  EXPECT_TRUE(pair.until([&] { return pair.a.sent == 1; }));
  EXPECT_TRUE(pair.link->is_drained());
}

TEST(ShmRegions, AreUnmappedByThePeerOnceFreedAndNoLongerHeld) {
  Pair pair;
  std::byte* const memory = *pair.a.regions.allocate(1 << 20);
  std::memset(memory, 5, 1 << 20);
  ASSERT_EQ(pair.link->send(header_of(1), memory, 50'000, 9), SendState::pending);
  ASSERT_TRUE(pair.until([&] { return pair.held.size() == 1; }));
  EXPECT_EQ(count_mapped_regions(), 1u);

  // Freed too early: the peer still reads what it holds.
  ASSERT_TRUE(pair.a.regions.free(memory).is_ok());
  for (int i = 0; i < 2000; ++i) {
    pair.a.poll();
    pair.b.poll();
  }
  EXPECT_EQ(pair.held[0].data[49'999], std::byte{5});
  EXPECT_EQ(count_mapped_regions(), 1u);

  pair.release_all();
  EXPECT_TRUE(pair.until([&] { return count_mapped_regions() == 0; }));
  EXPECT_TRUE(pair.a.closed.empty());
  EXPECT_TRUE(pair.b.closed.empty());
}

TEST(ShmRegions, ComeAndGoManyTimesAtTheSameAddress) {
  Pair pair;
  for (int round = 0; round < 100; ++round) {
    std::byte* const memory = *pair.a.regions.allocate(200'000);
    std::memset(memory, round, 200'000);
    ASSERT_EQ(pair.link->send(header_of(1), memory, 150'000, 9), SendState::pending);
    ASSERT_TRUE(pair.until([&] { return pair.held.size() == 1; }));
    ASSERT_EQ(pair.held[0].data[149'999], static_cast<std::byte>(round));
    pair.release_all();
    ASSERT_TRUE(pair.until([&] { return pair.link->is_drained(); }));
    ASSERT_TRUE(pair.a.regions.free(memory).is_ok());
  }
  EXPECT_TRUE(pair.until([&] { return count_mapped_regions() == 0; }));
}

TEST(ShmRegions, AFrameWhoseSenderClosedIsNotDelivered) {
  Pair pair;
  std::byte* const memory = *pair.a.regions.allocate(200'000);
  ASSERT_EQ(pair.link->send(header_of(1), nullptr, 0, 0), SendState::copied);
  ASSERT_EQ(pair.link->send(header_of(2), memory, 150'000, 9), SendState::pending);

  pair.link->close(Status(Code::aborted, "changed its mind"));
  std::memset(memory, 0xee, 200'000);
  ASSERT_TRUE(pair.until([&] { return pair.a.closed.size() == 1 && pair.b.closed.size() == 1; }));

  // What was copied came; what lay in memory that its owner may have overwritten did not.
  ASSERT_EQ(pair.held.size(), 1u);
  EXPECT_EQ(pair.held[0].header.words[0], 1u);
  pair.release_all();
}

TEST(ShmRegions, HeldDataStaysReadableAfterItsSenderIsGone) {
  auto a = std::make_unique<Node>(1);
  Node b(2);
  std::vector<Event> held;
  b.on_delivery = [&](const Event& event) { held.push_back(event); };
  Link* const link = a->join(b);
  std::byte* const memory = *a->regions.allocate(200'000);
  std::memset(memory, 3, 200'000);
  ASSERT_EQ(link->send(header_of(1), memory, 150'000, 9), SendState::pending);
  ASSERT_TRUE(b.until([&] { return held.size() == 1; }));

  a.reset();
  ASSERT_TRUE(b.until([&] { return b.closed.size() == 1; }));

  EXPECT_EQ(held[0].data[149'999], std::byte{3});
  b.closed[0]->release(held[0].token);
  b.transport->forget(b.closed[0]);
  EXPECT_EQ(count_mapped_regions(), 0u);
}

}  // namespace
}  // namespace tutti::shm_test
