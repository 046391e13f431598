// How the verifier and its parts word what they found: "schedule all_reduce/16 rejected: rank 4 step 9 (reduce from
// rank 0) ...". The rank is also the Status's culprit.
#pragma once

#include <string>
#include <string_view>

#include "src/base/status.h"
#include "src/schedule/schedule.h"

namespace tutti {

// "step 9 (reduce from ranks 0, 3)", "step 2 (send to rank 1)", "step 4 (copy)".
std::string describe(const Program& program, StepId step);
// "rank 4 step 9 (reduce from rank 0)".
std::string describe(const Schedule& schedule, Rank rank, StepId step);

// `what` is a sentence that begins by naming rank and step.
Status reject(const Schedule& schedule, Rank culprit, std::string_view what);
// "... rejected: rank 4 step 9 (reduce from rank 0) WHAT".
Status reject(const Schedule& schedule, Rank rank, StepId step, std::string_view what);

}  // namespace tutti
