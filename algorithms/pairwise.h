// Pairwise: p - 1 rounds one after the other; in round k a rank sends to the one k places after it and takes from the
// one k places before. Each rank has one message in and one out at a time, so nobody is overrun: for large messages
// on networks that suffer from many senders to one. (Thakur, Rabenseifner and Gropp, 2005.)
//
//                     steps    blocks sent    blocks reduced
//   all_to_all        p - 1    p - 1          0
//   reduce_scatter    p - 1    p - 1          p - 1
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

void pairwise_all_to_all(Builder& b);
void pairwise_reduce_scatter(Builder& b);

Counts pairwise_all_to_all_counts(Rank ranks);
Counts pairwise_reduce_scatter_counts(Rank ranks);

}  // namespace tutti
