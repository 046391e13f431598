#include "algorithms/binomial_tree.h"

#include <algorithm>
#include <bit>

namespace tutti {
namespace {

// One rank's place in the tree. A child v has the ranks v, v + 1, ..., v + size - 1 (relative to the root) below it.
struct Place {
  struct Child {
    std::uint32_t index;
    std::uint32_t size;
  };

  explicit Place(const Group& group)
      : index(group.index), size(group.size()), parent(group.index & (group.index - 1)) {
    const std::uint32_t reach = index == 0 ? std::bit_ceil(group.size()) : index & (~index + 1);
    size = std::min(reach, group.size() - index);
    for (std::uint32_t step = 1; step < size; step *= 2) {
      children.push_back({index + step, std::min(step, size - step)});
    }
  }

  std::uint32_t index;
  std::uint32_t size;
  std::uint32_t parent;         // of index 0: 0
  std::vector<Child> children;  // nearest first
};

// Largest subtree first: it has the longest way to go.
std::vector<Rank> children_to_serve(const Group& group, const Place& place) {
  std::vector<Rank> ranks;
  for (auto child = place.children.rbegin(); child != place.children.rend(); ++child) {
    ranks.push_back(group.members[child->index]);
  }
  return ranks;
}

std::vector<Operand> subtree_in_order(const Group& group, const Place& place, const View& own) {
  std::vector<Operand> operands{local(own)};
  for (const Place::Child& child : place.children) operands.push_back(peer(group.members[child.index]));
  return operands;
}

// Blocks [first, first + count) counted from the root, as runs of the buffer's blocks, which are counted from rank 0:
// one run, or two where they go round past the last rank.
std::vector<View> runs_from_root(const Builder& b, const View& blocks, std::uint32_t first, std::uint32_t count) {
  const std::uint32_t p = blocks.blocks;
  const std::uint32_t begin = (static_cast<std::uint32_t>(b.call().root) + first) % p;
  const std::uint32_t straight = std::min(count, p - begin);
  std::vector<View> runs{blocks.run(begin, straight)};
  if (straight < count) runs.push_back(blocks.run(0, count - straight));
  return runs;
}

// How many blocks of a child's subtree come before the last rank, where its message to or from the root is cut in
// two.
std::vector<View> runs_at_child(const Builder& b, const View& subtree, std::uint32_t first) {
  const auto p = static_cast<std::uint32_t>(b.ranks());
  const std::uint32_t begin = (static_cast<std::uint32_t>(b.call().root) + first) % p;
  const std::uint32_t straight = std::min(subtree.blocks, p - begin);
  std::vector<View> runs{subtree.run(0, straight)};
  if (straight < subtree.blocks) runs.push_back(subtree.run(straight, subtree.blocks - straight));
  return runs;
}

void gather_at_root(Builder& b, const Group& group, const Place& place) {
  for (const Place::Child& child : place.children) {
    for (const View& run : runs_from_root(b, b.outputs(), child.index, child.size)) {
      b.receive(group.members[child.index], run);
    }
  }
  b.copy(b.output(static_cast<std::uint32_t>(b.rank())), b.input());
}

void scatter_at_root(Builder& b, const Group& group, const Place& place) {
  for (auto child = place.children.rbegin(); child != place.children.rend(); ++child) {
    for (const View& run : runs_from_root(b, b.inputs(), child->index, child->size)) {
      b.send(group.members[child->index], run);
    }
  }
  b.copy(b.output(), b.input(static_cast<std::uint32_t>(b.rank())));
}

// The deepest place is the one with the most bits set: each bit is a step down.
std::uint32_t depth(Rank ranks) {
  return static_cast<std::uint32_t>(std::bit_width(static_cast<std::uint32_t>(ranks))) - 1;
}

std::uint32_t children_of_root(Rank ranks) {
  return static_cast<std::uint32_t>(std::bit_width(static_cast<std::uint32_t>(ranks) - 1));
}

}  // namespace

void binomial_broadcast(Builder& b) {
  const Group group = everybody(b.call(), b.call().root);
  const Place place(group);
  const bool at_root = group.index == 0;
  if (!at_root) b.receive(group.members[place.parent], b.output());
  if (!place.children.empty()) b.send(children_to_serve(group, place), at_root ? b.input() : b.output());
  if (at_root) b.copy(b.output(), b.input());
}

void binomial_reduce(Builder& b) {
  const Group group = everybody(b.call(), b.call().root);
  const Place place(group);
  if (group.size() == 1) return b.copy(b.output(), b.input(), true);
  View sum = b.input();
  if (!place.children.empty()) {
    sum = group.index == 0 ? b.output() : b.scratch_like(b.input());
    b.reduce(sum, subtree_in_order(group, place, b.input()), group.index == 0);
  }
  if (group.index != 0) b.send(group.members[place.parent], sum);
}

void binomial_all_reduce(Builder& b) {
  const Group group = everybody(b.call());
  const Place place(group);
  if (group.size() == 1) return b.copy(b.output(), b.input(), true);
  const bool leaf = place.children.empty();
  if (!leaf) b.reduce(b.output(), subtree_in_order(group, place, b.input()), group.index == 0);
  if (group.index != 0) {
    b.send(group.members[place.parent], leaf ? b.input() : b.output());
    b.receive(group.members[place.parent], b.output());
  }
  if (!leaf) b.send(children_to_serve(group, place), b.output());
}

void binomial_gather(Builder& b) {
  const Group group = everybody(b.call(), b.call().root);
  const Place place(group);
  if (group.index == 0) return gather_at_root(b, group, place);
  View subtree = b.input();
  if (!place.children.empty()) {
    subtree = b.scratch_blocks(place.size);
    b.copy(subtree.run(0), b.input());
    for (const Place::Child& child : place.children) {
      b.receive(group.members[child.index], subtree.run(child.index - place.index, child.size));
    }
  }
  if (place.parent != 0) {
    b.send(group.members[place.parent], subtree);
    return;
  }
  for (const View& run : runs_at_child(b, subtree, place.index)) b.send(group.members[0], run);
}

void binomial_scatter(Builder& b) {
  const Group group = everybody(b.call(), b.call().root);
  const Place place(group);
  if (group.index == 0) return scatter_at_root(b, group, place);
  const bool leaf = place.children.empty();
  const View subtree = leaf ? b.output() : b.scratch_blocks(place.size);
  const Rank parent = group.members[place.parent];
  if (place.parent != 0) {
    b.receive(parent, subtree);
  } else {
    for (const View& run : runs_at_child(b, subtree, place.index)) b.receive(parent, run);
  }
  for (auto child = place.children.rbegin(); child != place.children.rend(); ++child) {
    b.send(group.members[child->index], subtree.run(child->index - place.index, child->size));
  }
  if (!leaf) b.copy(b.output(), subtree.run(0));
}

Counts binomial_broadcast_counts(Rank ranks) {
  return {depth(ranks), children_of_root(ranks), children_of_root(ranks), 0};
}

Counts binomial_reduce_counts(Rank ranks) {
  if (ranks == 1) return {};
  return {depth(ranks), 1, 1, children_of_root(ranks)};
}

Counts binomial_all_reduce_counts(Rank ranks) {
  const std::uint32_t children = children_of_root(ranks);
  return {2 * depth(ranks), children, children, children};
}

Counts binomial_gather_counts(Rank ranks) {
  if (ranks == 1) return {};
  const auto p = static_cast<std::uint32_t>(ranks);
  const std::uint32_t half =
      std::bit_ceil(p) / 2;  // the subtrees of the root: 1, 2, 4, ..., the last may be cut short
  return {depth(ranks), 1, std::max(half / 2, p - half), 0};
}

Counts binomial_scatter_counts(Rank ranks) {
  return {depth(ranks), children_of_root(ranks), static_cast<std::uint32_t>(ranks - 1), 0};
}

}  // namespace tutti
