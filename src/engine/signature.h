// Signature: what a rank said when it started an operation, as far as all ranks must have said the same. It travels
// with every frame (two words of the header), so that calls that do not match become an error naming both instead of
// a hang or a wrong sum.
#pragma once

#include <cstdint>
#include <string>

#include "src/memory/datatype.h"
#include "src/schedule/schedule.h"

namespace tutti {

// Numbers of operations wrap: of two, the one less than 2^31 ahead is the later.
constexpr bool is_ahead(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) > 0; }

// What the caller called. The first eight are the schedule's collectives under the same numbers.
enum class CallKind : std::uint8_t {
  all_reduce,
  reduce,
  broadcast,
  all_gather,
  reduce_scatter,
  all_to_all,
  gather,
  scatter,
  barrier,
  all_gather_v,
  reduce_scatter_v,
  all_to_all_v,
  gather_v,
  scatter_v,
  point_to_point,
  agree,  // moves nothing: every member has come this far (council.h)
};

std::string_view name(CallKind kind);
Collective collective_of(CallKind kind);  // whose schedules serve it; a barrier runs an all-reduce's, an agree none
bool has_type_and_op(CallKind kind);      // is a reduction the caller sees

struct Signature {
  CallKind kind = CallKind::barrier;
  DataType type = DataType::uint8;
  ReduceOp op = ReduceOp::sum;
  std::uint8_t algorithm = 0;  // hash of a forced algorithm's name, 0 if Tutti chose
  Rank root = 0;
  std::uint64_t count = 0;  // elements as passed; for kinds with a table of counts, see `per_message`

  bool operator==(const Signature&) const = default;

  // all_to_all_v, gather_v, scatter_v and point to point: ranks know only the sizes of their own messages, so `count`
  // in a frame is that message's, and messages without elements are sent too. all_gather_v and reduce_scatter_v:
  // count is a hash of the table, which is the same on every rank.
  bool per_message() const;

  std::uint64_t word() const;  // everything but the count
  static Signature from_words(std::uint64_t word, std::uint64_t count);

  // "all_reduce(count 1000, float32, sum)", "broadcast(count 5, int8, root 2)".
  std::string describe() const;
};

}  // namespace tutti
