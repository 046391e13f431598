// Recursive doubling and halving: in round k, a rank exchanges with the one whose number differs in bit k. Rank
// counts that are no power of two are folded first (see folded.h): q is the largest power of two in p, L = log2 q.
//
//                               steps        blocks sent              blocks reduced     (p = q)
//   recursive_doubling
//     all_reduce                L            L                        L
//     all_gather                L            p - 1                    0
//   recursive_halving
//     reduce_scatter            L            p - 1                    p - 1
//   halving_doubling
//     all_reduce                2 L          2 (p - 1)/p              (p - 1)/p
//
// Doubling is for small messages, halving and doubling for large ones among ranks that are all equally near. Where p
// > q, two more steps bring the spare ranks in and out; the exact counts are in the code. (Thakur, Rabenseifner and
// Gropp, "Optimization of collective communication operations in MPICH", 2005; Rabenseifner, "Optimization of
// collective reduction operations", 2004.) Both ranks of an exchange fold the lower places' sum first: same bits on
// every rank.
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

void doubling_all_reduce(Builder& b);
void doubling_all_gather(Builder& b);
void halving_reduce_scatter(Builder& b);
void halving_doubling_all_reduce(Builder& b);

Counts doubling_all_reduce_counts(Rank ranks);
Counts doubling_all_gather_counts(Rank ranks);
Counts halving_reduce_scatter_counts(Rank ranks);
Counts halving_doubling_all_reduce_counts(Rank ranks);

}  // namespace tutti
