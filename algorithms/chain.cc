#include "algorithms/chain.h"

namespace tutti {

void chain_broadcast(Builder& b) {
  const Group chain = everybody(b.call(), b.call().root);
  const bool first = chain.index == 0;
  const bool last = chain.index == chain.size() - 1;
  if (!first) b.receive(chain.previous(), b.output());
  if (!last) b.send(chain.next(), first ? b.input() : b.output());
  if (first) b.copy(b.output(), b.input());
}

void chain_reduce(Builder& b) {
  const Group chain = everybody(b.call(), b.call().root);
  if (chain.size() == 1) return b.copy(b.output(), b.input(), true);
  if (chain.index == 1) {  // the first of the row has nobody before it
    b.send(chain.next(), b.input());
    return;
  }
  const bool at_root = chain.index == 0;
  const View sum = at_root ? b.output() : b.scratch_like(b.input());
  b.reduce(sum, {peer(chain.previous()), local(b.input())}, at_root);
  if (!at_root) b.send(chain.next(), sum);
}

Counts chain_broadcast_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {p - 1, 1, 1, 0};
}

Counts chain_reduce_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {p - 1, 1, 1, 1};
}

}  // namespace tutti
