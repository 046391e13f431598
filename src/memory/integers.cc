// The integer kernels: everything that needs no rounding. Lanes are unsigned wherever signedness does not show, so
// that wrapping is defined and int32 and uint32 share one kernel.
#include <type_traits>

#include "src/memory/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/memory/integers.cc"
#include "hwy/foreach_target.h"

#include "src/memory/kernels.h"

#if TUTTI_VECTOR_TARGET
#include "src/memory/kernel_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti {
namespace HWY_NAMESPACE {
namespace {

// The low halves of the products, for the lane widths that have no multiplication of their own everywhere.
template <class D, class V>
HWY_INLINE V multiply(D d, V a, V b) {
  constexpr std::size_t kBytes = sizeof(hn::TFromD<D>);
  if constexpr (kBytes == 1) {
    const hn::Repartition<std::uint16_t, D> wide;
    const auto even = hn::And(hn::Mul(hn::BitCast(wide, a), hn::BitCast(wide, b)), hn::Set(wide, 0x00ff));
    const auto odd =
        hn::Mul(hn::ShiftRight<8>(hn::BitCast(wide, a)), hn::And(hn::BitCast(wide, b), hn::Set(wide, 0xff00)));
    return hn::BitCast(d, hn::Or(even, odd));
  } else if constexpr (kBytes == 8) {
    const hn::Repartition<std::uint32_t, D> halves;
    const auto low_a = hn::BitCast(halves, a);
    const auto low_b = hn::BitCast(halves, b);
    const auto high_a = hn::BitCast(halves, hn::ShiftRight<32>(a));
    const auto high_b = hn::BitCast(halves, hn::ShiftRight<32>(b));
    const V crossed = hn::Add(hn::MulEven(low_a, high_b), hn::MulEven(high_a, low_b));
    return hn::Add(hn::MulEven(low_a, low_b), hn::ShiftLeft<32>(crossed));
  } else {
    return hn::Mul(a, b);
  }
}

template <class LaneType>
struct Direct {
  using Lane = LaneType;
  static constexpr std::size_t kUnroll = 4;
  static constexpr bool kFloatingPoint = false;
  template <class D, class V>
  static HWY_INLINE V open(D, V v) {
    return v;
  }
  template <class D, class V>
  static HWY_INLINE V close(D, V v, const Job&) {
    return v;
  }
};

template <class Lane>
struct Sum : Direct<Lane> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V& accumulator, V v) {
    accumulator = hn::Add(accumulator, v);
  }
};

template <class Lane>
struct Product : Direct<Lane> {
  template <class D, class V>
  static HWY_INLINE void fold(D d, V& accumulator, V v) {
    accumulator = multiply(d, accumulator, v);
  }
};

template <class Lane>
struct Minimum : Direct<Lane> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V& accumulator, V v) {
    accumulator = hn::Min(accumulator, v);
  }
};

template <class Lane>
struct Maximum : Direct<Lane> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V& accumulator, V v) {
    accumulator = hn::Max(accumulator, v);
  }
};

// The bitwise operators need no lanes: one kernel of bytes serves all widths, `reduce_bytes` adapts the count.
struct BitAnd : Direct<std::uint8_t> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V& accumulator, V v) {
    accumulator = hn::And(accumulator, v);
  }
};

struct BitOr : Direct<std::uint8_t> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V& accumulator, V v) {
    accumulator = hn::Or(accumulator, v);
  }
};

struct BitXor : Direct<std::uint8_t> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V& accumulator, V v) {
    accumulator = hn::Xor(accumulator, v);
  }
};

// True when any source was nonzero: or all bits, look once at the end.
template <class Lane>
struct LogicalOr : Direct<Lane> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V& accumulator, V v) {
    accumulator = hn::Or(accumulator, v);
  }
  template <class D, class V>
  static HWY_INLINE V close(D d, V v, const Job&) {
    return hn::AndNot(hn::VecFromMask(d, hn::Eq(v, hn::Zero(d))), hn::Set(d, Lane{1}));
  }
};

// True when no source was zero: the accumulator has all bits set once a zero was seen.
template <class Lane>
struct LogicalAnd : Direct<Lane> {
  template <class D, class V>
  static HWY_INLINE V open(D d, V v) {
    return hn::VecFromMask(d, hn::Eq(v, hn::Zero(d)));
  }
  template <class D, class V>
  static HWY_INLINE void fold(D d, V& accumulator, V v) {
    accumulator = hn::Or(accumulator, open(d, v));
  }
  template <class D, class V>
  static HWY_INLINE V close(D d, V v, const Job&) {
    return hn::AndNot(v, hn::Set(d, Lane{1}));
  }
};

template <class Lane>
struct Scale : Direct<Lane> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V&, V) {}
  template <class D, class V>
  static HWY_INLINE V close(D d, V v, const Job& job) {
    Lane scalar;
    std::memcpy(&scalar, job.scalar, sizeof(scalar));
    return multiply(d, v, hn::Set(d, scalar));
  }
};

struct StreamingCopy : Direct<std::uint8_t> {
  template <class D, class V>
  static HWY_INLINE void fold(D, V&, V) {}
};

// Truncating division in place. No vector unit divides integers; up to 32 bits a double holds every quotient exactly
// enough to truncate right (the distance to the next integer is at least 1/divisor), and divides in vectors.
template <class T>
void divide(std::byte* values, std::size_t count, std::uint32_t divisor) {
  for (std::size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, values + i * sizeof(T), sizeof(T));
    if constexpr (sizeof(T) < 4) {
      using Wide = std::conditional_t<std::is_signed_v<T>, std::int32_t, std::uint32_t>;
      value = static_cast<T>(static_cast<Wide>(static_cast<double>(value) / divisor));
    } else if constexpr (sizeof(T) == 4) {
      value = static_cast<T>(static_cast<std::int64_t>(static_cast<double>(value) / divisor));
    } else {
      value = value / static_cast<T>(divisor);
    }
    std::memcpy(values + i * sizeof(T), &value, sizeof(T));
  }
}

// Sum with average's division, a block at a time while it is in the first-level cache.
template <class T>
void sum(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
         std::size_t count) {
  using Kernel = Sum<std::make_unsigned_t<T>>;
  if (reduction.divisor == 0) return reduce_with<Kernel>(reduction, target, sources, count);
  const DefaultFloatingEnvironment environment;
  constexpr std::size_t kBlock = 8192;
  const Job job{target, sources.data(), sources.size(), 0, nullptr};
  const std::size_t bytes = count * sizeof(T);
  for (std::size_t begin = 0; begin < bytes; begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, bytes);
    run<Kernel>(job, begin, end, false);
    divide<T>(target + begin, (end - begin) / sizeof(T), reduction.divisor);
  }
}

template <class K, std::size_t kElementBytes>
void reduce_bytes(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
                  std::size_t count) {
  reduce_with<K>(reduction, target, sources, count * kElementBytes);
}

template <class T>
ReduceFunction find_for(ReduceOp op) {
  using Bits = std::make_unsigned_t<T>;
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::average:
    case ReduceOp::premultiplied_sum:
      return sum<T>;
    case ReduceOp::product:
      return reduce_with<Product<Bits>>;
    case ReduceOp::min:
      return reduce_with<Minimum<T>>;
    case ReduceOp::max:
      return reduce_with<Maximum<T>>;
    case ReduceOp::bit_and:
      return reduce_bytes<BitAnd, sizeof(T)>;
    case ReduceOp::bit_or:
      return reduce_bytes<BitOr, sizeof(T)>;
    case ReduceOp::bit_xor:
      return reduce_bytes<BitXor, sizeof(T)>;
    case ReduceOp::logical_and:
      return reduce_with<LogicalAnd<Bits>>;
    case ReduceOp::logical_or:
      return reduce_with<LogicalOr<Bits>>;
  }
  return nullptr;
}

}  // namespace

ReduceFunction integer_reduce(DataType type, ReduceOp op) {
  switch (type) {
    case DataType::int8:
      return find_for<std::int8_t>(op);
    case DataType::uint8:
      return find_for<std::uint8_t>(op);
    case DataType::int16:
      return find_for<std::int16_t>(op);
    case DataType::uint16:
      return find_for<std::uint16_t>(op);
    case DataType::int32:
      return find_for<std::int32_t>(op);
    case DataType::uint32:
      return find_for<std::uint32_t>(op);
    case DataType::int64:
      return find_for<std::int64_t>(op);
    case DataType::uint64:
      return find_for<std::uint64_t>(op);
    default:
      return nullptr;
  }
}

ScaleFunction integer_scale(DataType type) {
  if (!is_integer(type)) return nullptr;
  switch (size_of(type)) {
    case 1:
      return scale_with<Scale<std::uint8_t>>;
    case 2:
      return scale_with<Scale<std::uint16_t>>;
    case 4:
      return scale_with<Scale<std::uint32_t>>;
    default:
      return scale_with<Scale<std::uint64_t>>;
  }
}

void streaming_copy(std::byte* target, const std::byte* source, std::size_t bytes, bool streaming) {
  const Job job{target, &source, 1, 0, nullptr};
  run<StreamingCopy>(job, 0, bytes, streaming);
}

CopyFunction find_copy_here(int) { return streaming_copy; }

}  // namespace HWY_NAMESPACE
}  // namespace tutti
HWY_AFTER_NAMESPACE();
#endif  // TUTTI_VECTOR_TARGET

#if HWY_ONCE
#include "src/memory/select.h"

namespace tutti::kernels {

ReduceFunction find_integer_reduce(DataType type, ReduceOp op, InstructionSet set) {
  TUTTI_SELECT_KERNEL(set, integer_reduce, type, op);
}

ScaleFunction find_integer_scale(DataType type, InstructionSet set) { TUTTI_SELECT_KERNEL(set, integer_scale, type); }

CopyFunction find_streaming_copy(InstructionSet set) { TUTTI_SELECT_KERNEL(set, find_copy_here, 0); }

}  // namespace tutti::kernels
#endif  // HWY_ONCE
