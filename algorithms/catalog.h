// Catalog: every algorithm there is, by collective and name. An algorithm works for every rank count and every root,
// in place and not; which one to take when is the planner's business. The catalog is a table of constants.
#pragma once

#include <span>
#include <string_view>

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"
#include "src/schedule/schedule.h"

namespace tutti {

struct Algorithm {
  std::string_view name;  // "ring"
  Collective what;
  void (*emit)(Builder& builder);  // writes one rank's program
  Counts (*expected)(Rank ranks);  // what it costs with this many ranks, root 0; exact, checked by a test

  bool applies(const Call& call) const { return call.what == what; }
};

std::span<const Algorithm> all_algorithms();

// nullptr where the collective has no algorithm of that name.
const Algorithm* find_algorithm(Collective what, std::string_view name);

// One rank's program. REQUIRES: algorithm.applies(call), 0 <= rank < ranks, 0 <= root < ranks.
Program make_program(const Algorithm& algorithm, const Call& call);

// Everybody's programs, each as in `call` except for its rank.
Schedule make_schedule(const Algorithm& algorithm, const Call& call);

}  // namespace tutti
