// The kernels of float16, bfloat16 and float8: each source is widened to float32 (exact), folded there, and the
// result is rounded once.
#include "src/memory/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/memory/low_precision.cc"
#include "hwy/foreach_target.h"

#include "src/memory/kernels.h"

#if TUTTI_VECTOR_TARGET
#include "src/memory/arithmetic_inl.h"
#include "src/memory/codec_inl.h"
#include "src/memory/kernel_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti {
namespace HWY_NAMESPACE {
namespace {

template <class Codec, class Operator>
struct Widened {
  using Lane = typename Codec::Lane;
  static constexpr std::size_t kUnroll = sizeof(Lane);  // 2 for two parts, 1 for four: four accumulators either way
  static constexpr bool kFloatingPoint = true;

  template <class D, class V>
  static HWY_INLINE typename Codec::template Parts<D> open(D d, V v) {
    return Codec::split(d, v);
  }
  template <class D, class Parts, class V>
  static HWY_INLINE void fold(D d, Parts& accumulator, V v) {
    const Parts next = Codec::split(d, v);
    for (std::size_t i = 0; i < Parts::kParts; ++i) {
      accumulator.part[i] = Operator::apply(accumulator.part[i], next.part[i]);
    }
  }
  template <class D, class Parts>
  static HWY_INLINE hn::Vec<D> close(D d, Parts accumulator, const Job& job) {
    if (job.divisor != 0) {
      const FloatsOf<D> df;
      const auto divisor = hn::Set(df, static_cast<float>(job.divisor));
      for (auto& part : accumulator.part) part = hn::Div(part, divisor);
    }
    return Codec::join(d, accumulator);
  }
};

template <class Codec, class Format>
struct Scale : Widened<Codec, Multiply> {
  template <class D, class Parts>
  static HWY_INLINE hn::Vec<D> close(D d, Parts accumulator, const Job& job) {
    typename Format::Storage code;
    std::memcpy(&code, job.scalar, sizeof(code));
    const FloatsOf<D> df;
    const auto scalar = hn::Set(df, to_float<Format>(code));
    for (auto& part : accumulator.part) part = hn::Mul(part, scalar);
    return Codec::join(d, accumulator);
  }
};

template <class Codec>
ReduceFunction find_for(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::average:
    case ReduceOp::premultiplied_sum:
      return reduce_with<Widened<Codec, Add>>;
    case ReduceOp::product:
      return reduce_with<Widened<Codec, Multiply>>;
    default:
      return nullptr;
  }
}

}  // namespace

ReduceFunction low_precision_reduce(DataType type, ReduceOp op) {
  switch (type) {
    case DataType::float16:
      return find_for<Float16Codec>(op);
    case DataType::bfloat16:
      return find_for<BFloat16Codec>(op);
    case DataType::float8_e4m3:
      return find_for<Float8Codec<Float8E4M3>>(op);
    case DataType::float8_e5m2:
      return find_for<Float8Codec<Float8E5M2>>(op);
    default:
      return nullptr;
  }
}

ScaleFunction low_precision_scale(DataType type) {
  switch (type) {
    case DataType::float16:
      return scale_with<Scale<Float16Codec, Float16>>;
    case DataType::bfloat16:
      return scale_with<Scale<BFloat16Codec, BFloat16>>;
    case DataType::float8_e4m3:
      return scale_with<Scale<Float8Codec<Float8E4M3>, Float8E4M3>>;
    case DataType::float8_e5m2:
      return scale_with<Scale<Float8Codec<Float8E5M2>, Float8E5M2>>;
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

ReduceFunction find_low_precision_reduce(DataType type, ReduceOp op, InstructionSet set) {
  TUTTI_SELECT_KERNEL(set, low_precision_reduce, type, op);
}

ScaleFunction find_low_precision_scale(DataType type, InstructionSet set) {
  TUTTI_SELECT_KERNEL(set, low_precision_scale, type);
}

}  // namespace tutti::kernels
#endif  // HWY_ONCE
