// KeptInput: in whatever pieces and how often something is overwritten, all of it comes back, and nothing else.
#include "src/engine/kept_input.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "src/base/random.h"

namespace tutti {
namespace {

TEST(KeptInput, WhateverIsOverwrittenComesBackAndNothingElse) {
  KeptInput kept;  // one for all, as an operation is used again
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    Random random(seed);
    std::vector<std::byte> memory(3000);
    for (std::byte& byte : memory) byte = static_cast<std::byte>(random.below(256));
    const std::size_t begin = random.below(1000);
    const std::size_t bytes = 1 + random.below(memory.size() - begin);
    std::vector<std::byte> expected = memory;
    kept.begin(memory.data() + begin, bytes);
    for (std::uint64_t writes = random.below(40); writes > 0; --writes) {
      const std::size_t at = random.below(memory.size());
      const std::size_t length =
          random.below(std::min<std::size_t>(memory.size() - at, seed % 2 == 0 ? 60 : 3000) + 1);
      kept.before_write(memory.data() + at, length);
      for (std::size_t i = at; i < at + length; ++i) {
        memory[i] = static_cast<std::byte>(random.below(256));
        if (i < begin || i >= begin + bytes) expected[i] = memory[i];
      }
    }
    if (seed % 3 != 0) {
      kept.restore();
      ASSERT_TRUE(memory == expected) << "seed " << seed;
    }
    kept.end();
    EXPECT_FALSE(kept.is_active());
  }
}

TEST(KeptInput, WithoutAnOperationThereIsNothingToRestore) {
  KeptInput kept;
  std::vector<std::byte> memory(10, std::byte{1});
  kept.begin(memory.data(), memory.size());
  kept.before_write(memory.data(), 10);
  kept.end();
  memory.assign(10, std::byte{2});
  kept.restore();
  EXPECT_EQ(memory, std::vector<std::byte>(10, std::byte{2}));
}

}  // namespace
}  // namespace tutti
