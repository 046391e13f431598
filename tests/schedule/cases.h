// The calls that tests go through: every rank count, every root, in place and not.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "algorithms/catalog.h"
#include "src/base/format.h"

namespace tutti {

inline bool long_run() {
  const char* value = std::getenv("TUTTI_TEST_LONG");
  return value != nullptr && std::string_view(value) == "1";
}

inline std::string describe(const Algorithm& algorithm, const Call& call) {
  return format("{} {} with {} ranks, root {}{}", name(algorithm.what), algorithm.name, call.ranks, call.root,
                call.in_place ? ", in place" : "");
}

// Calls act(call) for all calls with that many ranks; every `stride`-th root.
template <typename Act>
void for_each_call(Collective what, Rank ranks, Rank stride, const Act& act) {
  const Rank roots = is_rooted(what) ? ranks : 1;
  for (Rank root = 0; root < roots; root += stride) {
    for (const bool in_place : {false, true}) act(Call{what, ranks, 0, root, in_place});
  }
}

}  // namespace tutti
