// Ring: every rank talks to its two neighbours only, and all links are busy all the time. The least data on the wire,
// the most steps: for large messages. (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
// workstations", 2009.)
//
//      0 -> 1 -> 2 -> 3 -> 0      in step s, rank r passes on the partial sum of chunk r - s and adds its own
//                                 contribution to the one of chunk r - s - 1 that arrives
//
//                     steps      blocks sent    blocks reduced
//   reduce_scatter    p - 1      p - 1          p - 1
//   all_gather        p - 1      p - 1          0
//   all_reduce        2(p - 1)   2(p - 1)/p     (p - 1)/p
//   reduce            p          1 (p > 1)      (p - 1)/p      (reduce-scatter, then chunks go to the root)
//
// With both directions, every piece is cut in two halves that go round opposite rings at once: the same data, twice
// the messages of half the size, and both directions of every link are in use.
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

enum class Directions : std::uint8_t { one = 1, both = 2 };

// Building blocks. `input` and `output` (or `data`) are cut into one piece per member: a run of blocks into its
// blocks, anything else into equal chunks. Input and output may be the same memory, but not otherwise overlap.
// Afterwards member i has the sum of everybody's piece i of input in piece i of output; the rest of output is
// undefined.
void ring_reduce_scatter(Builder& b, const Group& ring, const View& input, const View& output, bool finish,
                         Directions directions = Directions::one);
// Before, member i has its piece in `own` (which may be piece i of data); afterwards everybody has all of them in
// data, save that `own` itself is not copied.
void ring_all_gather(Builder& b, const Group& ring, const View& own, const View& data,
                     Directions directions = Directions::one);

// The collectives.
void ring_all_reduce(Builder& b);
void ring_reduce_scatter(Builder& b);
void ring_all_gather(Builder& b);
void ring_reduce(Builder& b);
void ring_all_reduce_bidirectional(Builder& b);
void ring_reduce_scatter_bidirectional(Builder& b);
void ring_all_gather_bidirectional(Builder& b);

Counts ring_all_reduce_counts(Rank ranks);
Counts ring_reduce_scatter_counts(Rank ranks);
Counts ring_all_gather_counts(Rank ranks);
Counts ring_reduce_counts(Rank ranks);
Counts ring_all_reduce_bidirectional_counts(Rank ranks);
Counts ring_reduce_scatter_bidirectional_counts(Rank ranks);
Counts ring_all_gather_bidirectional_counts(Rank ranks);

}  // namespace tutti
