#include "src/schedule/reject.h"

#include "src/base/format.h"

namespace tutti {
namespace {

std::vector<Rank> peers_named(const Program& program, const Step& step) {
  std::vector<Rank> peers;
  if (step.kind == StepKind::reduce) {
    for (const Operand& operand : program.operands_of(step)) {
      if (operand.peer != Operand::kLocal) peers.push_back(operand.peer);
    }
  } else {
    const auto named = program.peers_of(step);
    peers.assign(named.begin(), named.end());
  }
  return peers;
}

}  // namespace

std::string describe(const Program& program, StepId number) {
  constexpr std::size_t kNamed = 4;
  const Step& step = program.steps[number];
  const std::vector<Rank> peers = peers_named(program, step);
  std::string text = format("step {} ({}", number, name(step.kind));
  if (!peers.empty()) {
    text += step.kind == StepKind::send ? " to rank" : " from rank";
    if (peers.size() > 1) text += "s";
  }
  for (std::size_t i = 0; i < peers.size() && i < kNamed; ++i) text += format("{} {}", i == 0 ? "" : ",", peers[i]);
  if (peers.size() > kNamed) text += format(" and {} more", peers.size() - kNamed);
  return text + ")";
}

std::string describe(const Schedule& schedule, Rank rank, StepId step) {
  return format("rank {} {}", rank, describe(schedule.programs[static_cast<std::size_t>(rank)], step));
}

Status reject(const Schedule& schedule, Rank culprit, std::string_view what) {
  const std::string_view collective = schedule.programs.empty() ? "?" : name(schedule.programs[0].call.what);
  return Status(Code::invalid, format("schedule {}/{} rejected: {}", collective, schedule.programs.size(), what),
                culprit);
}

Status reject(const Schedule& schedule, Rank rank, StepId step, std::string_view what) {
  return reject(schedule, rank, format("{} {}", describe(schedule, rank, step), what));
}

}  // namespace tutti
