// Sets of up to 64 equal slots, as the bits of a word.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace tutti::shm {

// The lowest run of `count` ones, or 64. REQUIRES: 1 <= count <= 64
inline std::uint64_t find_run(std::uint64_t free, std::uint64_t count) {
  std::uint64_t run = free;
  for (std::uint64_t have = 1; have < count;) {
    const std::uint64_t shift = std::min(have, count - have);
    run &= run >> shift;
    have += shift;
  }
  return static_cast<std::uint64_t>(std::countr_zero(run));
}

inline std::uint64_t slot_bits(std::uint64_t first, std::uint64_t count) {
  return (count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1) << first;
}

}  // namespace tutti::shm
