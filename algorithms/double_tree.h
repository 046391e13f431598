// Double tree: two binary trees over the same ranks, each carrying half of the data, such that a rank with children
// in one is a leaf in the other. Each rank then sends and receives as much as in a ring, in a logarithmic number of
// steps: for middle-sized messages, and for large ones among many ranks. (Sanders, Speck and Träff, "Two-tree
// algorithms for full bandwidth broadcast, reduction and scan", 2009.)
//
//       4                 the first tree, over 1..m: a number's place is the number of zero bits it ends in, so that
//       all
//     /   \               odd numbers are leaves. The second is the first seen from the other end (m even) or moved
//    2     6              by one (m odd), so that all odd numbers, save possibly one, have children.
//   / \   / \             D = floor(log2 m)
//  1   3 5   7
//
//                steps         messages    blocks sent    blocks reduced     (at the busiest rank, 4 ranks or more)
//   all_reduce   2 D, m = p    4           2              1
//   broadcast    1 + D         2           1              0                  (the trees are over the m = p - 1
//   others; reduce       1 + D         2           1              1                   the root is above both)
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

void double_tree_all_reduce(Builder& b);
void double_tree_broadcast(Builder& b);
void double_tree_reduce(Builder& b);

Counts double_tree_all_reduce_counts(Rank ranks);
Counts double_tree_broadcast_counts(Rank ranks);
Counts double_tree_reduce_counts(Rank ranks);

}  // namespace tutti
