// Double tree: two binary trees over the same ranks, each carrying half of the data, such that a rank with children
// in one is a leaf in the other. Each rank then sends and receives as much as in a ring, in a logarithmic number of
// steps: for middle-sized messages, and for large ones among many ranks. (Sanders, Speck and Träff, "Two-tree
// algorithms for full bandwidth broadcast, reduction and scan", 2009.)
//
//       4           the first tree, over 1..m: a number stands as high as it has zero bits at its end, so
//     /   \         that all odd numbers are leaves. The second is the first seen from the other end (m even)
//    2     6        or moved by one (m odd), so that all even numbers are leaves there.
//   / \   / \       D = floor(log2 m)
//  1   3 5   7
//
//                steps    messages    blocks sent    blocks reduced     (at the busiest of 4 ranks or more)
//   all_reduce   2 D      4           2              1                  m = p
//   broadcast    1 + D    2           1              0                  m = p - 1: the root is above both trees
//   reduce       1 + D    2           1              1                  the same
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
