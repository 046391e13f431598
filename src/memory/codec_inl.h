// Vector conversions between the low-precision formats and float32; compiled once per instruction set. They give the
// bits of lowprecision.h. A codec turns one vector of codes into kParts float vectors and back:
//   Parts<D>            the float vectors
//   split(d, codes)     exact
//   join(d, parts)      rounds to nearest even; NaNs become canonical
// In which part and lane an element sits is the codec's affair: lanes never mix, and `join` undoes `split`.
#if defined(TUTTI_SRC_MEMORY_CODEC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_SRC_MEMORY_CODEC_INL_H_
#undef TUTTI_SRC_MEMORY_CODEC_INL_H_
#else
#define TUTTI_SRC_MEMORY_CODEC_INL_H_
#endif

#include "hwy/highway.h"
#include "src/memory/lowprecision.h"

// Where the processor converts float16 itself, rounding and treating subnormals and NaNs as IEEE 754 says.
#undef TUTTI_HALF_CONVERSIONS
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || (HWY_TARGET == HWY_NEON && HWY_ARCH_ARM_A64)
#define TUTTI_HALF_CONVERSIONS 1
#else
#define TUTTI_HALF_CONVERSIONS 0
#endif

HWY_BEFORE_NAMESPACE();
namespace tutti {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <class V, std::size_t kCount>
struct FloatParts {
  static constexpr std::size_t kParts = kCount;
  V part[kCount];
};

template <class D>
using FloatsOf = hn::Repartition<float, D>;
template <class D>
using WordsOf = hn::Repartition<std::uint32_t, D>;

// Codes in the low bits of 32-bit lanes, upper bits zero, to floats.
template <class Format, class DF, class VU>
HWY_INLINE hn::Vec<DF> decode(DF df, VU code) {
  const hn::RebindToUnsigned<DF> du;
  constexpr std::uint32_t kMagnitude = Format::kSign - 1u;
  const VU magnitude = hn::And(code, hn::Set(du, kMagnitude));
  const VU sign = hn::ShiftLeft<32 - Format::kBits>(hn::AndNot(hn::Set(du, kMagnitude), code));
  const VU shifted = hn::ShiftLeft<Format::kShift>(magnitude);
  const VU normal = hn::Add(shifted, hn::Set(du, Format::kRebias));
  const VU smallest = hn::Set(du, Format::kSmallestNormal);
  const VU subnormal =
      hn::BitCast(du, hn::Sub(hn::BitCast(df, hn::Add(shifted, smallest)), hn::BitCast(df, smallest)));
  const hn::RebindToSigned<DF> di;
  const auto signed_magnitude = hn::BitCast(di, magnitude);
  const auto is_subnormal = hn::RebindMask(du, hn::Lt(signed_magnitude, hn::Set(di, 1 << Format::kMantissaBits)));
  const auto is_special = hn::RebindMask(du, hn::Gt(signed_magnitude, hn::Set(di, Format::kOverflow - 1)));
  const VU finite = hn::IfThenElse(is_subnormal, subnormal, normal);
  // Infinity keeps its empty mantissa; E4M3's overflow code is a NaN, and has a mantissa.
  const VU special = hn::Or(shifted, hn::Set(du, 0x7f800000u));
  constexpr std::uint32_t kExponentField = ((1u << Format::kExponentBits) - 1u) << 23;
  const VU infinite_or_nan = Format::kHasInfinity
                                 ? hn::Or(hn::AndNot(hn::Set(du, kExponentField), shifted), hn::Set(du, 0x7f800000u))
                                 : special;
  return hn::BitCast(df, hn::Or(sign, hn::IfThenElse(is_special, infinite_or_nan, finite)));
}

// Floats to codes in the low bits of 32-bit lanes, upper bits zero.
template <class Format, class DF, class VF>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<DF>> encode(DF df, VF value) {
  const hn::RebindToUnsigned<DF> du;
  const hn::RebindToSigned<DF> di;
  const auto bits = hn::BitCast(du, value);
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7fffffffu));
  const auto sign = hn::ShiftRight<32 - Format::kBits>(hn::AndNot(hn::Set(du, 0x7fffffffu), bits));
  const auto clamped = hn::BitCast(
      du, hn::Min(hn::BitCast(di, magnitude), hn::Set(di, static_cast<std::int32_t>(Format::kOverflowAsFloat))));
  const auto odd = hn::And(hn::ShiftRight<Format::kShift>(clamped), hn::Set(du, 1u));
  constexpr std::uint32_t kBelowHalf = (1u << (Format::kShift - 1)) - 1u;
  const auto rounded = hn::Add(hn::Add(clamped, odd), hn::Set(du, kBelowHalf - Format::kRebias));
  const auto normal = hn::ShiftRight<Format::kShift>(rounded);
  const auto rounder = hn::Set(du, Format::kSubnormalRounder);
  const auto subnormal =
      hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(df, clamped), hn::BitCast(df, rounder))), rounder);
  const auto is_subnormal = hn::RebindMask(
      du, hn::Lt(hn::BitCast(di, clamped), hn::Set(di, static_cast<std::int32_t>(Format::kSmallestNormal))));
  const auto code = hn::IfThenElse(is_subnormal, subnormal, normal);
  const auto nan = hn::Set(du, std::uint32_t{Format::kNan});
  if constexpr (Format::kHasInfinity) {
    const auto is_nan = hn::RebindMask(du, hn::Gt(hn::BitCast(di, magnitude), hn::Set(di, 0x7f800000)));
    return hn::IfThenElse(is_nan, nan, hn::Or(sign, code));
  } else {
    return hn::IfThenElse(hn::Eq(code, nan), nan, hn::Or(sign, code));
  }
}

// bfloat16 is the upper half of a float: the even elements are the lower halves of 32-bit words, the odd the upper.
struct BFloat16Codec {
  using Lane = std::uint16_t;
  template <class D>
  using Parts = FloatParts<hn::Vec<FloatsOf<D>>, 2>;

  template <class D>
  static HWY_INLINE Parts<D> split(D, hn::Vec<D> codes) {
    const FloatsOf<D> df;
    const WordsOf<D> du;
    const auto words = hn::BitCast(du, codes);
    return {{hn::BitCast(df, hn::ShiftLeft<16>(words)), hn::BitCast(df, hn::And(words, hn::Set(du, 0xffff0000u)))}};
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> join(D d, const Parts<D>& parts) {
    const WordsOf<D> du;
    const auto even = hn::ShiftRight<16>(rounded(du, parts.part[0]));
    const auto odd = hn::And(rounded(du, parts.part[1]), hn::Set(du, 0xffff0000u));
    return hn::BitCast(d, hn::Or(even, odd));
  }

 private:
  // The result is in the upper half of each word.
  template <class DU, class VF>
  static HWY_INLINE hn::Vec<DU> rounded(DU du, VF value) {
    const auto bits = hn::BitCast(du, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
    const auto nearest = hn::Add(hn::Add(bits, odd), hn::Set(du, 0x7fffu));
    return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(value)), hn::Set(du, 0x7fc00000u), nearest);
  }
};

#if TUTTI_HALF_CONVERSIONS

// Vectors of float16 codes in 16-bit lanes to the floats of their lower and upper halves.
template <class D16, class V16>
HWY_INLINE void promote_halves(D16 d16, V16 codes, hn::Vec<FloatsOf<D16>>& lower, hn::Vec<FloatsOf<D16>>& upper) {
  const FloatsOf<D16> df;
  const hn::Half<D16> half;
  const hn::Rebind<hwy::float16_t, FloatsOf<D16>> float16;
  lower = hn::PromoteTo(df, hn::BitCast(float16, hn::LowerHalf(half, codes)));
  upper = hn::PromoteTo(df, hn::BitCast(float16, hn::UpperHalf(half, codes)));
  (void)d16;
}

struct Float16Codec {
  using Lane = std::uint16_t;
  template <class D>
  using Parts = FloatParts<hn::Vec<FloatsOf<D>>, 2>;

  template <class D>
  static HWY_INLINE Parts<D> split(D d, hn::Vec<D> codes) {
    Parts<D> parts;
    promote_halves(d, codes, parts.part[0], parts.part[1]);
    return parts;
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> join(D d, const Parts<D>& parts) {
    const hn::Half<D> half;
    const hn::Rebind<hwy::float16_t, FloatsOf<D>> float16;
    const auto lower = hn::BitCast(half, hn::DemoteTo(float16, parts.part[0]));
    const auto upper = hn::BitCast(half, hn::DemoteTo(float16, parts.part[1]));
    const auto codes = hn::Combine(d, upper, lower);
    const hn::RebindToSigned<D> di;
    const auto magnitude = hn::BitCast(di, hn::And(codes, hn::Set(d, 0x7fff)));
    const auto is_nan = hn::RebindMask(d, hn::Gt(magnitude, hn::Set(di, 0x7c00)));
    return hn::IfThenElse(is_nan, hn::Set(d, Float16::kNan), codes);
  }
};

// float8 by way of float16: both formats fit into it exactly. The even bytes and the odd bytes become a vector of
// float16 codes each; E4M3, whose exponent bias is 8 less, is then multiplied by 256.
template <class Format>
struct Float8Codec {
  using Lane = std::uint8_t;
  template <class D>
  using Parts = FloatParts<hn::Vec<FloatsOf<D>>, 4>;

  template <class D>
  static HWY_INLINE Parts<D> split(D, hn::Vec<D> codes) {
    const hn::Repartition<std::uint16_t, D> d16;
    const FloatsOf<D> df;
    const auto pairs = hn::BitCast(d16, codes);
    Parts<D> parts;
    promote_halves(d16, as_float16(d16, hn::ShiftLeft<8>(pairs)), parts.part[0], parts.part[1]);
    promote_halves(d16, as_float16(d16, hn::And(pairs, hn::Set(d16, 0xff00))), parts.part[2], parts.part[3]);
    if constexpr (!Format::kHasInfinity) {
      for (auto& part : parts.part) part = hn::Mul(part, hn::Set(df, 256.0f));
    }
    return parts;
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> join(D d, const Parts<D>& parts) {
    const hn::Repartition<std::uint16_t, D> d16;
    const auto even = from_float16(d16, demoted(d16, parts.part[0], parts.part[1]));
    const auto odd = from_float16(d16, demoted(d16, parts.part[2], parts.part[3]));
    return hn::BitCast(d, hn::Or(hn::ShiftRight<8>(even), odd));
  }

 private:
  // To float16 codes, exactly, after rounding to this format's precision.
  template <class D16, class VF>
  static HWY_INLINE hn::Vec<D16> demoted(D16 d16, VF lower, VF upper) {
    const FloatsOf<D16> df;
    const hn::Half<D16> half;
    const hn::Rebind<hwy::float16_t, FloatsOf<D16>> float16;
    const auto lower16 = hn::BitCast(half, hn::DemoteTo(float16, rounded(df, lower)));
    const auto upper16 = hn::BitCast(half, hn::DemoteTo(float16, rounded(df, upper)));
    return hn::Combine(d16, upper16, lower16);
  }

  // Rounds by adding and subtracting a power of two whose last mantissa bit weighs as much as that of the result; for
  // what is subnormal in the format, as the smallest normal's. Beyond the largest exponents E4M3 may become NaN
  // early.
  template <class DF, class VF>
  static HWY_INLINE VF rounded(DF df, VF value) {
    const hn::RebindToSigned<DF> di;
    const auto exponent = hn::And(hn::BitCast(di, value), hn::Set(di, 0x7f800000));
    auto clamped = hn::Max(exponent, hn::Set(di, static_cast<std::int32_t>(Format::kSmallestNormal)));
    if constexpr (Format::kHasInfinity) {
      clamped = hn::Min(clamped, hn::Set(di, static_cast<std::int32_t>(Format::kOverflowAsFloat)));
    }
    const auto power = hn::BitCast(df, hn::Add(clamped, hn::Set(di, Format::kShift << 23)));
    const auto nearest = hn::Sub(hn::Add(hn::Abs(value), power), power);
    const auto result = hn::CopySignToAbs(nearest, value);
    return Format::kHasInfinity ? result : hn::Mul(result, hn::Set(df, 1.0f / 256));
  }

  // The code in the upper byte, the lower byte zero.
  template <class D16, class V16>
  static HWY_INLINE V16 from_float16(D16 d16, V16 half) {
    const hn::RebindToSigned<D16> di;
    const auto magnitude = hn::And(half, hn::Set(d16, 0x7fff));
    if constexpr (Format::kHasInfinity) {
      const auto is_nan = hn::RebindMask(d16, hn::Gt(hn::BitCast(di, magnitude), hn::Set(di, 0x7c00)));
      return hn::IfThenElse(is_nan, hn::Set(d16, 0x7e00), half);
    } else {
      const auto overflow = hn::Set(d16, 0x3f80);  // the code 0x7f: NaN, and everything beyond
      const auto clamped = hn::Min(magnitude, overflow);
      const auto sign = hn::AndNot(hn::Set(d16, 0x7fff), half);
      const auto code = hn::Or(sign, hn::ShiftLeft<1>(clamped));
      return hn::IfThenElse(hn::Eq(clamped, overflow), hn::Set(d16, 0x7f00), code);
    }
  }

  // From the code in the upper byte.
  template <class D16, class V16>
  static HWY_INLINE V16 as_float16(D16 d16, V16 code) {
    if constexpr (Format::kHasInfinity) {
      return code;
    } else {
      const auto magnitude = hn::And(hn::ShiftRight<1>(code), hn::Set(d16, 0x3f80));
      const auto sign = hn::And(code, hn::Set(d16, 0x8000));
      const auto is_nan = hn::Eq(magnitude, hn::Set(d16, 0x3f80));
      return hn::Or(sign, hn::IfThenElse(is_nan, hn::Set(d16, 0x7e00), magnitude));
    }
  }
};

#else  // no float16 in hardware: everything in 32-bit lanes

// kParts elements sit in each 32-bit word; part i takes the i-th of each.
template <class Format, class LaneType>
struct WordCodec {
  using Lane = LaneType;
  static constexpr std::size_t kParts = 4 / sizeof(Lane);
  template <class D>
  using Parts = FloatParts<hn::Vec<FloatsOf<D>>, kParts>;

  template <class D>
  static HWY_INLINE Parts<D> split(D, hn::Vec<D> codes) {
    const FloatsOf<D> df;
    const WordsOf<D> du;
    auto words = hn::BitCast(du, codes);
    Parts<D> parts;
    for (auto& part : parts.part) {
      part = decode<Format>(df, hn::And(words, hn::Set(du, (1u << Format::kBits) - 1u)));
      words = hn::ShiftRight<Format::kBits>(words);
    }
    return parts;
  }
  template <class D>
  static HWY_INLINE hn::Vec<D> join(D d, const Parts<D>& parts) {
    const FloatsOf<D> df;
    auto words = encode<Format>(df, parts.part[kParts - 1]);
    for (std::size_t i = kParts - 1; i-- > 0;) {
      words = hn::Or(hn::ShiftLeft<Format::kBits>(words), encode<Format>(df, parts.part[i]));
    }
    return hn::BitCast(d, words);
  }
};

using Float16Codec = WordCodec<Float16, std::uint16_t>;
template <class Format>
using Float8Codec = WordCodec<Format, std::uint8_t>;

#endif  // TUTTI_HALF_CONVERSIONS

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tutti
HWY_AFTER_NAMESPACE();

#endif  // include guard per instruction set
