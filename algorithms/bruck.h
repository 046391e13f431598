// Bruck: everybody sends in every round, ceil(log2 p) rounds for any p (the last may overtake some), at the price of
// copies and, in the all-to-all, of sending blocks more than once: for small messages. (Bruck, Ho, Kipnis, Upfal and
// Weathersby, "Efficient algorithms for all-to-all communications in multiport message-passing systems", 1997.)
//
//                 steps           blocks sent
//   all_gather    ceil(log2 p)    p - 1                 round k: 2^k blocks go to rank - 2^k
//   all_to_all    ceil(log2 p)    about p/2 a round     round k: blocks whose distance has bit k go to rank + 2^k
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

void bruck_all_gather(Builder& b);
void bruck_all_to_all(Builder& b);

Counts bruck_all_gather_counts(Rank ranks);
Counts bruck_all_to_all_counts(Rank ranks);

}  // namespace tutti
