// The small floating-point formats, and scalar conversions between them and float.
//
// A conversion to float is exact. A conversion from float rounds to the nearest, ties to even, in one step. It writes
// every NaN as the format's canonical one (positive, only the top bit of the mantissa; for E4M3, whose only NaN is
// 0x7f and its negative, 0x7f). A magnitude beyond the largest finite one becomes infinity where the format has one;
// in E4M3 it becomes NaN, as in PyTorch's cast to float8_e4m3fn (it does not saturate: a silent 448 would hide a
// diverged gradient). Nothing here depends on the floating-point environment except through plain float additions.
#pragma once

#include <bit>
#include <cstdint>

namespace tutti {

// A format with a sign bit, kExponentBits and kMantissaBits below it. `kOverflow` is the code after the largest
// finite one: infinity, or E4M3's NaN. kNan is the canonical NaN.
template <typename StorageType, int kExponentBitsValue, int kMantissaBitsValue, StorageType kOverflowValue,
          StorageType kNanValue>
struct SmallFloat {
  using Storage = StorageType;
  static constexpr int kBits = 8 * sizeof(Storage);
  static constexpr int kExponentBits = kExponentBitsValue;
  static constexpr int kMantissaBits = kMantissaBitsValue;
  static constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  static constexpr Storage kOverflow = kOverflowValue;
  static constexpr Storage kNan = kNanValue;
  static constexpr bool kHasInfinity = kOverflow != kNan;
  static constexpr Storage kSign = static_cast<Storage>(1u << (kBits - 1));
  static constexpr Storage kLargestNumber = kHasInfinity ? kOverflow : kOverflow - 1;  // magnitudes above it are NaN

  // What the conversions need, as bits of a float.
  static constexpr int kShift = 23 - kMantissaBits;
  static constexpr std::uint32_t kRebias = static_cast<std::uint32_t>(127 - kBias) << 23;
  static constexpr std::uint32_t kSmallestNormal = kRebias + (1u << 23);
  static constexpr std::uint32_t kOverflowAsFloat = (std::uint32_t{kOverflow} << kShift) + kRebias;
  // A power of two whose last mantissa bit weighs as much as this format's smallest subnormal: adding it rounds
  // there.
  static constexpr std::uint32_t kSubnormalRounder = static_cast<std::uint32_t>(127 - kBias + 1 + kShift) << 23;
};

using Float16 = SmallFloat<std::uint16_t, 5, 10, 0x7c00, 0x7e00>;
using BFloat16 = SmallFloat<std::uint16_t, 8, 7, 0x7f80, 0x7fc0>;
using Float8E4M3 = SmallFloat<std::uint8_t, 4, 3, 0x7f, 0x7f>;
using Float8E5M2 = SmallFloat<std::uint8_t, 5, 2, 0x7c, 0x7e>;

template <typename Format>
inline float to_float(typename Format::Storage code) {
  const std::uint32_t sign = static_cast<std::uint32_t>(code & Format::kSign) << (32 - Format::kBits);
  const std::uint32_t magnitude = code & static_cast<typename Format::Storage>(~Format::kSign);
  const std::uint32_t shifted = magnitude << Format::kShift;
  if (magnitude > Format::kLargestNumber) return std::bit_cast<float>(sign | 0x7f800000u | shifted);
  if (Format::kHasInfinity && magnitude == Format::kOverflow) return std::bit_cast<float>(sign | 0x7f800000u);
  if constexpr (Format::kBias == 127) return std::bit_cast<float>(sign | shifted);
  if (magnitude >= 1u << Format::kMantissaBits) return std::bit_cast<float>(sign | (shifted + Format::kRebias));
  const float subnormal = std::bit_cast<float>(shifted + Format::kSmallestNormal) -  //
                          std::bit_cast<float>(Format::kSmallestNormal);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(subnormal));
}

template <typename Format>
inline typename Format::Storage from_float(float value) {
  using Storage = typename Format::Storage;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const Storage sign = static_cast<Storage>((bits & 0x80000000u) >> (32 - Format::kBits));
  if (magnitude > 0x7f800000u) return Format::kNan;
  if (magnitude >= Format::kOverflowAsFloat) {
    return Format::kHasInfinity ? static_cast<Storage>(sign | Format::kOverflow) : Format::kNan;
  }
  if (Format::kBias != 127 && magnitude < Format::kSmallestNormal) {
    const float rounded = std::bit_cast<float>(magnitude) + std::bit_cast<float>(Format::kSubnormalRounder);
    return static_cast<Storage>(sign | (std::bit_cast<std::uint32_t>(rounded) - Format::kSubnormalRounder));
  }
  const std::uint32_t tie_to_even = (magnitude >> Format::kShift) & 1u;
  const std::uint32_t rounded = magnitude + ((1u << (Format::kShift - 1)) - 1u) + tie_to_even;
  const Storage code = static_cast<Storage>((rounded - Format::kRebias) >> Format::kShift);
  if (!Format::kHasInfinity && code == Format::kNan) return Format::kNan;
  return static_cast<Storage>(sign | code);
}

}  // namespace tutti
