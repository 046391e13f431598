#include "src/schedule/builder.h"

#include <algorithm>

namespace tutti {

Group everybody(const Call& call, Rank first) {
  Group group;
  group.members.resize(static_cast<std::size_t>(call.ranks));
  for (Rank i = 0; i < call.ranks; ++i) group.members[static_cast<std::size_t>(i)] = (first + i) % call.ranks;
  group.index = static_cast<std::uint32_t>((call.rank - first + call.ranks) % call.ranks);
  return group;
}

Builder::Builder(const Call& call) : layout_(call) { program_.call = call; }

void Builder::reserve(std::size_t steps) {
  program_.steps.reserve(program_.steps.size() + steps);
  program_.peers.reserve(program_.peers.size() + steps);
  program_.after.reserve(program_.after.size() + steps);
  dependencies_.reserve(program_.steps.size() + steps);
}

View Builder::scratch_like(const View& shape) {
  View one = shape;
  one.blocks = 1;
  // The shape of scratch memory is always told in terms of input or output. All whole blocks are equally long.
  if (one.buffer == Buffer::scratch) {
    const View& like = program_.scratch[shape.block];
    one = like;
    if (like.whole()) one.lo = shape.lo, one.hi = shape.hi, one.den = shape.den;
  }
  if (one.whole()) one.lo = 0, one.hi = 1, one.den = 1;
  const View run{Buffer::scratch, static_cast<std::uint32_t>(program_.scratch.size()), shape.blocks};
  program_.scratch.insert(program_.scratch.end(), shape.blocks, one);
  return run;
}

View Builder::scratch_blocks(std::uint32_t count) {
  View shape = layout_.input_blocks > 0 ? input() : output();
  shape.blocks = count;
  return scratch_like(shape);
}

StepId Builder::send(std::span<const Rank> to, const View& source) {
  Step step{.kind = StepKind::send, .source = source};
  step.peers = append(program_.peers, to);
  dependencies_.begin();
  dependencies_.read(layout_.in_memory(source));
  return add(step);
}

StepId Builder::receive(Rank from, const View& target) {
  Step step{.kind = StepKind::receive, .target = target};
  step.peers = append(program_.peers, std::span<const Rank>(&from, 1));
  dependencies_.begin();
  dependencies_.write(layout_.in_memory(target));
  return add(step);
}

StepId Builder::reduce(const View& target, std::span<const Operand> operands, bool finish) {
  Step step{.kind = StepKind::reduce, .finish = finish, .target = target};
  step.operands = append(program_.operands, operands);
  dependencies_.begin();
  for (const Operand& operand : operands) {
    if (operand.peer == Operand::kLocal) dependencies_.read(layout_.in_memory(operand.view));
  }
  dependencies_.write(layout_.in_memory(target));
  return add(step);
}

void Builder::copy(const View& target, const View& source, bool finish) {
  if (!finish && same_memory(target, source)) return;
  dependencies_.begin();
  dependencies_.read(layout_.in_memory(source));
  dependencies_.write(layout_.in_memory(target));
  add({.kind = StepKind::copy, .finish = finish, .target = target, .source = source});
}

StepId Builder::add(Step step) {
  for (const StepId earlier : extra_waits_) dependencies_.wait_for(earlier);
  extra_waits_.clear();
  step.after = append(program_.after, std::span<const StepId>(dependencies_.end()));
  program_.steps.push_back(step);
  return static_cast<StepId>(program_.steps.size() - 1);
}

}  // namespace tutti
