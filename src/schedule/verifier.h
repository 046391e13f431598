// Verifier: proves a schedule right for every element count, or says what is wrong with it and where.
//
// All ranks' programs are played together on formulas instead of numbers. A schedule that passes
//  - is well formed, and every message has its counterpart of the same length;
//  - ends, even with no buffering at all and whatever the order in which ready things happen;
//  - never overwrites what another step still reads or is meant to read, and never uses undefined memory;
//  - leaves in every output exactly what the collective promises: each rank's contribution once and finished once,
//    or the right rank's block; and writes nothing else of the caller's;
//  - computes each result by the same formula, operand order included, on every rank that shows it, so that even
//    floating-point results are the same bits.
//
// Time is proportional to the steps times the atoms each covers (see atoms.h): the ring all-reduce of 1,024 ranks, 4
// million steps, takes about two seconds.
#pragma once

#include "src/base/status.h"
#include "src/schedule/schedule.h"

namespace tutti {

// An error reads like "schedule all_reduce/16 rejected: rank 4 output[0](2..3)/16 ends with ranks 0-7 twice; first
// wrong at rank 4 step 9 (reduce from rank 0)"; its culprit is the rank.
Status verify(const Schedule& schedule);

}  // namespace tutti
