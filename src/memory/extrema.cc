// min and max of every float type, without any float arithmetic. A float's bits, with the magnitude inverted when the
// sign is set, order like a signed integer: -infinity < ... < -0 < +0 < ... < infinity. So the fold is an integer min
// or max over such keys, with the NaNs mapped to the extreme key that no number has.
#include <limits>

#include "src/memory/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/memory/extrema.cc"
#include "hwy/foreach_target.h"

#include "src/memory/kernels.h"
#include "src/memory/lowprecision.h"

#if TUTTI_VECTOR_TARGET
#include "src/memory/kernel_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti {
namespace HWY_NAMESPACE {
namespace {

// kLargestNumber: the magnitude bits of infinity, or of the largest finite number where there is none.
template <class LaneType, LaneType kLargestNumberValue, LaneType kNanValue>
struct Layout {
  using Lane = LaneType;
  static constexpr Lane kMagnitude = std::numeric_limits<Lane>::max();
  static constexpr Lane kLargestNumber = kLargestNumberValue;
  static constexpr Lane kNan = kNanValue;
};

template <class Format, class Lane>
using SmallLayout = Layout<Lane, Format::kLargestNumber, Format::kNan>;
using Float64Layout = Layout<std::int64_t, std::int64_t{0x7ff0} << 48, std::int64_t{0x7ff8} << 48>;
using Float32Layout = Layout<std::int32_t, 0x7f800000, 0x7fc00000>;

template <class Layout, bool kMaximum>
struct Extremum {
  using Lane = typename Layout::Lane;
  static constexpr std::size_t kUnroll = 4;
  static constexpr bool kFloatingPoint = false;
  static constexpr Lane kNanKey = kMaximum ? std::numeric_limits<Lane>::max() : std::numeric_limits<Lane>::min();

  // Bits to key and back: its own inverse.
  template <class D, class V>
  static HWY_INLINE V turned(D d, V v) {
    return hn::Xor(v, hn::And(hn::BroadcastSignBit(v), hn::Set(d, Layout::kMagnitude)));
  }
  template <class D, class V>
  static HWY_INLINE V open(D d, V v) {
    const auto is_nan = hn::Gt(hn::And(v, hn::Set(d, Layout::kMagnitude)), hn::Set(d, Layout::kLargestNumber));
    return hn::IfThenElse(is_nan, hn::Set(d, kNanKey), turned(d, v));
  }
  template <class D, class V>
  static HWY_INLINE void fold(D d, V& accumulator, V v) {
    const V key = open(d, v);
    accumulator = kMaximum ? hn::Max(accumulator, key) : hn::Min(accumulator, key);
  }
  template <class D, class V>
  static HWY_INLINE V close(D d, V key, const Job&) {
    return hn::IfThenElse(hn::Eq(key, hn::Set(d, kNanKey)), hn::Set(d, Layout::kNan), turned(d, key));
  }
};

template <class Layout>
ReduceFunction find_for(ReduceOp op) {
  if (op == ReduceOp::min) return reduce_with<Extremum<Layout, false>>;
  if (op == ReduceOp::max) return reduce_with<Extremum<Layout, true>>;
  return nullptr;
}

}  // namespace

ReduceFunction float_extremum(DataType type, ReduceOp op) {
  switch (type) {
    case DataType::float16:
      return find_for<SmallLayout<Float16, std::int16_t>>(op);
    case DataType::bfloat16:
      return find_for<SmallLayout<BFloat16, std::int16_t>>(op);
    case DataType::float32:
      return find_for<Float32Layout>(op);
    case DataType::float64:
      return find_for<Float64Layout>(op);
    case DataType::float8_e4m3:
      return find_for<SmallLayout<Float8E4M3, std::int8_t>>(op);
    case DataType::float8_e5m2:
      return find_for<SmallLayout<Float8E5M2, std::int8_t>>(op);
    default:
      return nullptr;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tutti
HWY_AFTER_NAMESPACE();
#endif  // TUTTI_VECTOR_TARGET

#if HWY_ONCE
#include "src/memory/select.h"

namespace tutti::kernels {

ReduceFunction find_float_extremum(DataType type, ReduceOp op, InstructionSet set) {
  TUTTI_SELECT_KERNEL(set, float_extremum, type, op);
}

}  // namespace tutti::kernels
#endif  // HWY_ONCE
