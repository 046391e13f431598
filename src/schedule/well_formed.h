// Well-formed: what can be said of each step by itself. Everything else in the verifier relies on it.
#pragma once

#include "src/base/status.h"
#include "src/schedule/schedule.h"

namespace tutti {

// Rejects calls that do not fit together, ranges outside their vectors, views outside their buffers, operands of
// unequal length, peers that are not there, `after` lists that look ahead, writes to input, and a misplaced finish.
Status check_well_formed(const Schedule& schedule);

// The part of its blocks that a view covers, told as a part of a whole block: for a scratch block that is itself like
// a part, that part. Two views are equally long exactly when these have equal `blocks` and the same_part. The buffer
// and block are the view's. REQUIRES: a well-formed view.
View coverage(const Program& program, const View& view);

inline bool equally_long(const View& coverage_a, const View& coverage_b) {
  return coverage_a.blocks == coverage_b.blocks && same_part(coverage_a, coverage_b);
}

}  // namespace tutti
