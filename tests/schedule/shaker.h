// Shaker: runs a schedule on real memory in a random order, as an independent judge of the verifier. It knows nothing
// of atoms, expressions or paths: it has arrays of elements, in which an in-place call's buffers really are one
// array, and it moves them one element at a time, jumping at random between all steps that may run. There is no
// buffering: an element of a message moves only when the steps at both its ends have begun.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/random.h"
#include "src/schedule/schedule.h"

namespace tutti {

// One element: what it was computed from, as a number that depends on every operand and their order, and as one that
// depends only on which inputs it contains.
struct Element {
  std::uint64_t formula = 0;  // 0: undefined
  std::uint64_t contents = 0;
  std::uint32_t finishes = 0;  // acts of finishing on the way
};

// Runs the schedule once with blocks of `count` elements. Returns what went wrong, or nothing if every output holds
// what the collective promises, on all ranks by the same formula. REQUIRES: the schedule is well formed.
std::string shake(const Schedule& schedule, std::uint64_t count, Random& random);

}  // namespace tutti
