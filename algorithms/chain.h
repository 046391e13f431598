// Chain: the ranks stand in a row that begins or ends at the root, and the data runs along it. Every rank sends the
// data once and the engine streams segments through, so a long message costs little more than one transfer. (Known as
// the pipelined chain or ring broadcast; see Träff, Ripke, Siebert, Balaji, Thakur and Gropp, 2008.)
//
//   broadcast   root -> root + 1 -> ... -> root - 1
//   reduce      root + 1 -> root + 2 -> ... -> root - 1 -> root, each adding its own
//
//                steps    blocks sent    blocks reduced
//   broadcast    p - 1    1 (p > 1)      0
//   reduce       p - 1    1 (p > 1)      1 (p > 1)
#pragma once

#include "src/schedule/builder.h"
#include "src/schedule/counts.h"

namespace tutti {

void chain_broadcast(Builder& b);
void chain_reduce(Builder& b);

Counts chain_broadcast_counts(Rank ranks);
Counts chain_reduce_counts(Rank ranks);

}  // namespace tutti
