// Plan: how one operation is to run. It splits every block over lanes; each lane has its share of the bytes and an
// algorithm of its own. Pure values; every rank of a communicator computes the same plan from the same facts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "algorithms/catalog.h"
#include "src/base/clock.h"
#include "src/memory/datatype.h"
#include "src/schedule/schedule.h"

namespace tutti {

// What ranks know of each other's block sizes; decides which algorithms can serve.
enum class BlockKnowledge : std::uint8_t {
  uniform,   // all blocks have one size
  table,     // sizes differ, every rank knows all; memory may have gaps
  own_only,  // a rank knows only the messages it takes part in
};

struct PlanQuery {
  Collective what = Collective::all_reduce;
  BlockKnowledge blocks = BlockKnowledge::uniform;
  std::uint64_t block_bytes = 0;  // of the largest block; 0 with own_only
  std::uint64_t element_bytes = 1;
  Rank root = 0;
  bool operator==(const PlanQuery&) const = default;
};

struct LanePlan {
  const Algorithm* algorithm = nullptr;
  std::uint32_t share_begin = 0;  // of 65536
  std::uint32_t share_end = 65536;
};

struct Plan {
  std::vector<LanePlan> lanes;
  std::uint32_t segment_bytes = 0;
  bool board = false;  // through the flat board, by the direct algorithm
  Nanoseconds predicted{0};
  std::string why;  // one line: what was chosen, the predicted time, what limits it, the next best
};

// What every rank knows alike about the members of a communicator, from the rendezvous.
struct Shape {
  Rank ranks = 1;
  std::vector<std::uint32_t> host;  // by rank: a number per host, from 0 in order of first appearance
  std::uint32_t hosts = 1;
  std::uint32_t ranks_per_core = 1;  // on the most crowded host, rounded up
  bool has_board = false;
  std::uint64_t board_bytes = 0;    // the largest input that the board takes
  std::uint32_t network_lanes = 1;  // lanes between hosts, or everywhere if shared memory is not used
  bool shared_memory = false;       // ranks of one host talk through memory
  std::uint32_t segment_bytes = 0;  // 0: the planner decides
};

}  // namespace tutti
