// Counts: what a schedule costs before any machine is known. Data is counted in blocks, as an exact fraction (one
// block is what the call's `count` says; see schedule.h). "The busiest rank" is taken for each number separately.
#pragma once

#include <cstdint>

#include "src/base/status.h"
#include "src/schedule/fraction.h"
#include "src/schedule/schedule.h"

namespace tutti {

struct Counts {
  std::uint32_t rounds = 0;    // messages in the longest chain of which each can only follow the one before it
  std::uint64_t messages = 0;  // sent by the busiest rank; a send to k peers is k messages
  Fraction sent;               // blocks sent by the busiest rank; a send to k peers sends its data k times
  Fraction reduced;            // blocks' worth of two-operand reductions at the busiest rank
  bool operator==(const Counts&) const = default;
};

// Counts an existing schedule. An error where its messages do not pair up or it would deadlock.
Result<Counts> count(const Schedule& schedule);

}  // namespace tutti
