// Builder: what an algorithm writes its steps into. It infers the dependencies between steps from overlapping views
// (taking into account how an in-place call makes input and output overlap), so an algorithm only says what happens.
//
// An algorithm must write its messages so that every pair of ranks agrees on their order (see schedule.h), whatever
// in_place is on either side. Programs are canonical: equal programs compare equal, and print and parse keep them.
#pragma once

#include <initializer_list>
#include <span>

#include "src/schedule/dependencies.h"
#include "src/schedule/layout.h"
#include "src/schedule/schedule.h"

namespace tutti {

// Who takes part in a (part of a) collective, seen from one of them. `index` is this rank's place in `members`.
struct Group {
  std::vector<Rank> members;
  std::uint32_t index = 0;

  std::uint32_t size() const { return static_cast<std::uint32_t>(members.size()); }
  Rank self() const { return members[index]; }
  Rank next() const { return members[(index + 1) % size()]; }
  Rank previous() const { return members[(index + size() - 1) % size()]; }
  // The index of the member `steps` places before this one on the ring.
  std::uint32_t before(std::uint32_t steps) const { return (index + size() - steps % size()) % size(); }
  std::uint32_t after(std::uint32_t steps) const { return (index + steps) % size(); }
};

// Everybody in the call, beginning with `first` and going round: index 0 is rank `first`.
Group everybody(const Call& call, Rank first = 0);

// Operands of a reduce.
inline Operand peer(Rank rank) { return {rank, {}}; }
inline Operand local(const View& view) { return {Operand::kLocal, view}; }

class Builder {
 public:
  explicit Builder(const Call& call);

  const Call& call() const { return program_.call; }
  Rank ranks() const { return program_.call.ranks; }
  Rank rank() const { return program_.call.rank; }

  // Tells that about so many steps will follow; saves time where there are very many.
  void reserve(std::size_t steps);

  // One block; or all of them as one run. REQUIRES: the rank's role has them (see layout.h).
  View input(std::uint32_t block = 0) const { return {Buffer::input, block}; }
  View output(std::uint32_t block = 0) const { return {Buffer::output, block}; }
  View inputs() const { return {Buffer::input, 0, layout_.input_blocks}; }
  View outputs() const { return {Buffer::output, 0, layout_.output_blocks}; }
  // New scratch memory as long as `shape`: a run of blocks gives a run of blocks, a part gives a block to be used
  // whole.
  View scratch_like(const View& shape);
  // New scratch memory of `count` whole blocks as one run.
  View scratch_blocks(std::uint32_t count);

  // The steps. Each returns its number, for wait_for.
  StepId send(Rank to, const View& source) { return send(std::span<const Rank>(&to, 1), source); }
  StepId send(std::span<const Rank> to, const View& source);
  StepId receive(Rank from, const View& target);
  StepId reduce(const View& target, std::span<const Operand> operands, bool finish = false);
  StepId reduce(const View& target, std::initializer_list<Operand> operands, bool finish = false) {
    return reduce(target, std::span<const Operand>(operands.begin(), operands.size()), finish);
  }
  // Without a step where source and target are the same memory and there is nothing to finish.
  void copy(const View& target, const View& source, bool finish = false);

  // The next step also waits for this one, although their views do not ask for it.
  void wait_for(StepId earlier) { extra_waits_.push_back(earlier); }

  bool same_memory(const View& a, const View& b) const { return layout_.same(a, b); }
  Program take() && { return std::move(program_); }

 private:
  StepId add(Step step);

  Program program_;
  Layout layout_;
  Dependencies dependencies_;
  std::vector<StepId> extra_waits_;
};

// Appends to one of a program's vectors; the range of nothing is {0, 0}, so that equal programs compare equal.
template <typename T>
Range append(std::vector<T>& to, std::span<const T> what) {
  if (what.empty()) return {};
  const auto begin = static_cast<std::uint32_t>(to.size());
  to.insert(to.end(), what.begin(), what.end());
  return {begin, static_cast<std::uint32_t>(what.size())};
}

}  // namespace tutti
