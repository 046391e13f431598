// Expressions: what a piece of memory holds, as a formula over the ranks' inputs. A leaf is one rank's input block; a
// fold adds its operands in their order; a finish is the operation's last act on a final result. Equal formulas have
// equal numbers, so comparing two ranks' results, tree shape and operand order included, is comparing two numbers.
// Each also has a signature that depends only on which leaves it contains and how often.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "src/schedule/run.h"

namespace tutti {

using Expression = std::uint32_t;

struct Signature {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  bool operator==(const Signature&) const = default;
  Signature& operator+=(const Signature& other) {
    high += other.high;
    low += other.low;
    return *this;
  }
};

class Expressions {
 public:
  static constexpr Expression kUndefined = 0;

  struct Leaf {
    Rank rank;
    std::uint32_t block;
  };

  // REQUIRES: ranks * blocks < 2^31.
  Expressions(Rank ranks, std::uint32_t blocks);

  Expression leaf(Rank rank, std::uint32_t block) const {
    return 1 + static_cast<std::uint32_t>(rank) * blocks_ + block;
  }
  Expression fold(std::span<const Expression> operands, StepRef maker) { return intern(operands, false, maker); }
  Expression finish(Expression of, StepRef maker) { return intern({&of, 1}, true, maker); }

  bool is_leaf(Expression e) const { return e < first_node_; }
  bool is_finished(Expression e) const { return !is_leaf(e) && node(e).finished; }
  Leaf leaf_of(Expression e) const { return {static_cast<Rank>((e - 1) / blocks_), (e - 1) % blocks_}; }
  Signature signature(Expression e) const { return is_leaf(e) ? leaf_signature(e) : node(e).signature; }
  std::span<const Expression> operands(Expression e) const {
    return {operands_.data() + node(e).operands.begin, node(e).operands.count};
  }
  StepRef maker(Expression e) const { return node(e).maker; }  // the first step that made it

  // Every leaf in the formula and how often, ascending.
  std::vector<std::pair<Expression, std::uint64_t>> leaves(Expression e) const;

 private:
  struct Node {
    Range operands;
    bool finished = false;
    StepRef maker;
    Signature signature;
  };
  const Node& node(Expression e) const { return nodes_[e - first_node_]; }
  static Signature leaf_signature(Expression e);
  Expression intern(std::span<const Expression> operands, bool finished, StepRef maker);
  void grow();

  std::uint32_t blocks_;
  Expression first_node_;
  std::vector<Node> nodes_;
  std::vector<Expression> operands_;
  std::vector<Expression> table_;  // open addressing; kUndefined is free
};

}  // namespace tutti
