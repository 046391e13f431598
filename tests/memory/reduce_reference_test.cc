// The reference itself, and the parts of the contract that are worth stating as examples; through `reduce` too, so
// that each example is a test of both.
#include "src/memory/reduce_reference.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace tutti {
namespace {

template <typename T>
T folded(const Reduction& reduction, const std::vector<T>& operands) {
  std::vector<const std::byte*> sources;
  for (const T& operand : operands) sources.push_back(reinterpret_cast<const std::byte*>(&operand));
  T expected{};
  T result{};
  reduce_reference(reduction, reinterpret_cast<std::byte*>(&expected), sources, 1);
  reduce(reduction, reinterpret_cast<std::byte*>(&result), sources, 1);
  EXPECT_EQ(std::memcmp(&expected, &result, sizeof(T)), 0);
  return result;
}

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }
std::uint64_t bits(double value) { return std::bit_cast<std::uint64_t>(value); }

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(ReduceContract, IntegersWrap) {
  EXPECT_EQ((folded<std::int8_t>({DataType::int8, ReduceOp::sum}, {127, 1})), -128);
  EXPECT_EQ((folded<std::int16_t>({DataType::int16, ReduceOp::product}, {-32768, -1})), -32768);
  EXPECT_EQ((folded<std::uint16_t>({DataType::uint16, ReduceOp::product}, {0xffff, 0xffff})), 1);
  EXPECT_EQ((folded<std::int32_t>({DataType::int32, ReduceOp::sum}, {2147483647, 2147483647})), -2);
  const std::int64_t smallest = std::numeric_limits<std::int64_t>::min();
  EXPECT_EQ((folded<std::int64_t>({DataType::int64, ReduceOp::product}, {smallest, -1})), smallest);
}

TEST(ReduceContract, IntegerAverageTruncatesTowardsZeroAfterWrapping) {
  EXPECT_EQ((folded<std::int32_t>({DataType::int32, ReduceOp::average, 2}, {-4, -3})), -3);
  EXPECT_EQ((folded<std::int32_t>({DataType::int32, ReduceOp::average, 2}, {4, 3})), 3);
  EXPECT_EQ((folded<std::int8_t>({DataType::int8, ReduceOp::average, 2}, {100, 100})), -28);
  EXPECT_EQ((folded<std::uint8_t>({DataType::uint8, ReduceOp::average, 300}, {200, 55})), 0);
  EXPECT_EQ((folded<std::uint32_t>({DataType::uint32, ReduceOp::average, 4294967295u}, {4294967294u, 0})), 0u);
  EXPECT_EQ((folded<std::uint32_t>({DataType::uint32, ReduceOp::average, 4294967295u}, {4294967295u, 0})), 1u);
}

TEST(ReduceContract, FloatAverageDividesTruly) {
  EXPECT_EQ((folded<float>({DataType::float32, ReduceOp::average, 3}, {1.0f, 4.0f})), 5.0f / 3.0f);
  EXPECT_EQ((folded<double>({DataType::float64, ReduceOp::average, 7}, {1.0, 4.0})), 5.0 / 7.0);
  EXPECT_EQ((folded<float>({DataType::float32, ReduceOp::average, 49}, {49.0f})), 1.0f);
}

TEST(ReduceContract, OneSourceIsCopiedUnchanged) {
  const float payload = std::bit_cast<float>(0xffc12345u);
  EXPECT_EQ(bits(folded<float>({DataType::float32, ReduceOp::sum}, {payload})), 0xffc12345u);
  EXPECT_EQ((folded<std::int32_t>({DataType::int32, ReduceOp::logical_or}, {7})), 7);
}

TEST(ReduceContract, EveryNanResultIsTheCanonicalOne) {
  const float payload = std::bit_cast<float>(0xffc12345u);
  const double wide = std::bit_cast<double>(0xfff8000000000001ull);
  for (const ReduceOp op : {ReduceOp::sum, ReduceOp::product, ReduceOp::min, ReduceOp::max}) {
    EXPECT_EQ(bits(folded<float>({DataType::float32, op}, {payload, 1.0f})), 0x7fc00000u);
    EXPECT_EQ(bits(folded<float>({DataType::float32, op}, {-kInfinity, payload})), 0x7fc00000u);
    EXPECT_EQ(bits(folded<double>({DataType::float64, op}, {wide, 1.0})), 0x7ff8000000000000ull);
    EXPECT_EQ((folded<std::uint16_t>({DataType::float16, op}, {0xfc01, 0x3c00})), 0x7e00);
    EXPECT_EQ((folded<std::uint16_t>({DataType::bfloat16, op}, {0xffff, 0x3f80})), 0x7fc0);
    EXPECT_EQ((folded<std::uint8_t>({DataType::float8_e4m3, op}, {0xff, 0x38})), 0x7f);
    EXPECT_EQ((folded<std::uint8_t>({DataType::float8_e5m2, op}, {0xfd, 0x3c})), 0x7e);
  }
  EXPECT_EQ(bits(folded<float>({DataType::float32, ReduceOp::sum}, {kInfinity, -kInfinity})), 0x7fc00000u);
  EXPECT_EQ(bits(folded<float>({DataType::float32, ReduceOp::average, 2}, {payload})), 0x7fc00000u);
}

TEST(ReduceContract, MinimumAndMaximumOrderTheZeros) {
  EXPECT_EQ(bits(folded<float>({DataType::float32, ReduceOp::min}, {0.0f, -0.0f})), 0x80000000u);
  EXPECT_EQ(bits(folded<float>({DataType::float32, ReduceOp::min}, {-0.0f, 0.0f})), 0x80000000u);
  EXPECT_EQ(bits(folded<float>({DataType::float32, ReduceOp::max}, {0.0f, -0.0f})), 0u);
  EXPECT_EQ(bits(folded<float>({DataType::float32, ReduceOp::max}, {-0.0f, 0.0f})), 0u);
  EXPECT_EQ((folded<std::uint16_t>({DataType::bfloat16, ReduceOp::min}, {0x0000, 0x8000})), 0x8000);
}

TEST(ReduceContract, LogicalOperatorsWriteOneOrZero) {
  EXPECT_EQ((folded<std::int32_t>({DataType::int32, ReduceOp::logical_and}, {-5, 9})), 1);
  EXPECT_EQ((folded<std::int32_t>({DataType::int32, ReduceOp::logical_and}, {-5, 0})), 0);
  EXPECT_EQ((folded<std::int64_t>({DataType::int64, ReduceOp::logical_or}, {std::int64_t{1} << 60, 0})), 1);
  EXPECT_EQ((folded<std::uint8_t>({DataType::uint8, ReduceOp::logical_or}, {0, 0})), 0);
}

TEST(ReduceContract, FoldsFromTheLeft) {
  EXPECT_EQ((folded<float>({DataType::float32, ReduceOp::sum}, {1e8f, -1e8f, 1.0f})), 1.0f);
  EXPECT_EQ((folded<float>({DataType::float32, ReduceOp::sum}, {1.0f, 1e8f, -1e8f})), 0.0f);
}

}  // namespace
}  // namespace tutti
