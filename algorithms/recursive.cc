#include "algorithms/recursive.h"

#include <algorithm>
#include <array>

#include "algorithms/folded.h"
#include "algorithms/pieces.h"

namespace tutti {
namespace {

std::uint32_t log2_of(std::uint32_t power) { return static_cast<std::uint32_t>(std::bit_width(power)) - 1; }

// The sums of two neighbouring sets of ranks, one of them at a peer, lower ranks first.
std::array<Operand, 2> in_order(Rank other, bool other_is_lower, const View& mine) {
  if (other_is_lower) return {peer(other), local(mine)};
  return {local(mine), peer(other)};
}

// What a spare rank does in an all-reduce.
void lend_input_and_take_result(Builder& b, Rank partner) {
  b.send(partner, b.input());
  b.receive(partner, b.output());
}

// Blocks of the ranks that places [first, first + count) stand for, of a run that begins with rank `origin`'s block.
View blocks_of(const Folded& folded, const View& run, std::uint32_t first, std::uint32_t count,
               std::uint32_t origin = 0) {
  const std::uint32_t begin = folded.first_rank(first);
  return run.run(begin - origin, folded.first_rank(first + count) - begin);
}

}  // namespace

void doubling_all_reduce(Builder& b) {
  const Folded folded(b.call());
  if (folded.p == 1) return b.copy(b.output(), b.input(), true);
  if (folded.spare()) return lend_input_and_take_result(b, folded.partner());

  // A sum is sent while the next is made, so the sums alternate between output and scratch, ending in the output.
  const std::uint32_t exchanges = log2_of(folded.q);
  const View output = b.output();
  const View scratch =
      exchanges > 1 || folded.stands_for_two() || b.call().in_place ? b.scratch_like(output) : output;
  View mine = b.input();
  if (folded.stands_for_two()) {
    const View sum = exchanges % 2 == 0 ? output : scratch;
    b.reduce(sum, {peer(folded.partner()), local(mine)});
    mine = sum;
  }
  for (std::uint32_t i = 0; i < exchanges; ++i) {
    const std::uint32_t bit = 1u << i;
    const Rank other = folded.rank_at(folded.place ^ bit);
    View sum = (exchanges - 1 - i) % 2 == 0 ? output : scratch;
    // The first exchange of an in-place call would write over the input while it is being sent.
    if (b.same_memory(sum, mine)) sum = exchanges == 1 ? scratch : b.scratch_like(output);
    b.send(other, mine);
    b.reduce(sum, in_order(other, (folded.place & bit) != 0, mine), i == exchanges - 1);
    mine = sum;
  }
  b.copy(output, mine);
  if (folded.stands_for_two()) b.send(folded.partner(), output);
}

void doubling_all_gather(Builder& b) {
  const Folded folded(b.call());
  const View all = b.outputs();
  if (folded.spare()) {
    b.send(folded.partner(), b.input());
    if (folded.rank > 0) b.receive(folded.partner(), all.run(0, folded.rank));
    b.receive(folded.partner(), all.run(folded.rank + 1, folded.p - folded.rank - 1));
    b.copy(b.output(folded.rank), b.input());
    return;
  }
  if (folded.stands_for_two()) b.receive(folded.partner(), b.output(folded.rank - 1));
  b.copy(b.output(folded.rank), b.input());
  for (std::uint32_t bit = 1; bit < folded.q; bit *= 2) {
    const std::uint32_t mine = folded.place & ~(bit - 1);
    const Rank other = folded.rank_at(folded.place ^ bit);
    const View held = blocks_of(folded, all, mine, bit);
    b.send(other, held.blocks == 1 ? b.input() : held);  // need not wait for the copy
    b.receive(other, blocks_of(folded, all, mine ^ bit, bit));
  }
  if (!folded.stands_for_two()) return;
  const std::uint32_t spare = folded.rank - 1;
  if (spare > 0) b.send(folded.partner(), all.run(0, spare));
  b.send(folded.partner(), all.run(spare + 1, folded.p - spare - 1));
}

void halving_reduce_scatter(Builder& b) {
  const Folded folded(b.call());
  if (folded.p == 1) return b.copy(b.output(), b.input(), true);
  if (folded.spare()) {
    b.send(folded.partner(), b.inputs());
    b.receive(folded.partner(), b.output());
    return;
  }
  View held = b.inputs();    // sums of the blocks that are still this rank's business,
  std::uint32_t origin = 0;  // the first of which is this rank's
  if (folded.stands_for_two()) {
    held = b.scratch_blocks(folded.p);
    b.reduce(held, {peer(folded.partner()), local(b.inputs())});
  }
  for (std::uint32_t bit = folded.q / 2; bit > 1; bit /= 2) {
    const std::uint32_t kept_place = folded.place & ~(bit - 1);
    const Rank other = folded.rank_at(folded.place ^ bit);
    const View kept = blocks_of(folded, held, kept_place, bit, origin);
    b.send(other, blocks_of(folded, held, kept_place ^ bit, bit, origin));
    const View sum = held.buffer == Buffer::input ? b.scratch_like(kept) : kept;
    b.reduce(sum, in_order(other, (folded.place & bit) != 0, kept));
    held = sum;
    origin = folded.first_rank(kept_place);
  }
  // The last exchange is block by block, so that each rank's own sum can go straight to its output.
  const std::uint32_t other_place = folded.place ^ 1u;
  const Rank other = folded.rank_at(other_place);
  for (std::uint32_t at = folded.first_rank(other_place); at < folded.first_rank(other_place + 1); ++at) {
    b.send(other, held.run(at - origin));
  }
  if (folded.stands_for_two()) {
    const View block = held.run(folded.rank - 1 - origin);
    b.reduce(block, in_order(other, (folded.place & 1u) != 0, block), true);
    b.send(folded.partner(), block);
  }
  b.reduce(b.output(), in_order(other, (folded.place & 1u) != 0, held.run(folded.rank - origin)), true);
}

void halving_doubling_all_reduce(Builder& b) {
  const Folded folded(b.call());
  if (folded.p == 1) return b.copy(b.output(), b.input(), true);
  if (folded.spare()) return lend_input_and_take_result(b, folded.partner());
  View held = b.input();
  if (folded.stands_for_two()) {
    b.reduce(b.output(), {peer(folded.partner()), local(b.input())});
    held = b.output();
  }
  const Pieces result(b.output(), folded.q);
  for (std::uint32_t bit = folded.q / 2; bit > 0; bit /= 2) {
    const std::uint32_t mine = folded.place & ~(bit - 1);
    const Rank other = folded.rank_at(folded.place ^ bit);
    const Pieces sums(held, folded.q);
    b.send(other, sums.run(mine ^ bit, bit));
    b.reduce(result.run(mine, bit), in_order(other, (folded.place & bit) != 0, sums.run(mine, bit)), bit == 1);
    held = b.output();
  }
  for (std::uint32_t bit = 1; bit < folded.q; bit *= 2) {
    const std::uint32_t mine = folded.place & ~(bit - 1);
    const Rank other = folded.rank_at(folded.place ^ bit);
    b.send(other, result.run(mine, bit));
    b.receive(other, result.run(mine ^ bit, bit));
  }
  if (folded.stands_for_two()) b.send(folded.partner(), b.output());
}

namespace {
Folded folded_of(Rank ranks) { return Folded({.ranks = ranks}); }
}  // namespace

Counts doubling_all_reduce_counts(Rank ranks) {
  const Folded f = folded_of(ranks);
  const std::uint32_t extra = f.r > 0 ? 1 : 0;
  const std::uint32_t l = log2_of(f.q);
  return {l + 2 * extra, l + extra, l + extra, l + extra};
}

Counts doubling_all_gather_counts(Rank ranks) {
  const Folded f = folded_of(ranks);
  const std::uint32_t l = log2_of(f.q);
  if (f.r == 0) return {l, l, f.p - 1, 0};
  // Place 0, which stands for two: the groups it sends are the largest, and it then brings its partner up to date.
  // The partner of place 1, if there is one, gets its p - 1 blocks in two messages.
  std::uint32_t sent = f.p - 1;
  for (std::uint32_t bit = 1; bit < f.q; bit *= 2) sent += f.first_rank(bit);
  // A way to a spare rank that begins at another spare rank is one longer. The farthest place from v is q - 1 - v:
  // both can only stand for two where more than half of the places do.
  return {l + (2 * f.r > f.q ? 2u : 1u), l + (f.r > 1 ? 2u : 1u), sent, 0};
}

Counts halving_reduce_scatter_counts(Rank ranks) {
  const Folded f = folded_of(ranks);
  const std::uint32_t l = log2_of(f.q);
  if (f.p == 1) return {};
  if (f.r == 0) return {l, l, f.p - 1, f.p - 1};
  // The most is sent either by a spare rank (all its blocks) or by a place; the most reduced by one that stands for
  // two.
  Counts counts{l + 2, 0, f.p, 0};
  for (std::uint32_t place = 0; place < f.q; ++place) {
    const bool two = place < f.r;
    std::uint32_t sent = two ? 1 : 0;
    std::uint32_t reduced = two ? f.p : 0;
    for (std::uint32_t bit = f.q / 2; bit > 0; bit /= 2) {
      const std::uint32_t mine = place & ~(bit - 1);
      sent += f.first_rank((mine ^ bit) + bit) - f.first_rank(mine ^ bit);
      reduced += f.first_rank(mine + bit) - f.first_rank(mine);
    }
    const std::uint32_t messages = l + (two ? 1 : 0) + ((place ^ 1u) < f.r ? 1 : 0);
    counts.messages = std::max<std::uint64_t>(counts.messages, messages);
    counts.sent = std::max(counts.sent, Fraction(sent));
    counts.reduced = std::max(counts.reduced, Fraction(reduced));
  }
  return counts;
}

Counts halving_doubling_all_reduce_counts(Rank ranks) {
  const Folded f = folded_of(ranks);
  const std::uint32_t extra = f.r > 0 ? 1 : 0;
  const std::uint32_t l = log2_of(f.q);
  return {2 * l + 2 * extra, 2 * l + extra, Fraction(2 * (f.q - 1), f.q) + extra, Fraction(f.q - 1, f.q) + extra};
}

}  // namespace tutti
