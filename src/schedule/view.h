// View: a symbolic piece of a rank's input, output or scratch memory. It knows no element count and no address.
//
// Each buffer is a row of blocks (an all-gather's output has one block per rank, an all-reduce's input has one). A
// view is either the part [lo/den, hi/den) of one block, or a run of whole blocks. Of a block of n elements, the part
// covers elements [floor(lo*n/den), floor(hi*n/den)): neighbouring parts meet exactly, so no size needs padding and a
// part may be empty. Splitting a part again multiplies the denominator, so boundaries of nested splits agree.
//
//   input block 0, split in 4:   [0/4,1/4) [1/4,2/4) [2/4,3/4) [3/4,4/4)
//   its chunk 1, split in 2:     [2/8,3/8) [3/8,4/8)
#pragma once

#include <cstdint>

namespace tutti {

enum class Buffer : std::uint8_t { input, output, scratch };

class Chunks;

struct View {
  Buffer buffer = Buffer::input;
  std::uint32_t block = 0;
  std::uint32_t blocks = 1;  // > 1 only with lo == 0 and hi == den
  std::uint32_t lo = 0;
  std::uint32_t hi = 1;
  std::uint32_t den = 1;

  bool operator==(const View&) const = default;

  bool whole() const { return lo == 0 && hi == den; }

  // Blocks [first, first + count) of this run of whole blocks. REQUIRES: whole(), first + count <= blocks.
  View run(std::uint32_t first, std::uint32_t count = 1) const {
    View part = *this;
    part.block = block + first;
    part.blocks = count;
    return part;
  }

  // The parts of this view when it is cut into `count` equal chunks. REQUIRES: blocks == 1, count >= 1, and
  // den * count < 2^32.
  Chunks split(std::uint32_t count) const;
};

// The chunks of a view; cheap to make, computed on demand.
class Chunks {
 public:
  Chunks(const View& view, std::uint32_t count) : view_(view), count_(count) {}

  std::uint32_t size() const { return count_; }
  View operator[](std::uint32_t i) const { return run(i, 1); }

  // Chunks [first, first + length) as one view. REQUIRES: first + length <= size().
  View run(std::uint32_t first, std::uint32_t length) const {
    const std::uint32_t width = view_.hi - view_.lo;
    View part = view_;
    part.den = view_.den * count_;
    part.lo = view_.lo * count_ + first * width;
    part.hi = part.lo + length * width;
    return part;
  }

 private:
  View view_;
  std::uint32_t count_;
};

inline Chunks View::split(std::uint32_t count) const { return {*this, count}; }

// True when the two views share an element for some element count, given that they lie in the same buffer.
inline bool overlaps_in_block(const View& a, const View& b) {
  if (a.block + a.blocks <= b.block || b.block + b.blocks <= a.block) return false;
  return std::uint64_t{a.lo} * b.den < std::uint64_t{b.hi} * a.den &&
         std::uint64_t{b.lo} * a.den < std::uint64_t{a.hi} * b.den;
}

// True when both cover the same part of their blocks, however it is written: 1/2 is 2/4.
inline bool same_part(const View& a, const View& b) {
  return std::uint64_t{a.lo} * b.den == std::uint64_t{b.lo} * a.den &&
         std::uint64_t{a.hi} * b.den == std::uint64_t{b.hi} * a.den;
}

// Where boundary num/den of a block of n elements lies.
inline std::uint64_t boundary(std::uint64_t n, std::uint32_t num, std::uint32_t den) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(n) * num / den);
}

}  // namespace tutti
