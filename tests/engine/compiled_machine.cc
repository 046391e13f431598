#include "tests/engine/compiled_machine.h"

#include <algorithm>

#include "src/base/format.h"

namespace tutti {

CompiledMachine::CompiledMachine(std::vector<Node>& nodes, Random& random) : nodes_(nodes), random_(random) {
  const double laziness = random_.chance(0.5) ? 0.3 : 0;
  for (std::size_t rank = 0; rank < nodes_.size(); ++rank) {
    done_.emplace_back();
    scratch_.emplace_back();
    for (std::size_t lane = 0; lane < nodes_[rank].lanes.size(); ++lane) {
      const CompiledLane& compiled = nodes_[rank].lanes[lane];
      done_[rank].emplace_back(compiled.steps.size(), 0);
      scratch_[rank].emplace_back(compiled.scratch_bytes / sizeof(std::int32_t), -77);
      for (std::uint32_t step = 0; step < compiled.steps.size(); ++step)
        tasks_.push_back({rank, lane, step, random_.chance(laziness)});
    }
  }
}

std::string CompiledMachine::run() {
  while (!tasks_.empty()) {
    for (std::size_t i = tasks_.size(); i > 1; --i) std::swap(tasks_[i - 1], tasks_[random_.below(i)]);
    bool moved = false;
    for (const bool lazy : {false, true}) {
      for (const Task& task : tasks_) {
        if (moved && lazy) break;
        if (task.lazy != lazy || done(task) == lane_of(task).steps[task.step].segments || !is_ready(task)) continue;
        run_segment(task);
        moved = true;
      }
    }
    std::erase_if(tasks_, [this](const Task& task) { return done(task) == lane_of(task).steps[task.step].segments; });
    if (!moved && !tasks_.empty()) {
      return format("{} steps cannot go on; one is step {} of rank {} on lane {}", tasks_.size(), tasks_[0].step,
                    tasks_[0].rank, tasks_[0].lane);
    }
  }
  return {};
}

bool CompiledMachine::has_come(const Task& task, const Inbound& inbound, std::uint32_t segment) const {
  const auto from = static_cast<std::size_t>(lane_of(task).peers[inbound.peer].rank);
  const auto found = sent_.find({task.lane, from, task.rank, inbound.message});
  return found != sent_.end() && found->second.size() > segment;
}

const std::vector<std::int32_t>& CompiledMachine::come(const Task& task, const Inbound& inbound,
                                                       std::uint32_t segment) const {
  const auto from = static_cast<std::size_t>(lane_of(task).peers[inbound.peer].rank);
  return sent_.at({task.lane, from, task.rank, inbound.message})[segment];
}

bool CompiledMachine::is_ready(const Task& task) const {
  const CompiledLane& lane = lane_of(task);
  const CompiledStep& step = lane.steps[task.step];
  const std::uint32_t segment = done(task);
  const std::int64_t end =
      static_cast<std::int64_t>(segment) * lane.segment_bytes + lane.segment_length(step, segment);
  for (std::uint32_t n = 0; n < step.needs.count; ++n) {
    const Need& need = lane.needs[step.needs.begin + n];
    const auto total = static_cast<std::int64_t>(lane.steps[need.step].bytes);
    const std::int64_t wanted = std::clamp<std::int64_t>(end + need.shift, 0, total);
    const std::int64_t segments_done = done_[task.rank][task.lane][need.step];
    if (std::min(segments_done * lane.segment_bytes, total) < wanted) return false;
  }
  if (step.kind == StepKind::receive) return has_come(task, lane.inbound[step.inbound], segment);
  for (std::uint32_t o = 0; o < step.operands.count; ++o) {
    const CompiledOperand& operand = lane.operands[step.operands.begin + o];
    if (operand.peer != CompiledOperand::kLocal && !has_come(task, lane.inbound[operand.inbound], segment))
      return false;
  }
  return true;
}

std::int32_t* CompiledMachine::at(const Task& task, const Place& place, std::uint32_t segment) {
  const Node& node = nodes_[task.rank];
  std::int32_t* const base = place.buffer == Buffer::input    ? node.input
                             : place.buffer == Buffer::output ? node.output
                                                              : scratch_[task.rank][task.lane].data();
  return base + (place.offset + std::uint64_t{segment} * lane_of(task).segment_bytes) / sizeof(std::int32_t);
}

void CompiledMachine::run_segment(const Task& task) {
  const CompiledLane& lane = lane_of(task);
  const CompiledStep& step = lane.steps[task.step];
  const std::uint32_t segment = done(task)++;
  const std::size_t length = lane.segment_length(step, segment) / sizeof(std::int32_t);
  std::vector<std::int32_t> row(length, 0);
  switch (step.kind) {
    case StepKind::send: {
      const std::int32_t* const source = at(task, step.source, segment);
      std::copy(source, source + length, row.begin());
      if (step.group != CompiledStep::kAlone)
        row = staged_.try_emplace({task.rank, task.lane, step.group, segment}, row).first->second;
      const auto to = static_cast<std::size_t>(lane.peers[step.peer].rank);
      sent_[{task.lane, task.rank, to, step.message}].push_back(std::move(row));
      return;
    }
    case StepKind::receive:
      row = come(task, lane.inbound[step.inbound], segment);
      break;
    case StepKind::copy: {
      const std::int32_t* const source = at(task, step.source, segment);
      std::copy(source, source + length, row.begin());
      break;
    }
    case StepKind::reduce:
      for (std::uint32_t o = 0; o < step.operands.count; ++o) {
        const CompiledOperand& operand = lane.operands[step.operands.begin + o];
        const std::int32_t* const source = operand.peer == CompiledOperand::kLocal
                                               ? at(task, operand.local, segment)
                                               : come(task, lane.inbound[operand.inbound], segment).data();
        for (std::size_t i = 0; i < length; ++i)
          row[i] =
              static_cast<std::int32_t>(static_cast<std::uint32_t>(row[i]) + static_cast<std::uint32_t>(source[i]));
      }
      break;
  }
  std::copy(row.begin(), row.end(), at(task, step.target, segment));
}

}  // namespace tutti
