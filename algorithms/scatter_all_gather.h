// Scatter and all-gather: a broadcast of a large message. The root sends every rank its chunk, then the chunks go
// round a ring, so that everybody's links carry the load. (van de Geijn; see Barnett, Shuler, van de Geijn, Gupta,
// Payne and Watts, "Interprocessor collective communication library", 1994.)
//
// The root has all chunks from the start, so nothing is sent to it, and the next rank's chunks leave it at once.
//
//                steps    messages     blocks sent      (at the root, the busiest)
//   broadcast    p - 1    2 (p - 1)    2 (p - 1)/p
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

void scatter_all_gather_broadcast(Builder& b);

Counts scatter_all_gather_broadcast_counts(Rank ranks);

}  // namespace tutti
