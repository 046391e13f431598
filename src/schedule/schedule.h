// Schedule: a collective as data. One Program per rank says what that rank sends, receives, reduces and copies, over
// symbolic views. Plain values: no pointer, no address, no runtime state; printable, comparable, cacheable.
//
// Meaning of a program
//  - A step may run once every step in its `after` list is done; steps without a path between them may run in any
//    order or at once. `after` lists name earlier steps only. The Builder infers them from overlapping views.
//  - Nothing is written to input views, in place or not: an in-place program writes to the output. Two views are
//    equally long when they have the same number of blocks and cover the same part of them.
//  - The n-th message that rank a sends to rank b matches the n-th message that b's program takes from a (by program
//    order of the steps, and of the operands inside a reduce). There are no tags. The messages of a pair move in that
//    order, so no program may need a later one to get on with an earlier one (the verifier sees to it).
//  - send: delivers `source` to every rank in its peer list (each counts as one message to that peer, and none is
//    named twice). Done when the source may be overwritten.
//  - receive: writes the next message of its one peer to `target`.
//  - reduce: target = fold of the operands, from left to right in the order listed, in one pass. There are at least
//    two. An operand is a local view or the next message of a peer. A local operand may be exactly the target. All
//    operands are as long as the target. The order is part of the program because floating-point sums depend on it:
//    a schedule in which two ranks compute the same result must fold in the same order on both.
//  - copy: writes `source` to `target`. They may be the same memory exactly when there is something to finish.
//  - finish on a reduce or copy: what is written is a final result, to which the operation's last act (average's
//    division) is applied. Every final result is finished exactly once on its way to the outputs that show it.
//
// Buffers, by collective (p ranks; sizes in elements; c = the count per block):
//   all_reduce, reduce, broadcast   input 1 block, output 1 block
//   all_gather                      input 1 block, output p blocks          (block r comes from rank r)
//   reduce_scatter                  input p blocks, output 1 block
//   all_to_all                      input p blocks, output p blocks
//   gather                          input 1 block, output p blocks at the root, none elsewhere
//   scatter                         input p blocks at the root, none elsewhere, output 1 block
// Broadcast reads the input at the root only, reduce writes the output at the root only: elsewhere that buffer has no
// blocks, and in_place means nothing at a rank where either buffer has none.
//
// in_place (a rank's own affair): all_reduce, reduce, broadcast, all_to_all: input and output are the same memory.
// all_gather and, at its root, gather: the input is output block `rank`. reduce_scatter and, at its root, scatter:
// the output is input block `rank`. A program for an in-place call is right under that overlap.
//
// Scratch block i has as many elements as the view scratch[i], which is one block of input or output or a part of
// one. A scratch block like a part is itself only used whole. Scratch memory is undefined until written.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "src/schedule/view.h"

namespace tutti {

using Rank = std::int32_t;
using StepId = std::uint32_t;

enum class Collective : std::uint8_t {
  all_reduce,
  reduce,
  broadcast,
  all_gather,
  reduce_scatter,
  all_to_all,
  gather,
  scatter,
};

std::string_view name(Collective what);  // "all_reduce"
bool is_rooted(Collective what);         // reduce, broadcast, gather, scatter
bool is_reduction(Collective what);      // all_reduce, reduce, reduce_scatter

// What one rank asks for, as far as a program depends on it.
struct Call {
  Collective what = Collective::all_reduce;
  Rank ranks = 1;
  Rank rank = 0;
  Rank root = 0;          // 0 for collectives without a root
  bool in_place = false;  // this rank's input and output overlap as described above
  bool operator==(const Call&) const = default;
};

enum class StepKind : std::uint8_t { send, receive, reduce, copy };

std::string_view name(StepKind kind);  // "send"
std::string_view name(Buffer buffer);  // "input"

struct Operand {
  static constexpr Rank kLocal = -1;
  Rank peer = kLocal;  // kLocal: `view`; otherwise the next message of that rank
  View view;
  bool operator==(const Operand&) const = default;
};

struct Range {  // [begin, begin + count) of one of the program's vectors
  std::uint32_t begin = 0;
  std::uint32_t count = 0;
  bool operator==(const Range&) const = default;
};

struct Step {
  StepKind kind = StepKind::copy;
  bool finish = false;  // reduce and copy
  View target;          // receive, reduce, copy
  View source;          // send, copy
  Range peers;          // send: destinations; receive: exactly one source
  Range operands;       // reduce
  Range after;
  bool operator==(const Step&) const = default;
};

struct Program {
  Call call;
  std::vector<Step> steps;
  std::vector<Rank> peers;
  std::vector<Operand> operands;
  std::vector<StepId> after;
  std::vector<View> scratch;

  std::span<const Rank> peers_of(const Step& step) const {
    return {peers.data() + step.peers.begin, step.peers.count};
  }
  std::span<const Operand> operands_of(const Step& step) const {
    return {operands.data() + step.operands.begin, step.operands.count};
  }
  std::span<const StepId> after_of(const Step& step) const {
    return {after.data() + step.after.begin, step.after.count};
  }
  bool operator==(const Program&) const = default;
};

struct Schedule {
  std::vector<Program> programs;  // index = rank
  bool operator==(const Schedule&) const = default;
};

}  // namespace tutti
