// Sizes as people write them.
#include "perf/tutti-perf/sizes.h"

#include <gtest/gtest.h>

namespace tutti_perf {
namespace {

using Sizes = std::vector<std::uint64_t>;

TEST(Sizes, AreReadWithTheirUnits) {
  EXPECT_EQ(parse_bytes("8"), 8u);
  EXPECT_EQ(parse_bytes("0"), 0u);
  EXPECT_EQ(parse_bytes("64k"), 65536u);
  EXPECT_EQ(parse_bytes("64K"), 65536u);
  EXPECT_EQ(parse_bytes("64KB"), 65536u);
  EXPECT_EQ(parse_bytes("64KiB"), 65536u);
  EXPECT_EQ(parse_bytes("128M"), 128u << 20);
  EXPECT_EQ(parse_bytes("1.5M"), 3u << 19);
  EXPECT_EQ(parse_bytes("2g"), 2ull << 30);
  EXPECT_EQ(parse_bytes("1T"), 1ull << 40);
  EXPECT_EQ(parse_bytes("12B"), 12u);
}

TEST(Sizes, ThatAreNoneAreRefused) {
  for (const char* text :
       {"", "k", "-1", "4x", "4kk", "4 k", "1e3", "nan", "inf", "0.3", "99999999T", "4Mi ", "0x10", " 8"}) {
    EXPECT_FALSE(parse_bytes(text).has_value()) << text;
  }
}

TEST(Sizes, AreShownInTheLargestUnit) {
  EXPECT_EQ(bytes_text(8), "8 B");
  EXPECT_EQ(bytes_text(65536), "64 KiB");
  EXPECT_EQ(bytes_text(3 << 19), "1.5 MiB");
  EXPECT_EQ(bytes_text(1ull << 40), "1 TiB");
}

TEST(Sweep, GoesByAFactorOrByAStep) {
  EXPECT_EQ(sizes_of({8, 64, 2, 0}, 4), (Sizes{8, 16, 32, 64}));
  EXPECT_EQ(sizes_of({8, 100, 2, 0}, 4), (Sizes{8, 16, 32, 64}));
  EXPECT_EQ(sizes_of({100, 400, 2, 100}, 4), (Sizes{100, 200, 300, 400}));
  EXPECT_EQ(sizes_of({64, 64, 2, 0}, 4), (Sizes{64}));
}

TEST(Sweep, RoundsToWholeUnitsWithoutRepeating) {
  // Four ranks, float32: a size is a multiple of 16 bytes and at least one.
  EXPECT_EQ(sizes_of({8, 64, 2, 0}, 16), (Sizes{16, 32, 64}));
  EXPECT_EQ(sizes_of({1, 50, 2, 10}, 12), (Sizes{12, 24, 36}));
}

TEST(Sweep, AlwaysEnds) { EXPECT_EQ(sizes_of({1, 5, 1.0001, 0}, 1), (Sizes{1, 2, 3, 4, 5})); }

}  // namespace
}  // namespace tutti_perf
