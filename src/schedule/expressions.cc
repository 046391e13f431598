#include "src/schedule/expressions.h"

#include <algorithm>
#include <map>

namespace tutti {
namespace {

std::uint64_t mix(std::uint64_t x) {  // the finaliser of splitmix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

std::uint64_t hash(std::span<const Expression> operands, bool finished) {
  std::uint64_t h = finished ? 0x9e3779b97f4a7c15ull : 0;
  for (const Expression e : operands) h = mix(h + 0x9e3779b97f4a7c15ull * (e + 1ull));
  return h;
}

}  // namespace

Expressions::Expressions(Rank ranks, std::uint32_t blocks)
    : blocks_(blocks), first_node_(1 + static_cast<std::uint32_t>(ranks) * blocks), table_(1u << 10, kUndefined) {}

Signature Expressions::leaf_signature(Expression e) {
  return {mix(0x6a09e667f3bcc909ull + e), mix(0xbb67ae8584caa73bull * (e + 1ull))};
}

Expression Expressions::intern(std::span<const Expression> operands, bool finished, StepRef maker) {
  if (nodes_.size() * 2 >= table_.size()) grow();
  const std::size_t mask = table_.size() - 1;
  std::size_t place = hash(operands, finished) & mask;
  for (; table_[place] != kUndefined; place = (place + 1) & mask) {
    const Expression e = table_[place];
    const auto known = this->operands(e);
    if (node(e).finished == finished && std::equal(known.begin(), known.end(), operands.begin(), operands.end()))
      return e;
  }
  Node made{{static_cast<std::uint32_t>(operands_.size()), static_cast<std::uint32_t>(operands.size())},
            finished,
            maker,
            {}};
  for (const Expression e : operands) made.signature += signature(e);
  operands_.insert(operands_.end(), operands.begin(), operands.end());
  nodes_.push_back(made);
  return table_[place] = first_node_ + static_cast<Expression>(nodes_.size() - 1);
}

void Expressions::grow() {
  table_.assign(table_.size() * 2, kUndefined);
  const std::size_t mask = table_.size() - 1;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Expression e = first_node_ + static_cast<Expression>(i);
    std::size_t place = hash(operands(e), nodes_[i].finished) & mask;
    while (table_[place] != kUndefined) place = (place + 1) & mask;
    table_[place] = e;
  }
}

std::vector<std::pair<Expression, std::uint64_t>> Expressions::leaves(Expression e) const {
  // Operands have smaller numbers than what is made of them, so going downwards meets each with its full count.
  std::map<Expression, std::uint64_t> open{{e, 1}};
  std::vector<std::pair<Expression, std::uint64_t>> result;
  while (!open.empty()) {
    const auto [top, times] = *open.rbegin();
    open.erase(top);
    if (is_leaf(top)) {
      result.emplace_back(top, times);
    } else {
      for (const Expression operand : operands(top)) open[operand] += times;
    }
  }
  std::reverse(result.begin(), result.end());
  return result;
}

}  // namespace tutti
