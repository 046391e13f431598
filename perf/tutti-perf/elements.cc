#include "perf/tutti-perf/elements.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tutti_perf {

namespace {

struct Shape {
  bool is_float;
  bool is_signed;
  int bits;
  int exponent_bits;
  int mantissa_bits;
};

constexpr Shape kShapes[kTypes] = {
    {false, true, 8, 0, 0},  {false, false, 8, 0, 0},  {false, true, 16, 0, 0}, {false, false, 16, 0, 0},
    {false, true, 32, 0, 0}, {false, false, 32, 0, 0}, {false, true, 64, 0, 0}, {false, false, 64, 0, 0},
    {true, true, 16, 5, 10}, {true, true, 16, 8, 7},   {true, true, 32, 8, 23}, {true, true, 64, 11, 52},
    {true, true, 8, 4, 3},   {true, true, 8, 5, 2},
};

const Shape& shape_of(tutti_datatype type) { return kShapes[static_cast<std::size_t>(type)]; }

std::uint64_t mix(std::uint64_t x) {  // splitmix64's finish
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

std::uint64_t hash_at(std::uint64_t seed, int rank, std::size_t i) {
  return mix(seed ^ mix(static_cast<std::uint64_t>(rank) * 0x10001 + 1) ^ mix(i * 3 + 7));
}

void put(Table& table, std::size_t i, const Shape& shape, std::uint64_t bits) {
  std::memcpy(table.data() + i * static_cast<std::size_t>(shape.bits / 8), &bits,
              static_cast<std::size_t>(shape.bits / 8));
}

Table empty_table(const Shape& shape) { return Table(kPeriod * static_cast<std::size_t>(shape.bits / 8)); }

// The bits of a value that the format represents as a normal number, or of zero.
std::uint64_t encode(const Shape& shape, double value) {
  if (value == 0) return 0;
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(value), &exponent);  // in [0.5, 1)
  const int bias = (1 << (shape.exponent_bits - 1)) - 1;
  const auto mantissa = static_cast<std::uint64_t>(std::ldexp(fraction * 2 - 1, shape.mantissa_bits));
  const std::uint64_t sign = value < 0 ? 1 : 0;
  return sign << (shape.bits - 1) | static_cast<std::uint64_t>(exponent - 1 + bias) << shape.mantissa_bits | mantissa;
}

// The largest integer up to which a format represents all, kept small.
int exact_limit(const Shape& shape) { return 1 << std::min(shape.mantissa_bits + 1, 20); }

// A sum's terms: whole numbers whose absolute values add up to at most `limit` over the ranks.
std::int64_t term_of_sum(int limit, int rank, int ranks, std::size_t i, std::uint64_t hash) {
  if (ranks > limit &&
      (static_cast<std::size_t>(rank) + i) % static_cast<std::size_t>(ranks) >= static_cast<std::size_t>(limit)) {
    return 0;
  }
  const int largest = std::clamp(limit / ranks, 1, 7);
  const auto value = static_cast<std::int64_t>(hash % static_cast<std::uint64_t>(largest + 1));
  return hash >> 63 ? -value : value;
}

double factor_of(int rank) { return 1 + rank % 2; }

double float_input(const Shape& shape, tutti_op op, int rank, int ranks, std::size_t i, std::uint64_t seed) {
  const std::uint64_t hash = hash_at(seed, rank, i);
  const auto place = static_cast<int>(i % static_cast<std::size_t>(ranks));
  switch (op) {
    case TUTTI_SUM:
      return static_cast<double>(term_of_sum(exact_limit(shape), rank, ranks, i, hash));
    case TUTTI_PREMULTIPLIED_SUM:
      return static_cast<double>(term_of_sum(exact_limit(shape) / 2, rank, ranks, i, hash));
    case TUTTI_PRODUCT:
      return (hash & 1 ? -1.0 : 1.0) * (rank == place ? 2.0 : 1.0);
    case TUTTI_AVERAGE: {
      // All ranks give the same number, two of them one more and one less: the mean is that number.
      const int largest = std::min(7, (exact_limit(shape) - 1) / ranks);
      const auto base = static_cast<double>(hash_at(seed, 0, i) % static_cast<std::uint64_t>(largest + 1));
      if (ranks == 1) return base;
      return base + (rank == place ? 1 : rank == (place + 1) % ranks ? -1 : 0);
    }
    default:
      return static_cast<double>(static_cast<std::int64_t>(hash % 15) - 7);
  }
}

double fold(tutti_op op, double a, double b) {
  switch (op) {
    case TUTTI_PRODUCT:
      return a * b;
    case TUTTI_MIN:
      return std::min(a, b);
    case TUTTI_MAX:
      return std::max(a, b);
    default:
      return a + b;
  }
}

std::uint64_t truncated(const Shape& shape, std::uint64_t bits) {
  return shape.bits == 64 ? bits : bits & ((std::uint64_t{1} << shape.bits) - 1);
}

std::int64_t sign_extended(const Shape& shape, std::uint64_t bits) {
  const int unused = 64 - shape.bits;
  return static_cast<std::int64_t>(bits << unused) >> unused;
}

std::uint64_t integer_input(const Shape& shape, tutti_op op, int rank, int ranks, std::size_t i, std::uint64_t seed) {
  const std::uint64_t hash = hash_at(seed, rank, i);
  if (op == TUTTI_LOGICAL_AND || op == TUTTI_LOGICAL_OR)
    return hash % 8 == 0 ? 0 : hash % 3 + (op == TUTTI_LOGICAL_AND);
  if (op == TUTTI_AVERAGE) {  // sums that do not wrap
    const std::int64_t term = term_of_sum(100, rank, ranks, i, hash);
    return truncated(shape, static_cast<std::uint64_t>(shape.is_signed ? term : std::abs(term)));
  }
  return truncated(shape, hash);
}

bool less(const Shape& shape, std::uint64_t a, std::uint64_t b) {
  return shape.is_signed ? sign_extended(shape, a) < sign_extended(shape, b) : a < b;
}

std::uint64_t fold(const Shape& shape, tutti_op op, std::uint64_t a, std::uint64_t b) {
  switch (op) {
    case TUTTI_PRODUCT:
      return a * b;
    case TUTTI_MIN:
      return less(shape, b, a) ? b : a;
    case TUTTI_MAX:
      return less(shape, a, b) ? b : a;
    case TUTTI_BIT_AND:
      return a & b;
    case TUTTI_BIT_OR:
      return a | b;
    case TUTTI_BIT_XOR:
      return a ^ b;
    case TUTTI_LOGICAL_AND:
      return a != 0 && b != 0;
    case TUTTI_LOGICAL_OR:
      return a != 0 || b != 0;
    default:
      return a + b;
  }
}

double float_result(const Shape& shape, tutti_op op, int ranks, std::size_t i, std::uint64_t seed) {
  double result = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    double value = float_input(shape, op, rank, ranks, i, seed);
    if (op == TUTTI_PREMULTIPLIED_SUM) value *= factor_of(rank);
    result = rank == 0 ? value : fold(op, result, value);
  }
  return op == TUTTI_AVERAGE ? result / ranks : result;
}

std::uint64_t integer_result(const Shape& shape, tutti_op op, int ranks, std::size_t i, std::uint64_t seed) {
  std::uint64_t result = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    std::uint64_t value = integer_input(shape, op, rank, ranks, i, seed);
    if (op == TUTTI_PREMULTIPLIED_SUM) value *= static_cast<std::uint64_t>(factor_of(rank));
    result = rank == 0 ? value : truncated(shape, fold(shape, op, result, value));
  }
  if (op == TUTTI_AVERAGE) {
    const std::int64_t sum = shape.is_signed ? sign_extended(shape, result) : static_cast<std::int64_t>(result);
    result = static_cast<std::uint64_t>(sum / ranks);
  }
  return truncated(shape, result);
}

}  // namespace

bool is_float(tutti_datatype type) { return shape_of(type).is_float; }

bool is_defined(tutti_op op, tutti_datatype type) {
  return !is_float(type) || op < TUTTI_BIT_AND || op == TUTTI_PREMULTIPLIED_SUM;
}

Table random_table(tutti_datatype type, std::uint64_t seed) {
  Table table = empty_table(shape_of(type));
  for (std::size_t i = 0; i < kPeriod; ++i) put(table, i, shape_of(type), hash_at(seed, -1, i));
  return table;
}

Table rounding_table(tutti_datatype type, int rank, std::uint64_t seed) {
  const Shape& shape = shape_of(type);
  Table table = empty_table(shape);
  const int bias = (1 << (shape.exponent_bits - 1)) - 1;
  for (std::size_t i = 0; i < kPeriod; ++i) {
    const std::uint64_t hash = hash_at(seed, rank, i);
    const std::uint64_t exponent = static_cast<std::uint64_t>(bias) - 2 + hash % 4;
    const std::uint64_t mantissa = hash >> 8 & ((std::uint64_t{1} << shape.mantissa_bits) - 1);
    put(table, i, shape, (hash >> 63) << (shape.bits - 1) | exponent << shape.mantissa_bits | mantissa);
  }
  return table;
}

Table reduction_input(tutti_datatype type, tutti_op op, int rank, int ranks, std::uint64_t seed) {
  const Shape& shape = shape_of(type);
  Table table = empty_table(shape);
  for (std::size_t i = 0; i < kPeriod; ++i) {
    put(table, i, shape,
        shape.is_float ? encode(shape, float_input(shape, op, rank, ranks, i, seed))
                       : integer_input(shape, op, rank, ranks, i, seed));
  }
  return table;
}

Table reduction_result(tutti_datatype type, tutti_op op, int ranks, std::uint64_t seed) {
  const Shape& shape = shape_of(type);
  Table table = empty_table(shape);
  for (std::size_t i = 0; i < kPeriod; ++i) {
    put(table, i, shape,
        shape.is_float ? encode(shape, float_result(shape, op, ranks, i, seed))
                       : integer_result(shape, op, ranks, i, seed));
  }
  return table;
}

std::vector<std::byte> premultiplier(tutti_datatype type, int rank) {
  const Shape& shape = shape_of(type);
  const std::uint64_t bits =
      shape.is_float ? encode(shape, factor_of(rank)) : static_cast<std::uint64_t>(factor_of(rank));
  std::vector<std::byte> scalar(static_cast<std::size_t>(shape.bits / 8));
  std::memcpy(scalar.data(), &bits, scalar.size());
  return scalar;
}

void fill(std::byte* buffer, std::size_t count, std::size_t element_bytes, const Table& table, std::size_t start) {
  for (std::size_t i = 0; i < count;) {
    const std::size_t at = (start + i) % kPeriod;
    const std::size_t run = std::min(kPeriod - at, count - i);
    std::memcpy(buffer + i * element_bytes, table.data() + at * element_bytes, run * element_bytes);
    i += run;
  }
}

std::size_t count_wrong(const std::byte* buffer, std::size_t count, std::size_t element_bytes, const Table& table,
                        std::size_t start) {
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < count;) {
    const std::size_t at = (start + i) % kPeriod;
    const std::size_t run = std::min(kPeriod - at, count - i);
    const std::byte* have = buffer + i * element_bytes;
    const std::byte* want = table.data() + at * element_bytes;
    if (std::memcmp(have, want, run * element_bytes) != 0) {
      for (std::size_t k = 0; k < run; ++k) {
        wrong += std::memcmp(have + k * element_bytes, want + k * element_bytes, element_bytes) != 0;
      }
    }
    i += run;
  }
  return wrong;
}

std::uint64_t hash_of(const std::byte* buffer, std::size_t bytes) {
  std::uint64_t hash = mix(bytes);
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, buffer + i, 8);
    hash = (hash ^ word) * 0x9fb21c651e98df25ull;
    hash ^= hash >> 32;
  }
  std::uint64_t word = 0;
  if (i < bytes) std::memcpy(&word, buffer + i, bytes - i);
  return mix(hash ^ word);
}

}  // namespace tutti_perf
