// Pieces: a view cut for a group of p ranks, one piece each. A run of p blocks is cut into its blocks, anything else
// into p equal chunks, so that one function serves an all-gather (a block per rank) and the all-gather inside an
// all-reduce (a chunk per rank). `part` of `parts` takes that part of every piece: two rings share each piece in
// halves.
#pragma once

#include "src/schedule/view.h"

namespace tutti {

class Pieces {
 public:
  // REQUIRES: view.blocks is 1 or `count`.
  Pieces(const View& view, std::uint32_t count, std::uint32_t part = 0, std::uint32_t parts = 1)
      : view_(view), count_(count), part_(part), parts_(parts) {}

  View operator[](std::uint32_t i) const {
    const View piece = run(i, 1);
    return parts_ == 1 ? piece : piece.split(parts_)[part_];
  }
  // Pieces [first, first + length) as one view. REQUIRES: parts is 1.
  View run(std::uint32_t first, std::uint32_t length) const {
    return view_.blocks == 1 ? view_.split(count_).run(first, length) : view_.run(first, length);
  }

 private:
  View view_;
  std::uint32_t count_;
  std::uint32_t part_;
  std::uint32_t parts_;
};

}  // namespace tutti
