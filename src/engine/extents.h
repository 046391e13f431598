// Extents: where the blocks of one call's input and output lie, so that symbolic views become offsets and lengths.
// Offsets and lengths are in elements here; the compiler multiplies by the element size.
#pragma once

#include <cstdint>
#include <vector>

#include "src/schedule/view.h"

namespace tutti {

// The blocks of one buffer: all of `count` elements one after the other, or a table.
struct BlockTable {
  std::uint64_t count = 0;
  std::vector<std::uint64_t> counts;   // empty: uniform
  std::vector<std::uint64_t> offsets;  // as long as counts

  std::uint64_t length(std::uint32_t block) const { return counts.empty() ? count : counts[block]; }
  std::uint64_t offset(std::uint32_t block) const { return counts.empty() ? count * block : offsets[block]; }
  // Whether blocks [first, first + length) lie one after the other.
  bool contiguous(std::uint32_t first, std::uint32_t blocks) const {
    if (counts.empty()) return true;
    for (std::uint32_t b = first; b + 1 < first + blocks; ++b) {
      if (offsets[b] + counts[b] != offsets[b + 1]) return false;
    }
    return true;
  }
};

struct Extents {
  BlockTable input;
  BlockTable output;
  // With in-place calls: input address + input_to_output = output address of the same memory, in elements.
  std::int64_t input_to_output = 0;
  bool in_place = false;

  const BlockTable& blocks(Buffer buffer) const { return buffer == Buffer::output ? output : input; }
};

// One lane's share of every block: elements [floor(n*begin/kWhole), floor(n*end/kWhole)).
struct Share {
  static constexpr std::uint32_t kWhole = 1u << 16;
  std::uint32_t begin = 0;
  std::uint32_t end = kWhole;
  bool operator==(const Share&) const = default;
};

}  // namespace tutti
