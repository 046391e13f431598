// Layout: how many blocks a rank's input and output have, and which blocks are the same memory when the call is in
// place. Every block of input and output, and every scratch block, gets a number; two blocks are the same memory
// exactly when their numbers are equal. A run of consecutive blocks of a buffer has consecutive numbers.
//
// A buffer that a rank's role does not touch has no blocks: the input of a broadcast or scatter away from the root,
// the output of a reduce or gather away from the root. There the caller may well pass a null pointer, and in_place
// says nothing.
#pragma once

#include <cstdint>

#include "src/schedule/schedule.h"

namespace tutti {

struct Layout {
  explicit Layout(const Call& call) {
    const auto p = static_cast<std::uint32_t>(call.ranks);
    const auto self = static_cast<std::uint32_t>(call.rank);
    const bool at_root = !is_rooted(call.what) || call.rank == call.root;
    switch (call.what) {
      case Collective::all_reduce:
        input_blocks = 1, output_blocks = 1;
        break;
      case Collective::reduce:
        input_blocks = 1, output_blocks = at_root ? 1 : 0;
        break;
      case Collective::broadcast:
        input_blocks = at_root ? 1 : 0, output_blocks = 1;
        break;
      case Collective::all_gather:
        input_blocks = 1, output_blocks = p;
        break;
      case Collective::reduce_scatter:
        input_blocks = p, output_blocks = 1;
        break;
      case Collective::all_to_all:
        input_blocks = p, output_blocks = p;
        break;
      case Collective::gather:
        input_blocks = 1, output_blocks = at_root ? p : 0;
        break;
      case Collective::scatter:
        input_blocks = at_root ? p : 0, output_blocks = 1;
        break;
    }
    if (!call.in_place || !at_root) {
      input_base = output_blocks;
      scratch_base = input_blocks + output_blocks;
      return;
    }
    scratch_base = input_blocks > output_blocks ? input_blocks : output_blocks;
    if (input_blocks < output_blocks) input_base = self;
    if (output_blocks < input_blocks) output_base = self;
  }

  std::uint32_t blocks(Buffer buffer) const { return buffer == Buffer::input ? input_blocks : output_blocks; }

  std::uint32_t number(const View& view) const {
    switch (view.buffer) {
      case Buffer::input:
        return input_base + view.block;
      case Buffer::output:
        return output_base + view.block;
      case Buffer::scratch:
        return scratch_base + view.block;
    }
    return 0;
  }

  // The view with its block's number in the place of its block: two of these overlap in memory exactly when
  // overlaps_in_block says so.
  View in_memory(const View& view) const {
    View moved = view;
    moved.block = number(view);
    return moved;
  }
  bool overlap(const View& a, const View& b) const { return overlaps_in_block(in_memory(a), in_memory(b)); }
  bool same(const View& a, const View& b) const {
    return number(a) == number(b) && a.blocks == b.blocks && same_part(a, b);
  }

  std::uint32_t input_blocks = 0;
  std::uint32_t output_blocks = 0;
  std::uint32_t input_base = 0;
  std::uint32_t output_base = 0;
  std::uint32_t scratch_base = 0;
};

}  // namespace tutti
