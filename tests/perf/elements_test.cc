// The test data: what the tables say a reduction gives is what adding the inputs in any order gives, exactly.
#include "perf/tutti-perf/elements.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace tutti_perf {
namespace {

template <typename T>
T element(const Table& table, std::size_t i) {
  T value;
  std::memcpy(&value, table.data() + i * sizeof(T), sizeof(T));
  return value;
}

// The value of any float of up to 16 bits, from its definition.
double small_float(const Table& table, std::size_t i, int bytes, int exponent_bits, int mantissa_bits) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, table.data() + i * static_cast<std::size_t>(bytes), static_cast<std::size_t>(bytes));
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
  const double mantissa = bits & ((1u << mantissa_bits) - 1);
  const double sign = bits >> (8 * bytes - 1) ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(1 + std::ldexp(mantissa, -mantissa_bits), exponent - bias);
}

template <typename T>
void expect_exact_in_any_order(tutti_datatype type, tutti_op op, int ranks, T (*fold)(T, T)) {
  const Table result = reduction_result(type, op, ranks, 5);
  std::vector<Table> inputs;
  for (int r = 0; r < ranks; ++r) inputs.push_back(reduction_input(type, op, r, ranks, 5));
  for (std::size_t i = 0; i < kPeriod; ++i) {
    T up = element<T>(inputs.front(), i);
    T down = element<T>(inputs.back(), i);
    for (std::size_t r = 1; r < inputs.size(); ++r) {
      up = fold(up, element<T>(inputs[r], i));
      down = fold(down, element<T>(inputs[inputs.size() - 1 - r], i));
    }
    ASSERT_EQ(up, element<T>(result, i)) << "element " << i;
    ASSERT_EQ(down, element<T>(result, i)) << "element " << i;
  }
}

TEST(Elements, SumsAreExactInAnyOrder) {
  for (const int ranks : {1, 2, 4, 7, 64}) {
    expect_exact_in_any_order<float>(TUTTI_FLOAT32, TUTTI_SUM, ranks, [](float a, float b) { return a + b; });
    expect_exact_in_any_order<double>(TUTTI_FLOAT64, TUTTI_SUM, ranks, [](double a, double b) { return a + b; });
    expect_exact_in_any_order<std::uint8_t>(TUTTI_UINT8, TUTTI_SUM, ranks, [](std::uint8_t a, std::uint8_t b) {
      return static_cast<std::uint8_t>(a + b);
    });
    expect_exact_in_any_order<std::int64_t>(TUTTI_INT64, TUTTI_SUM, ranks, [](std::int64_t a, std::int64_t b) {
      return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
    });
  }
}

TEST(Elements, OtherReductionsToo) {
  expect_exact_in_any_order<float>(TUTTI_FLOAT32, TUTTI_PRODUCT, 5, [](float a, float b) { return a * b; });
  expect_exact_in_any_order<float>(TUTTI_FLOAT32, TUTTI_MIN, 5, [](float a, float b) { return a < b ? a : b; });
  expect_exact_in_any_order<std::int8_t>(TUTTI_INT8, TUTTI_MAX, 5,
                                         [](std::int8_t a, std::int8_t b) { return a < b ? b : a; });
  expect_exact_in_any_order<std::uint8_t>(TUTTI_UINT8, TUTTI_MIN, 5,
                                          [](std::uint8_t a, std::uint8_t b) { return a < b ? a : b; });
  expect_exact_in_any_order<std::int32_t>(TUTTI_INT32, TUTTI_BIT_XOR, 5,
                                          [](std::int32_t a, std::int32_t b) { return a ^ b; });
  expect_exact_in_any_order<std::int32_t>(TUTTI_INT32, TUTTI_LOGICAL_AND, 3, [](std::int32_t a, std::int32_t b) {
    return static_cast<std::int32_t>(a && b);
  });
}

TEST(Elements, SmallFloatsAddUpExactlyAlsoForManyRanks) {
  struct Format {
    tutti_datatype type;
    int bytes, exponent_bits, mantissa_bits;
  };
  for (const Format f : {Format{TUTTI_FLOAT16, 2, 5, 10}, Format{TUTTI_BFLOAT16, 2, 8, 7},
                         Format{TUTTI_FLOAT8_E4M3, 1, 4, 3}, Format{TUTTI_FLOAT8_E5M2, 1, 5, 2}}) {
    for (const int ranks : {3, 50}) {
      const Table result = reduction_result(f.type, TUTTI_SUM, ranks, 9);
      std::vector<double> sums(kPeriod);
      std::vector<double> largest(kPeriod);
      for (int r = 0; r < ranks; ++r) {
        const Table input = reduction_input(f.type, TUTTI_SUM, r, ranks, 9);
        for (std::size_t i = 0; i < kPeriod; ++i) {
          const double value = small_float(input, i, f.bytes, f.exponent_bits, f.mantissa_bits);
          sums[i] += value;
          largest[i] += std::fabs(value);
        }
      }
      int nonzero = 0;
      for (std::size_t i = 0; i < kPeriod; ++i) {
        ASSERT_EQ(small_float(result, i, f.bytes, f.exponent_bits, f.mantissa_bits), sums[i]);
        ASSERT_LE(largest[i], std::ldexp(2, f.mantissa_bits));  // no partial sum can round
        nonzero += sums[i] != 0;
      }
      EXPECT_GT(nonzero, static_cast<int>(kPeriod) / 4);
    }
  }
}

TEST(Elements, AveragesAreWholeAndFactorsCount) {
  const Table average = reduction_result(TUTTI_FLOAT32, TUTTI_AVERAGE, 3, 1);
  float sum = 0;
  for (int r = 0; r < 3; ++r) sum += element<float>(reduction_input(TUTTI_FLOAT32, TUTTI_AVERAGE, r, 3, 1), 77);
  EXPECT_EQ(element<float>(average, 77), sum / 3);

  const Table scaled = reduction_result(TUTTI_INT32, TUTTI_PREMULTIPLIED_SUM, 2, 1);
  std::uint32_t expected = 0;
  for (int r = 0; r < 2; ++r) {
    std::uint32_t factor;
    std::memcpy(&factor, premultiplier(TUTTI_INT32, r).data(), 4);
    EXPECT_EQ(factor, r == 0 ? 1u : 2u);
    expected += factor * element<std::uint32_t>(reduction_input(TUTTI_INT32, TUTTI_PREMULTIPLIED_SUM, r, 2, 1), 5);
  }
  EXPECT_EQ(element<std::uint32_t>(scaled, 5), expected);
}

TEST(Elements, WrongOnesAreCounted) {
  const Table table = random_table(TUTTI_INT32, 3);
  std::vector<std::byte> buffer(4 * 20'000);
  fill(buffer.data(), 20'000, 4, table, 1234);
  EXPECT_EQ(count_wrong(buffer.data(), 20'000, 4, table, 1234), 0u);
  buffer[0] ^= std::byte{1};
  buffer[1] ^= std::byte{1};  // the same element
  buffer[4 * 19'999 + 3] ^= std::byte{0x80};
  EXPECT_EQ(count_wrong(buffer.data(), 20'000, 4, table, 1234), 2u);
  // Data of another place or another run is wrong nearly everywhere.
  EXPECT_GT(count_wrong(buffer.data(), 20'000, 4, table, 1235), 19'900u);
  EXPECT_GT(count_wrong(buffer.data(), 20'000, 4, random_table(TUTTI_INT32, 4), 1234), 19'900u);
}

TEST(Elements, ReductionsThatDoNotExistAreLeftOut) {
  EXPECT_FALSE(is_defined(TUTTI_BIT_AND, TUTTI_FLOAT32));
  EXPECT_FALSE(is_defined(TUTTI_LOGICAL_OR, TUTTI_BFLOAT16));
  EXPECT_TRUE(is_defined(TUTTI_PREMULTIPLIED_SUM, TUTTI_FLOAT16));
  EXPECT_TRUE(is_defined(TUTTI_BIT_XOR, TUTTI_INT8));
}

TEST(Elements, HashesTellBuffersApart) {
  std::vector<std::byte> buffer(1001);
  const std::uint64_t before = hash_of(buffer.data(), buffer.size());
  EXPECT_EQ(before, hash_of(buffer.data(), buffer.size()));
  buffer[1000] = std::byte{1};
  EXPECT_NE(before, hash_of(buffer.data(), buffer.size()));
}

}  // namespace
}  // namespace tutti_perf
