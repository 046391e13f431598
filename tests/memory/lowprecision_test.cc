// The small formats against an independent model: each format's finite values are enumerated as doubles from the
// definition (sign, exponent, mantissa), and rounding is a search among them.
#include "src/memory/lowprecision.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "src/base/random.h"

namespace tutti {
namespace {

template <typename Format>
double value_by_definition(unsigned magnitude) {
  const int exponent = static_cast<int>(magnitude >> Format::kMantissaBits);
  const double fraction = std::ldexp(magnitude & ((1u << Format::kMantissaBits) - 1), -Format::kMantissaBits);
  const int bias = (1 << (Format::kExponentBits - 1)) - 1;
  return exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
}

// values[code] for codes 0 to the one after the largest finite, which stands for what overflow rounds towards.
template <typename Format>
std::vector<double> magnitudes() {
  std::vector<double> values;
  for (unsigned code = 0; code <= Format::kOverflow; ++code) values.push_back(value_by_definition<Format>(code));
  return values;
}

// The code nearest to a non-negative value; ties go to the even code.
unsigned nearest(const std::vector<double>& values, double value) {
  if (value >= values.back()) return static_cast<unsigned>(values.size() - 1);
  const auto above = std::upper_bound(values.begin(), values.end(), value);
  const auto code = static_cast<unsigned>(above - values.begin()) - 1;
  const double down = value - values[code];
  const double up = values[code + 1] - value;
  if (down != up) return down < up ? code : code + 1;
  return code % 2 == 0 ? code : code + 1;
}

template <typename Format>
typename Format::Storage expected_code(const std::vector<double>& values, float value) {
  if (std::isnan(value)) return Format::kNan;
  const unsigned magnitude = std::isinf(value) ? Format::kOverflow : nearest(values, std::fabs(double{value}));
  if (!Format::kHasInfinity && magnitude == Format::kOverflow) return Format::kNan;
  return static_cast<typename Format::Storage>(magnitude | (std::signbit(value) ? Format::kSign : 0u));
}

template <typename Format>
class LowPrecision : public testing::Test {};
using Formats = testing::Types<Float16, BFloat16, Float8E4M3, Float8E5M2>;
TYPED_TEST_SUITE(LowPrecision, Formats);

TYPED_TEST(LowPrecision, EveryCodeHasTheValueOfItsDefinition) {
  using Format = TypeParam;
  for (unsigned code = 0; code < 1u << Format::kBits; ++code) {
    const float value = to_float<Format>(static_cast<typename Format::Storage>(code));
    const unsigned magnitude = code & (Format::kSign - 1u);
    const bool negative = (code & Format::kSign) != 0;
    if (Format::kHasInfinity && magnitude == Format::kOverflow) {
      EXPECT_TRUE(std::isinf(value)) << code;
    } else if (magnitude >= Format::kOverflow) {
      EXPECT_TRUE(std::isnan(value)) << code;
    } else {
      EXPECT_EQ(std::fabs(double{value}), value_by_definition<Format>(magnitude)) << code;
    }
    EXPECT_EQ(std::signbit(value), negative) << code;
  }
}

TYPED_TEST(LowPrecision, EveryCodeComesBackAndEveryNanBecomesTheCanonicalOne) {
  using Format = TypeParam;
  using Storage = typename Format::Storage;
  for (unsigned code = 0; code < 1u << Format::kBits; ++code) {
    const float value = to_float<Format>(static_cast<Storage>(code));
    const unsigned expected = std::isnan(value) ? Format::kNan : code;
    EXPECT_EQ(from_float<Format>(value), static_cast<Storage>(expected)) << code;
  }
}

TYPED_TEST(LowPrecision, FloatsAroundEveryCodeAndEveryTieRoundToNearestEven) {
  using Format = TypeParam;
  const auto values = magnitudes<Format>();
  for (std::size_t code = 0; code + 1 < values.size(); ++code) {
    // A value and the midpoint to the next are exact in float, except below the smallest bfloat16 subnormals.
    for (const double exact : {values[code], (values[code] + values[code + 1]) / 2}) {
      const float middle = static_cast<float>(exact);
      for (const float value : {middle, std::nextafterf(middle, 0.0f), std::nextafterf(middle, INFINITY)}) {
        EXPECT_EQ(from_float<Format>(value), expected_code<Format>(values, value)) << value;
        EXPECT_EQ(from_float<Format>(-value), expected_code<Format>(values, -value)) << -value;
      }
    }
  }
}

TYPED_TEST(LowPrecision, FloatsOfAnyBitsRoundToNearestEven) {
  using Format = TypeParam;
  const auto values = magnitudes<Format>();
  Random random(7);
  for (int i = 0; i < 300'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random.next()));
    ASSERT_EQ(from_float<Format>(value), expected_code<Format>(values, value)) << value;
  }
}

TEST(LowPrecisionOverflow, E4m3OverflowsToNanAndTheOthersToInfinity) {
  EXPECT_EQ(from_float<Float8E4M3>(448.0f), 0x7e);
  EXPECT_EQ(from_float<Float8E4M3>(464.0f), 0x7e);  // the tie goes to the even code
  EXPECT_EQ(from_float<Float8E4M3>(464.1f), 0x7f);
  EXPECT_EQ(from_float<Float8E4M3>(-1e30f), 0x7f);
  EXPECT_EQ(from_float<Float8E4M3>(-std::numeric_limits<float>::infinity()), 0x7f);
  EXPECT_EQ(from_float<Float8E5M2>(57344.0f), 0x7b);
  EXPECT_EQ(from_float<Float8E5M2>(61440.0f), 0x7c);
  EXPECT_EQ(from_float<Float16>(65519.9f), 0x7bff);
  EXPECT_EQ(from_float<Float16>(-65520.0f), 0xfc00);
  EXPECT_EQ(from_float<BFloat16>(std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace tutti
