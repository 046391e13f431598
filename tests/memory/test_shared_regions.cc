// Shareable memory: found by address, gone for good once freed, readable through its descriptor, and errors that name
// the limit.
#include "src/memory/shared_regions.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <thread>
#include <vector>

namespace tutti {
namespace {

TEST(SharedRegions, FindsWhatLiesWhollyInsideARegionAndNothingElse) {
  SharedRegions regions;
  EXPECT_FALSE(regions.find(reinterpret_cast<const std::byte*>(&regions), 1));

  std::byte* const a = *regions.allocate(10'000);
  std::byte* const b = *regions.allocate(100);

  const auto inside = regions.find(a + 123, 5000);
  ASSERT_TRUE(inside);
  EXPECT_EQ(inside->offset, 123u);
  EXPECT_EQ(inside->region->base(), a);
  const std::size_t size = inside->region->bytes();
  EXPECT_GE(size, 10'000u);
  EXPECT_TRUE(regions.find(a, size));
  EXPECT_FALSE(regions.find(a, size + 1));
  EXPECT_FALSE(regions.find(a + size - 1, 2));
  EXPECT_FALSE(regions.find(a - 1, 2));
  EXPECT_FALSE(regions.find(a, ~std::size_t{0}));
  EXPECT_NE(regions.find(b, 1)->region->id(), inside->region->id());
  EXPECT_TRUE(regions.free(a).is_ok());
  EXPECT_TRUE(regions.free(b).is_ok());
}

TEST(SharedRegions, IsZeroedPageAlignedAndSealed) {
  SharedRegions regions;
  std::byte* const memory = *regions.allocate(3 << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 4096, 0u);
  for (std::size_t i = 0; i < (3u << 20); i += 4096) ASSERT_EQ(memory[i], std::byte{0});

  const auto found = regions.find(memory, 1);
  const int descriptor = found->region->descriptor();
  EXPECT_NE(ftruncate(descriptor, 1), 0);
  EXPECT_NE(fcntl(descriptor, F_GET_SEALS) & F_SEAL_SHRINK, 0);

  // What is written here is what another mapping of the descriptor shows.
  std::memset(memory, 7, 100);
  void* const other = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, descriptor, 0);
  ASSERT_NE(other, MAP_FAILED);
  EXPECT_EQ(std::memcmp(other, memory, 4096), 0);
  munmap(other, 4096);
  EXPECT_TRUE(regions.free(memory).is_ok());
}

TEST(SharedRegions, FreeingEndsTheIdAndChangesTheSerial) {
  SharedRegions regions;
  std::byte* const memory = *regions.allocate(100);
  const std::uint64_t id = regions.find(memory, 1)->region->id();
  EXPECT_TRUE(regions.contains(id));
  const std::uint64_t serial = regions.serial();

  ASSERT_TRUE(regions.free(memory).is_ok());

  EXPECT_FALSE(regions.contains(id));
  EXPECT_NE(regions.serial(), serial);
  EXPECT_FALSE(regions.find(memory, 1));
  std::byte* const again = *regions.allocate(100);
  EXPECT_NE(regions.find(again, 1)->region->id(), id);
  EXPECT_TRUE(regions.free(again).is_ok());
}

TEST(SharedRegions, WhoHoldsARegionKeepsItsMemory) {
  SharedRegions regions;
  std::byte* const memory = *regions.allocate(100);
  memory[5] = std::byte{9};
  auto held = regions.find(memory, 100);

  ASSERT_TRUE(regions.free(memory).is_ok());

  EXPECT_EQ(held->region->base()[5], std::byte{9});
  struct stat status = {};
  EXPECT_EQ(fstat(held->region->descriptor(), &status), 0);
}

TEST(SharedRegions, RefusesWhatItNeverGaveOut) {
  SharedRegions regions;
  std::byte* const memory = *regions.allocate(100);
  EXPECT_EQ(regions.free(memory + 1).code(), Code::invalid);
  EXPECT_EQ(regions.free(nullptr).code(), Code::invalid);
  EXPECT_TRUE(regions.free(memory).is_ok());
  const Status twice = regions.free(memory);
  EXPECT_EQ(twice.code(), Code::invalid);
  EXPECT_NE(twice.text().find("once"), std::string::npos) << twice.text();
  EXPECT_EQ(regions.allocate(0).status().code(), Code::invalid);
  EXPECT_EQ(regions.allocate(~std::size_t{0}).status().code(), Code::invalid);
}

TEST(SharedRegions, NamesTheLimitOnOpenFiles) {
  SharedRegions regions;
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  const auto refused = regions.allocate(100);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);

  ASSERT_FALSE(refused.is_ok());
  EXPECT_NE(refused.status().text().find("open files limit 3 (RLIMIT_NOFILE)"), std::string::npos)
      << refused.status().text();
  EXPECT_TRUE(regions.allocate(100).is_ok());
}

TEST(SharedRegions, ThreadsAllocateFindAndFreeAtOnce) {
  SharedRegions regions;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&regions, t] {
      for (int round = 0; round < 200; ++round) {
        std::byte* const memory = *regions.allocate(5000);
        memory[0] = static_cast<std::byte>(t);
        const auto found = regions.find(memory + 10, 100);
        ASSERT_TRUE(found);
        ASSERT_EQ(found->region->base(), memory);
        ASSERT_EQ(memory[0], static_cast<std::byte>(t));
        ASSERT_TRUE(regions.free(memory).is_ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(regions.find(reinterpret_cast<const std::byte*>(&regions), 1));
}

}  // namespace
}  // namespace tutti
