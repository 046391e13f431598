#include "src/memory/reduce_reference.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "src/memory/lowprecision.h"

namespace tutti {
namespace {

// What each type is stored as, what it accumulates in, and how to get from one to the other. `load` and `store` of
// the types that accumulate in themselves are the identity, but for the canonical NaN.
template <typename T>
struct Plain {
  using Stored = T;
  using Accumulator = T;
  static T load(T value) { return value; }
  static T store(T value) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(value)) return std::numeric_limits<T>::quiet_NaN();
    }
    return value;
  }
};

template <typename Format>
struct Small {
  using Stored = typename Format::Storage;
  using Accumulator = float;
  static float load(Stored code) { return to_float<Format>(code); }
  static Stored store(float value) { return from_float<Format>(value); }
};

// Wide enough that no product overflows, and unsigned, so that the result wraps.
template <typename T>
T wrapped(std::uint64_t value) {
  return static_cast<T>(value);
}

template <typename T>
T add(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return wrapped<T>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  return a + b;
}

template <typename T>
T multiply(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return wrapped<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  return a * b;
}

template <typename T>
T minimum(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
    if (a == 0 && b == 0) return std::signbit(a) ? a : b;
  }
  return b < a ? b : a;
}

template <typename T>
T maximum(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
    if (a == 0 && b == 0) return std::signbit(a) ? b : a;
  }
  return a < b ? b : a;
}

template <typename T>
T fold(ReduceOp op, T a, T b) {
  switch (op) {
    case ReduceOp::product:
      return multiply(a, b);
    case ReduceOp::min:
      return minimum(a, b);
    case ReduceOp::max:
      return maximum(a, b);
    default:
      break;
  }
  if constexpr (std::is_integral_v<T>) {
    switch (op) {
      case ReduceOp::bit_and:
        return static_cast<T>(a & b);
      case ReduceOp::bit_or:
        return static_cast<T>(a | b);
      case ReduceOp::bit_xor:
        return static_cast<T>(a ^ b);
      case ReduceOp::logical_and:
        return a != 0 && b != 0;
      case ReduceOp::logical_or:
        return a != 0 || b != 0;
      default:
        break;
    }
  }
  return add(a, b);
}

template <typename T>
T divide(T value, std::uint32_t divisor) {
  if constexpr (std::is_floating_point_v<T>) return value / static_cast<T>(divisor);
  if constexpr (std::is_unsigned_v<T>) return static_cast<T>(static_cast<std::uint64_t>(value) / divisor);
  return static_cast<T>(static_cast<std::int64_t>(value) / std::int64_t{divisor});
}

template <typename Stored>
Stored element(const std::byte* values, std::size_t index) {
  Stored value;
  std::memcpy(&value, values + index * sizeof(Stored), sizeof(Stored));
  return value;
}

template <typename Type>
void reduce_as(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
               std::size_t count) {
  using Stored = typename Type::Stored;
  for (std::size_t i = 0; i < count; ++i) {
    Stored result = element<Stored>(sources[0], i);
    if (sources.size() > 1 || reduction.divisor != 0) {
      auto accumulator = Type::load(result);
      for (std::size_t s = 1; s < sources.size(); ++s) {
        accumulator = fold(reduction.op, accumulator, Type::load(element<Stored>(sources[s], i)));
      }
      if (reduction.divisor != 0) accumulator = divide(accumulator, reduction.divisor);
      result = Type::store(accumulator);
    }
    std::memcpy(target + i * sizeof(Stored), &result, sizeof(Stored));
  }
}

template <typename Type>
void scale_as(std::byte* target, const std::byte* source, std::size_t count, const std::byte* scalar) {
  using Stored = typename Type::Stored;
  for (std::size_t i = 0; i < count; ++i) {
    const Stored result =
        Type::store(multiply(Type::load(element<Stored>(source, i)), Type::load(element<Stored>(scalar, 0))));
    std::memcpy(target + i * sizeof(Stored), &result, sizeof(Stored));
  }
}

// Calls visit(Type{}) with the description of `type`.
template <typename Visit>
void with_type(DataType type, const Visit& visit) {
  switch (type) {
    case DataType::int8:
      return visit(Plain<std::int8_t>{});
    case DataType::uint8:
      return visit(Plain<std::uint8_t>{});
    case DataType::int16:
      return visit(Plain<std::int16_t>{});
    case DataType::uint16:
      return visit(Plain<std::uint16_t>{});
    case DataType::int32:
      return visit(Plain<std::int32_t>{});
    case DataType::uint32:
      return visit(Plain<std::uint32_t>{});
    case DataType::int64:
      return visit(Plain<std::int64_t>{});
    case DataType::uint64:
      return visit(Plain<std::uint64_t>{});
    case DataType::float16:
      return visit(Small<Float16>{});
    case DataType::bfloat16:
      return visit(Small<BFloat16>{});
    case DataType::float32:
      return visit(Plain<float>{});
    case DataType::float64:
      return visit(Plain<double>{});
    case DataType::float8_e4m3:
      return visit(Small<Float8E4M3>{});
    case DataType::float8_e5m2:
      return visit(Small<Float8E5M2>{});
  }
}

}  // namespace

void reduce_reference(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
                      std::size_t count) {
  with_type(reduction.type, [&]<typename Type>(Type) { reduce_as<Type>(reduction, target, sources, count); });
}

void scale_reference(DataType type, std::byte* target, const std::byte* source, std::size_t count,
                     const std::byte* scalar) {
  with_type(type, [&]<typename Type>(Type) { scale_as<Type>(target, source, count, scalar); });
}

}  // namespace tutti
