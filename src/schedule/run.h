// Run: plays a schedule with no buffering at all, to see that it ends and in which order things can happen.
//
// A step is ready when all its `after` steps are done. A message moves only when its send and the receive or reduce
// that consumes it are ready at once; a reduce takes all its messages together; a send is done when its last peer has
// consumed. The messages of one pair move in their order. Nothing here is a choice: what can happen stays possible,
// so if one order of events ends, all do, and if one gets stuck, all get stuck at the same steps.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/status.h"
#include "src/schedule/schedule.h"

namespace tutti {

struct StepRef {
  Rank rank = 0;
  StepId step = 0;
};

struct Run {
  // All receives, reduces and copies in an order in which they can happen.
  std::vector<StepRef> order;
  // Messages in the longest chain of which each can only follow the one before it.
  std::uint32_t rounds = 0;

  // By rank, where its steps begin in the vectors by step.
  std::vector<std::uint32_t> first_step;
  // The sends whose messages a step consumes, in the order of its operands: [first_sender[s], first_sender[s + 1]).
  std::vector<std::uint32_t> first_sender;
  std::vector<StepRef> senders;

  std::uint32_t index(StepRef ref) const { return first_step[static_cast<std::size_t>(ref.rank)] + ref.step; }
};

// Rejects messages without a counterpart or of unequal length, and deadlocks. REQUIRES: the schedule is well formed.
Result<Run> run(const Schedule& schedule);

}  // namespace tutti
