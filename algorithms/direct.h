// Direct: every rank sends straight to those who need its data, all at once. The fewest steps, no forwarding and no
// copy: for small messages, and over shared memory (where a send to several peers publishes once, and the fused
// reduction of all p inputs reads each byte once) for large ones too. All folds are in rank order.
//
//                    steps    messages    blocks sent    blocks reduced     (at the busiest rank)
//   all_reduce       1        p - 1       p - 1          p - 1
//   two_shot         2        2(p - 1)    2(p - 1)/p     (p - 1)/p          (reduce_scatter, then all_gather)
//   star             2        p - 1       p - 1          p - 1              (rank 0 folds, then sends to all)
//   reduce_scatter   1        p - 1       p - 1          p - 1
//   all_gather       1        p - 1       p - 1          0
//   all_to_all       1        p - 1       p - 1          0
//   broadcast        1        p - 1       p - 1          0
//   scatter          1        p - 1       p - 1          0
//   gather           1        1           1              0
//   reduce           1        1           1              p - 1
//
// Every rank begins with its next neighbour and goes round, so that not everybody meets at rank 0 first. The
// all-reduces are known as one-shot and two-shot (NVIDIA's and others' kernels) and as the flat tree.
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

void direct_all_reduce(Builder& b);
void two_shot_all_reduce(Builder& b);
void star_all_reduce(Builder& b);
void direct_reduce_scatter(Builder& b);
void direct_all_gather(Builder& b);
void direct_all_to_all(Builder& b);
void direct_broadcast(Builder& b);
void direct_scatter(Builder& b);
void direct_gather(Builder& b);
void direct_reduce(Builder& b);

Counts direct_all_reduce_counts(Rank ranks);
Counts two_shot_all_reduce_counts(Rank ranks);
Counts star_all_reduce_counts(Rank ranks);
Counts direct_reduce_scatter_counts(Rank ranks);
Counts direct_moving_counts(Rank ranks);  // all_gather, all_to_all, broadcast, scatter
Counts direct_gather_counts(Rank ranks);
Counts direct_reduce_counts(Rank ranks);

}  // namespace tutti
