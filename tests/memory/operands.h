// Operands for the tests of this folder: bytes placed at any alignment, with the values that break kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "src/base/random.h"
#include "src/memory/datatype.h"

namespace tutti::testing_operands {

// An array of bytes at a given offset from a 64-byte boundary, between guards that `intact` checks. The allocation
// ends with the guard, so that AddressSanitizer sees a read past it.
class Array {
 public:
  Array(std::size_t bytes, std::size_t offset)
      : storage_(kGuard + 64 + offset + bytes + kGuard, std::byte{0xa5}), bytes_(bytes) {
    const auto base = reinterpret_cast<std::uintptr_t>(storage_.data()) + kGuard;
    begin_ = kGuard + (64 - base % 64) % 64 + offset;
  }

  std::byte* data() { return storage_.data() + begin_; }
  const std::byte* data() const { return storage_.data() + begin_; }
  std::size_t size() const { return bytes_; }

  bool intact() const {
    for (std::size_t i = 0; i < kGuard; ++i) {
      if (data()[-1 - static_cast<std::ptrdiff_t>(i)] != std::byte{0xa5}) return false;
      if (data()[bytes_ + i] != std::byte{0xa5}) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t kGuard = 64;
  std::vector<std::byte> storage_;
  std::size_t bytes_;
  std::size_t begin_;
};

// The bits of +0, 1, the largest finite, infinity, NaNs with payloads, the smallest normal and subnormal ... of a
// float type, all below the sign bit; zero, one and the extremes of an integer type.
inline std::vector<std::uint64_t> special_bits(DataType type) {
  switch (type) {
    case DataType::float16:
      return {0, 1, 0x3c00, 0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7fff, 0x0400, 0x03ff, 0x1400};
    case DataType::bfloat16:
      return {0, 1, 0x3f80, 0x7f7f, 0x7f80, 0x7f81, 0x7fc0, 0x7fff, 0x0080, 0x007f, 0x3c00};
    case DataType::float32:
      return {0, 1, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff, 0x00800000, 0x007fffff};
    case DataType::float64:
      return {0,
              1,
              0x3ffull << 52,
              0x7fefffffffffffffull,
              0x7ffull << 52,
              (0x7ffull << 52) + 1,
              0x7ff8ull << 48,
              0x7fffffffffffffffull,
              1ull << 52,
              (1ull << 52) - 1};
    case DataType::float8_e4m3:
      return {0, 1, 0x38, 0x7e, 0x7f, 0x08, 0x07};
    case DataType::float8_e5m2:
      return {0, 1, 0x3c, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f, 0x04, 0x03};
    default:
      return {0, 0, 0, 1, ~0ull >> 1, ~0ull, 2};
  }
}

// A third random bits, a third special values with random sign, and for floats a third moderate values, whose sums
// neither overflow nor vanish.
inline void fill(DataType type, std::byte* values, std::size_t count, Random& random) {
  const std::vector<std::uint64_t> specials = special_bits(type);
  const std::size_t size = size_of(type);
  const unsigned width = static_cast<unsigned>(8 * size);
  const std::uint64_t one = specials[2];
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t bits = random.next();
    const std::uint64_t kind = random.below(is_integer(type) ? 2 : 3);
    if (kind == 1)
      bits = specials[random.below(specials.size())] ^ (is_integer(type) ? 0 : bits & 1ull << (width - 1));
    if (kind == 2) bits = (one + random.below(one / 4 + 1) - one / 8) | (bits & 1ull << (width - 1));
    std::memcpy(values + i * size, &bits, size);  // little-endian: the low bytes
  }
}

}  // namespace tutti::testing_operands
