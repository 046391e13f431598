#include "algorithms/bruck.h"

#include <algorithm>
#include <bit>

namespace tutti {
namespace {

// Copies blocks one by one, but neighbours to neighbours in one go.
class Gatherer {
 public:
  explicit Gatherer(Builder& b) : b_(b) {}

  void add(const View& target, const View& source) {
    if (target_.buffer == target.buffer && source_.buffer == source.buffer && pending() &&
        target_.block + target_.blocks == target.block && source_.block + source_.blocks == source.block) {
      ++target_.blocks;
      ++source_.blocks;
      return;
    }
    flush();
    target_ = target;
    source_ = source;
  }
  void flush() {
    if (pending()) b_.copy(target_, source_);
    target_.blocks = source_.blocks = 0;
  }

 private:
  bool pending() const { return target_.blocks > 0; }

  Builder& b_;
  View target_{.blocks = 0};
  View source_{.blocks = 0};
};

}  // namespace

void bruck_all_gather(Builder& b) {
  const Group group = everybody(b.call());
  const std::uint32_t p = group.size();
  if (p == 1) return b.copy(b.output(), b.input());
  const View held = b.scratch_blocks(p);  // block i is that of rank + i
  for (std::uint32_t count = 1; count < p; count *= 2) {
    const std::uint32_t length = std::min(count, p - count);
    b.send(group.members[group.before(count)], count == 1 ? b.input() : held.run(0, length));
    b.receive(group.members[group.after(count)], held.run(count, length));
    if (count == 1 && p > 2) b.copy(held.run(0), b.input());
  }
  const View all = b.outputs();
  const std::uint32_t straight = p - group.index;
  b.copy(b.output(group.index), b.input());
  if (straight > 1) b.copy(all.run(group.index + 1, straight - 1), held.run(1, straight - 1));
  if (group.index > 0) b.copy(all.run(0, group.index), held.run(straight, group.index));
}

void bruck_all_to_all(Builder& b) {
  const Group group = everybody(b.call());
  const std::uint32_t p = group.size();
  // Where the block is that has to travel (or has travelled) by i ranks in all.
  std::vector<View> held(p);
  for (std::uint32_t i = 0; i < p; ++i) held[i] = b.input(group.after(i));
  for (std::uint32_t bit = 1; bit < p; bit *= 2) {
    std::uint32_t count = 0;
    for (std::uint32_t i = bit; i < p; ++i) count += (i & bit) != 0 ? 1 : 0;
    const View leaving = b.scratch_blocks(count);
    const View arriving = b.scratch_blocks(count);
    Gatherer gatherer(b);
    std::uint32_t slot = 0;
    for (std::uint32_t i = bit; i < p; ++i) {
      if ((i & bit) == 0) continue;
      gatherer.add(leaving.run(slot), held[i]);
      held[i] = arriving.run(slot++);
    }
    gatherer.flush();
    b.send(group.members[group.after(bit)], leaving);
    b.receive(group.members[group.before(bit)], arriving);
  }
  for (std::uint32_t i = 0; i < p; ++i) b.copy(b.output(group.before(i)), held[i]);
}

namespace {

std::uint32_t messages(std::uint32_t p) { return static_cast<std::uint32_t>(std::bit_width(p - 1)); }

// Each message follows the one before it, except that the last moves what is left over, which may have come earlier.
std::uint32_t longest_chain(std::uint32_t p) {
  if (p == 1) return 0;
  const std::uint32_t left_over = p - std::bit_ceil(p) / 2;
  return std::max(messages(p) - 1, 1 + static_cast<std::uint32_t>(std::bit_width(left_over - 1)));
}

}  // namespace

Counts bruck_all_gather_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  return {longest_chain(p), messages(p), p - 1, 0};
}

Counts bruck_all_to_all_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  std::uint64_t sent = 0;  // each block travels as many times as its distance has bits set
  for (std::uint32_t i = 1; i < p; ++i) sent += static_cast<std::uint64_t>(std::popcount(i));
  return {longest_chain(p), messages(p), sent, 0};
}

}  // namespace tutti
