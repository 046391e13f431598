// The kernels of float32 and float64. A NaN stays one through sums and products, whatever its payload becomes on the
// way, so making it canonical once at the end is enough.
#include "src/memory/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/memory/floats.cc"
#include "hwy/foreach_target.h"

#include "src/memory/kernels.h"

#if TUTTI_VECTOR_TARGET
#include "src/memory/arithmetic_inl.h"
#include "src/memory/kernel_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti {
namespace HWY_NAMESPACE {
namespace {

template <class D, class V>
HWY_INLINE V with_canonical_nan(D d, V v) {
  if constexpr (sizeof(hn::TFromD<D>) == 4) {
    const hn::Repartition<std::uint32_t, D> bits;
    return hn::IfThenElse(hn::IsNaN(v), hn::BitCast(d, hn::Set(bits, 0x7fc00000u)), v);
  } else {
    const hn::Repartition<std::uint64_t, D> bits;
    return hn::IfThenElse(hn::IsNaN(v), hn::BitCast(d, hn::Set(bits, std::uint64_t{0x7ff8} << 48)), v);
  }
}

template <class LaneType, class Operator>
struct Fold {
  using Lane = LaneType;
  static constexpr std::size_t kUnroll = 4;
  static constexpr bool kFloatingPoint = true;
  template <class D, class V>
  static HWY_INLINE V open(D, V v) {
    return v;
  }
  template <class D, class V>
  static HWY_INLINE void fold(D, V& accumulator, V v) {
    accumulator = Operator::apply(accumulator, v);
  }
  template <class D, class V>
  static HWY_INLINE V close(D d, V v, const Job& job) {
    if (job.divisor != 0) v = hn::Div(v, hn::Set(d, static_cast<Lane>(job.divisor)));
    return with_canonical_nan(d, v);
  }
};

template <class LaneType>
struct Scale : Fold<LaneType, Multiply> {
  template <class D, class V>
  static HWY_INLINE V close(D d, V v, const Job& job) {
    LaneType scalar;
    std::memcpy(&scalar, job.scalar, sizeof(scalar));
    return with_canonical_nan(d, hn::Mul(v, hn::Set(d, scalar)));
  }
};

template <class Lane>
ReduceFunction find_for(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::average:
    case ReduceOp::premultiplied_sum:
      return reduce_with<Fold<Lane, Add>>;
    case ReduceOp::product:
      return reduce_with<Fold<Lane, Multiply>>;
    default:
      return nullptr;
  }
}

}  // namespace

ReduceFunction float_reduce(DataType type, ReduceOp op) {
  if (type == DataType::float32) return find_for<float>(op);
  if (type == DataType::float64) return find_for<double>(op);
  return nullptr;
}

ScaleFunction float_scale(DataType type) {
  if (type == DataType::float32) return scale_with<Scale<float>>;
  if (type == DataType::float64) return scale_with<Scale<double>>;
  return nullptr;
}

}  // namespace HWY_NAMESPACE
}  // namespace tutti
HWY_AFTER_NAMESPACE();
#endif  // TUTTI_VECTOR_TARGET

#if HWY_ONCE
#include "src/memory/select.h"

namespace tutti::kernels {

ReduceFunction find_float_reduce(DataType type, ReduceOp op, InstructionSet set) {
  TUTTI_SELECT_KERNEL(set, float_reduce, type, op);
}

ScaleFunction find_float_scale(DataType type, InstructionSet set) { TUTTI_SELECT_KERNEL(set, float_scale, type); }

}  // namespace tutti::kernels
#endif  // HWY_ONCE
