// Conflicts: whether every two steps of a rank that touch the same memory, one of them writing, are ordered by a path
// of `after` edges. Then nothing is overwritten that is still being read, and each read sees the write it is meant to
// see, whatever else happens first. A reduce may write exactly what it reads; that is one step.
#pragma once

#include "src/base/status.h"
#include "src/schedule/atoms.h"
#include "src/schedule/schedule.h"

namespace tutti {

// REQUIRES: the schedule is well formed.
Status check_conflicts(const Schedule& schedule, const Atoms& atoms);

}  // namespace tutti
