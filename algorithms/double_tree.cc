#include "algorithms/double_tree.h"

#include <array>
#include <bit>

namespace tutti {
namespace {

constexpr std::uint32_t kNobody = 0;  // places in a tree are counted from 1

// The place on top of the in-order tree over [first, last]: the one that ends in the most zero bits.
std::uint32_t top(std::uint32_t first, std::uint32_t last) {
  if (first > last) return kNobody;
  while ((last & (last - 1)) >= first) last &= last - 1;
  return last;
}

// Who is around one place of the in-order tree over 1..size.
struct Place {
  std::uint32_t parent = kNobody;
  std::uint32_t left = kNobody;
  std::uint32_t right = kNobody;

  Place(std::uint32_t place, std::uint32_t size) {
    std::uint32_t first = 1;
    std::uint32_t last = size;
    for (std::uint32_t at = top(first, last); at != place; at = top(first, last)) {
      parent = at;
      (place < at ? last : first) = place < at ? at - 1 : at + 1;
    }
    left = top(first, place - 1);
    right = top(place + 1, last);
  }
};

// One rank's neighbours in one of the two trees over `members`.
struct Tree {
  static constexpr Rank kNoRank = -1;
  Rank parent = kNoRank;
  Rank left = kNoRank;
  Rank right = kNoRank;

  bool leaf() const { return left == kNoRank && right == kNoRank; }
};

// Where member `index` (from 0) stands in the tree, and who stands at a place.
std::uint32_t place_of(std::uint32_t index, std::uint32_t size, bool second) {
  if (!second) return index + 1;
  return size % 2 == 0 ? size - index : (index == 0 ? size : index);
}
std::uint32_t index_at(std::uint32_t place, std::uint32_t size, bool second) {
  if (!second) return place - 1;
  return size % 2 == 0 ? size - place : (place == size ? 0 : place);
}

// Both trees over members [first, first + size) of the group.
class Trees {
 public:
  Trees(const Group& group, std::uint32_t first) : group_(group), first_(first), size_(group.size() - first) {}

  Tree around_self(bool second) const {
    const Place place(place_of(group_.index - first_, size_, second), size_);
    return {rank_at(place.parent, second), rank_at(place.left, second), rank_at(place.right, second)};
  }
  Rank top_rank(bool second) const { return rank_at(top(1, size_), second); }

 private:
  Rank rank_at(std::uint32_t place, bool second) const {
    return place == kNobody ? Tree::kNoRank : group_.members[first_ + index_at(place, size_, second)];
  }

  const Group& group_;
  std::uint32_t first_;
  std::uint32_t size_;
};

// Folds left, own and right into `sum`. Returns where the result is: a leaf's is its input.
View fold(Builder& b, const Tree& tree, const View& input, const View& sum, bool finish) {
  if (tree.leaf()) return input;
  std::vector<Operand> operands;
  if (tree.left != Tree::kNoRank) operands.push_back(peer(tree.left));
  operands.push_back(local(input));
  if (tree.right != Tree::kNoRank) operands.push_back(peer(tree.right));
  b.reduce(sum, operands, finish);
  return sum;
}

void pass_down(Builder& b, const Tree& tree, const View& data) {
  std::vector<Rank> children;
  if (tree.left != Tree::kNoRank) children.push_back(tree.left);
  if (tree.right != Tree::kNoRank) children.push_back(tree.right);
  if (!children.empty()) b.send(children, data);
}

std::uint32_t depth(std::uint32_t size) { return static_cast<std::uint32_t>(std::bit_width(size)) - 1; }

}  // namespace

void double_tree_all_reduce(Builder& b) {
  const Group group = everybody(b.call());
  if (group.size() == 1) return b.copy(b.output(), b.input(), true);
  const Trees trees(group, 0);
  const std::array<Tree, 2> tree{trees.around_self(false), trees.around_self(true)};
  const auto input = b.input().split(2);
  const auto output = b.output().split(2);
  for (const std::uint32_t i : {0u, 1u}) {
    const View sum = fold(b, tree[i], input[i], output[i], tree[i].parent == Tree::kNoRank);
    if (tree[i].parent != Tree::kNoRank) b.send(tree[i].parent, sum);
  }
  for (const std::uint32_t i : {0u, 1u}) {
    if (tree[i].parent != Tree::kNoRank) b.receive(tree[i].parent, output[i]);
    pass_down(b, tree[i], output[i]);
  }
}

void double_tree_broadcast(Builder& b) {
  const Group group = everybody(b.call(), b.call().root);
  const bool at_root = group.index == 0;
  const Trees trees(group, 1);
  for (const std::uint32_t i : {0u, 1u}) {
    if (at_root) {
      if (group.size() > 1) b.send(trees.top_rank(i == 1), b.input().split(2)[i]);
      continue;
    }
    const Tree tree = trees.around_self(i == 1);
    const View half = b.output().split(2)[i];
    b.receive(tree.parent == Tree::kNoRank ? b.call().root : tree.parent, half);
    pass_down(b, tree, half);
  }
  if (at_root) b.copy(b.output(), b.input());
}

void double_tree_reduce(Builder& b) {
  const Group group = everybody(b.call(), b.call().root);
  if (group.size() == 1) return b.copy(b.output(), b.input(), true);
  const Trees trees(group, 1);
  for (const std::uint32_t i : {0u, 1u}) {
    const View input = b.input().split(2)[i];
    if (group.index == 0) {
      b.reduce(b.output().split(2)[i], {local(input), peer(trees.top_rank(i == 1))}, true);
      continue;
    }
    const Tree tree = trees.around_self(i == 1);
    const View sum = tree.leaf() ? input : fold(b, tree, input, b.scratch_like(input), false);
    b.send(tree.parent == Tree::kNoRank ? b.call().root : tree.parent, sum);
  }
}

Counts double_tree_all_reduce_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  const std::uint32_t sends = p < 4 ? p : 4;
  return {2 * depth(p), sends, {sends, 2}, p == 2 ? Fraction(1, 2) : Fraction(1)};
}

Counts double_tree_broadcast_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {1 + depth(p - 1), 2, 1, 0};
}

Counts double_tree_reduce_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {1 + depth(p - 1), 2, 1, 1};
}

}  // namespace tutti
