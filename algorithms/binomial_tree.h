// Binomial tree: who has the data passes it on to ever smaller subtrees (or who has collected its subtree hands it
// over). For small messages, where steps count and bytes do not. Ranks are taken relative to the root; the subtree of
// v is v, v + 1, ... so that sums fold in that order and gathered blocks are neighbours.
//
//          0             parent of v: v without its lowest set bit, so v is as deep as it has bits set
//        / | \           children of the root C = ceil(log2 p), depth D = floor(log2 p)
//       1  2  4          .
//          | / \         a rank's children are served in one send where they get the same,
//          3 5  6 - 7    and folded in one reduction
//
//                steps    messages    blocks sent              blocks reduced     (at the busiest rank)
//   broadcast    D        C           C                        0
//   reduce       D        1           1                        C
//   all_reduce   2D       C           C                        C                  (reduce, then broadcast)
//   gather       D        1           the largest subtree      0
//   scatter      D        C           p - 1                    0
//
// (Known since the first MPI implementations; see Thakur, Rabenseifner and Gropp, "Optimization of collective
// communication operations in MPICH", 2005.)
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

void binomial_broadcast(Builder& b);
void binomial_reduce(Builder& b);
void binomial_all_reduce(Builder& b);
void binomial_gather(Builder& b);
void binomial_scatter(Builder& b);

Counts binomial_broadcast_counts(Rank ranks);
Counts binomial_reduce_counts(Rank ranks);
Counts binomial_all_reduce_counts(Rank ranks);
Counts binomial_gather_counts(Rank ranks);
Counts binomial_scatter_counts(Rank ranks);

}  // namespace tutti
