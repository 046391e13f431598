#include "tests/process/elements.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace tutti_test {

namespace {

struct Format {
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;
};

Format format_of(tutti_datatype type) {
  switch (type) {
    case TUTTI_FLOAT16:
      return {5, 10, true};
    case TUTTI_BFLOAT16:
      return {8, 7, true};
    case TUTTI_FLOAT32:
      return {8, 23, true};
    case TUTTI_FLOAT8_E4M3:
      return {4, 3, false};
    case TUTTI_FLOAT8_E5M2:
      return {5, 2, true};
    default:
      return {11, 52, true};
  }
}

int width_of(tutti_datatype type) { return static_cast<int>(tutti_datatype_size(type)) * 8; }

std::uint64_t mask_of(tutti_datatype type) { return ~0ull >> (64 - width_of(type)); }

std::int64_t sign_extended(tutti_datatype type, std::uint64_t bits) {
  const int unused = 64 - width_of(type);
  return static_cast<std::int64_t>(bits << unused) >> unused;
}

double uniform(std::uint64_t random) { return static_cast<double>(random >> 11) * 0x1p-53; }

// A number whose sums, products and scaled sums over 8 ranks are exact in every type.
double exact_value(const InputKind& kind, std::uint64_t random) {
  if (kind.op == TUTTI_PRODUCT) return random % 2 == 0 ? 2 : (is_signed(kind.type) && random % 3 == 0 ? -1 : 1);
  const int low = is_signed(kind.type) ? -1 : 0;
  return low + static_cast<int>(random % static_cast<std::uint64_t>(2 - low));
}

std::uint64_t input_bits(const InputKind& kind, int rank, std::size_t index) {
  const std::uint64_t random = mix(mix(kind.seed, static_cast<std::uint64_t>(rank)), index);
  if (kind.family == Family::bits) return random & mask_of(kind.type);
  if (kind.family == Family::exact) return encode(kind.type, exact_value(kind, random));
  if (!is_float(kind.type)) return random & mask_of(kind.type);
  const double unit = uniform(random);
  if (kind.op == TUTTI_PRODUCT) return encode(kind.type, 0.75 + unit / 2);
  return encode(kind.type, 2 * unit - 1);
}

std::uint64_t reduce_integers(const InputKind& kind, const std::vector<std::uint64_t>& inputs,
                              const std::vector<std::uint64_t>& scalars) {
  const std::uint64_t mask = mask_of(kind.type);
  std::uint64_t result = inputs[0];
  const auto less = [&](std::uint64_t a, std::uint64_t b) {
    return is_signed(kind.type) ? sign_extended(kind.type, a) < sign_extended(kind.type, b) : a < b;
  };
  if (kind.op == TUTTI_PREMULTIPLIED_SUM) result *= scalars[0];
  if (kind.op == TUTTI_LOGICAL_AND || kind.op == TUTTI_LOGICAL_OR) result = result != 0;
  for (std::size_t r = 1; r < inputs.size(); ++r) {
    const std::uint64_t x = inputs[r];
    switch (kind.op) {
      case TUTTI_SUM:
      case TUTTI_AVERAGE:
        result += x;
        break;
      case TUTTI_PREMULTIPLIED_SUM:
        result += x * scalars[r];
        break;
      case TUTTI_PRODUCT:
        result *= x;
        break;
      case TUTTI_MIN:
        result = less(x, result) ? x : result;
        break;
      case TUTTI_MAX:
        result = less(result, x) ? x : result;
        break;
      case TUTTI_BIT_AND:
        result &= x;
        break;
      case TUTTI_BIT_OR:
        result |= x;
        break;
      case TUTTI_BIT_XOR:
        result ^= x;
        break;
      case TUTTI_LOGICAL_AND:
        result = result != 0 && x != 0;
        break;
      case TUTTI_LOGICAL_OR:
        result = result != 0 || x != 0;
        break;
    }
  }
  result &= mask;
  if (kind.op != TUTTI_AVERAGE) return result;
  if (!is_signed(kind.type)) return result / inputs.size();
  return static_cast<std::uint64_t>(sign_extended(kind.type, result) / static_cast<std::int64_t>(inputs.size())) &
         mask;
}

// -0 is below +0.
bool is_below(double a, double b) { return a < b || (a == b && std::signbit(a) && !std::signbit(b)); }

// The float64 reference and the sum of magnitudes that its error is measured by.
double reduce_floats(const InputKind& kind, const std::vector<double>& inputs, const std::vector<double>& scalars,
                     double& magnitude) {
  double result = kind.op == TUTTI_PREMULTIPLIED_SUM ? inputs[0] * scalars[0] : inputs[0];
  magnitude = std::fabs(result);
  for (std::size_t r = 1; r < inputs.size(); ++r) {
    const double x = kind.op == TUTTI_PREMULTIPLIED_SUM ? inputs[r] * scalars[r] : inputs[r];
    if (kind.op == TUTTI_PRODUCT) {
      result *= x;
    } else if (kind.op == TUTTI_MIN) {
      result = is_below(x, result) ? x : result;
    } else if (kind.op == TUTTI_MAX) {
      result = is_below(result, x) ? x : result;
    } else {
      result += x;
    }
    magnitude = kind.op == TUTTI_PRODUCT ? std::fabs(result) : magnitude + std::fabs(x);
  }
  if (kind.op == TUTTI_AVERAGE) {
    result /= static_cast<double>(inputs.size());
    magnitude /= static_cast<double>(inputs.size());
  }
  return result;
}

}  // namespace

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15ull + b + 0x632be59bd9b4e019ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

bool is_float(tutti_datatype type) { return type >= TUTTI_FLOAT16; }
bool is_signed(tutti_datatype type) { return is_float(type) || type % 2 == 0; }
bool op_exists(tutti_datatype type, tutti_op op) {
  return !is_float(type) || op <= TUTTI_AVERAGE || op == TUTTI_PREMULTIPLIED_SUM;
}

double decode(tutti_datatype type, std::uint64_t bits) {
  if (!is_float(type))
    return is_signed(type) ? static_cast<double>(sign_extended(type, bits)) : static_cast<double>(bits);
  if (type == TUTTI_FLOAT64) return std::bit_cast<double>(bits);
  if (type == TUTTI_FLOAT32) return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
  const Format f = format_of(type);
  const int top = (1 << f.exponent_bits) - 1;
  const int bias = top / 2;
  const auto mantissa = static_cast<int>(bits & ((1ull << f.mantissa_bits) - 1));
  const auto exponent = static_cast<int>(bits >> f.mantissa_bits & static_cast<std::uint64_t>(top));
  const double sign = (bits >> (f.exponent_bits + f.mantissa_bits) & 1) != 0 ? -1 : 1;
  if (exponent == top && f.has_infinity)
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  if (exponent == top && mantissa == (1 << f.mantissa_bits) - 1) return std::numeric_limits<double>::quiet_NaN();
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - f.mantissa_bits);
  return sign * std::ldexp((1 << f.mantissa_bits) + mantissa, exponent - bias - f.mantissa_bits);
}

std::uint64_t encode(tutti_datatype type, double value) {
  if (!is_float(type)) return static_cast<std::uint64_t>(static_cast<std::int64_t>(value)) & mask_of(type);
  if (type == TUTTI_FLOAT64) return std::bit_cast<std::uint64_t>(value);
  if (type == TUTTI_FLOAT32) return std::bit_cast<std::uint32_t>(static_cast<float>(value));
  const Format f = format_of(type);
  const int bias = (1 << (f.exponent_bits - 1)) - 1;
  const std::uint64_t sign = std::signbit(value) ? 1ull << (f.exponent_bits + f.mantissa_bits) : 0;
  int exponent = 0;
  std::frexp(value, &exponent);
  const int lowest = 1 - bias;  // of normal numbers
  const int at = std::max(value == 0 ? lowest : exponent - 1, lowest);
  const double quantum = std::ldexp(1, at - f.mantissa_bits);
  const auto steps = static_cast<std::uint64_t>(std::nearbyint(std::fabs(value) / quantum));
  // Steps of a normal number include the hidden bit, which carries into the exponent on its own.
  return sign | ((static_cast<std::uint64_t>(at - lowest) << f.mantissa_bits) + steps);
}

std::uint64_t get_bits(tutti_datatype type, const std::byte* at) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, at, tutti_datatype_size(type));
  return bits;
}

void put_bits(tutti_datatype type, std::byte* at, std::uint64_t bits) {
  std::memcpy(at, &bits, tutti_datatype_size(type));
}

Bytes input_tile(const InputKind& kind, int rank, std::size_t length) {
  const std::size_t width = tutti_datatype_size(kind.type);
  Bytes tile(length * width);
  for (std::size_t i = 0; i < length; ++i) put_bits(kind.type, tile.data() + i * width, input_bits(kind, rank, i));
  return tile;
}

Bytes scalar_of(const InputKind& kind, int rank) {
  // Odd ranks subtract; types with room for it also scale.
  const bool narrow = kind.type == TUTTI_FLOAT8_E4M3 || kind.type == TUTTI_FLOAT8_E5M2;
  double factor = narrow ? 1 : 1 + (rank + 1) % 3;
  if (rank % 2 == 1) factor = -factor;
  Bytes element(tutti_datatype_size(kind.type));
  put_bits(kind.type, element.data(), encode(kind.type, factor));
  return element;
}

Expected reduced_tile(const InputKind& kind, int ranks, std::size_t length) {
  const std::size_t width = tutti_datatype_size(kind.type);
  const bool power_of_two = (ranks & (ranks - 1)) == 0;
  Expected expected;
  expected.is_exact = !is_float(kind.type) || kind.op == TUTTI_MIN || kind.op == TUTTI_MAX || ranks == 1 ||
                      (kind.family == Family::exact && (kind.op != TUTTI_AVERAGE || power_of_two));
  std::vector<Bytes> tiles;
  std::vector<std::uint64_t> scalars;
  std::vector<double> factors;
  for (int r = 0; r < ranks; ++r) {
    tiles.push_back(input_tile(kind, r, length));
    scalars.push_back(get_bits(kind.type, scalar_of(kind, r).data()));
    factors.push_back(decode(kind.type, scalars.back()));
  }
  if (expected.is_exact) expected.tile.resize(length * width);
  const Format f = format_of(kind.type);
  const double epsilon = std::ldexp(1, -f.mantissa_bits - 1);
  const double smallest = std::ldexp(1, 2 - (1 << (f.exponent_bits - 1)) - f.mantissa_bits);
  std::vector<std::uint64_t> inputs(static_cast<std::size_t>(ranks));
  std::vector<double> values(inputs.size());
  for (std::size_t i = 0; i < length; ++i) {
    for (std::size_t r = 0; r < inputs.size(); ++r) {
      inputs[r] = get_bits(kind.type, tiles[r].data() + i * width);
      values[r] = decode(kind.type, inputs[r]);
    }
    if (!is_float(kind.type)) {
      put_bits(kind.type, expected.tile.data() + i * width, reduce_integers(kind, inputs, scalars));
      continue;
    }
    double magnitude = 0;
    const double value = reduce_floats(kind, values, factors, magnitude);
    if (expected.is_exact) {
      put_bits(kind.type, expected.tile.data() + i * width, encode(kind.type, value));
    } else {
      expected.value.push_back(value);
      expected.tolerance.push_back((ranks + 1) * (epsilon * magnitude * 1.5 + smallest));
    }
  }
  return expected;
}

}  // namespace tutti_test
