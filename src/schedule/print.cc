#include "src/schedule/print.h"

#include <fmt/format.h>

#include <iterator>

namespace tutti {
namespace {

using Text = std::back_insert_iterator<std::string>;

void put(Text out, const View& view) {
  fmt::format_to(out, "{}[{}", name(view.buffer), view.block);
  if (view.blocks != 1) fmt::format_to(out, "+{}", view.blocks);
  fmt::format_to(out, "]");
  if (view.lo != 0 || view.hi != 1 || view.den != 1) fmt::format_to(out, "({}..{})/{}", view.lo, view.hi, view.den);
}

void put(Text out, const Program& program, const Step& step) {
  fmt::format_to(out, "{} ", name(step.kind));
  put(out, step.kind == StepKind::send ? step.source : step.target);
  switch (step.kind) {
    case StepKind::send:
      fmt::format_to(out, " to");
      for (const Rank peer : program.peers_of(step)) fmt::format_to(out, " {}", peer);
      break;
    case StepKind::receive:
      fmt::format_to(out, " from");
      for (const Rank peer : program.peers_of(step)) fmt::format_to(out, " {}", peer);
      break;
    case StepKind::reduce: {
      std::string_view separator = " of ";
      for (const Operand& operand : program.operands_of(step)) {
        fmt::format_to(out, "{}", separator);
        separator = ", ";
        if (operand.peer == Operand::kLocal) {
          put(out, operand.view);
        } else {
          fmt::format_to(out, "rank {}", operand.peer);
        }
      }
      break;
    }
    case StepKind::copy:
      fmt::format_to(out, " of ");
      put(out, step.source);
      break;
  }
  if (step.finish) fmt::format_to(out, " finish");
}

void put(Text out, const Program& program) {
  const Call& call = program.call;
  fmt::format_to(out, "program {} rank {} of {} root {}{}\n", name(call.what), call.rank, call.ranks, call.root,
                 call.in_place ? " in_place" : "");
  for (const View& shape : program.scratch) {
    fmt::format_to(out, "scratch ");
    put(out, shape);
    fmt::format_to(out, "\n");
  }
  StepId number = 0;
  for (const Step& step : program.steps) {
    fmt::format_to(out, "{} ", number++);
    put(out, program, step);
    if (step.after.count > 0) fmt::format_to(out, " after");
    for (const StepId earlier : program.after_of(step)) fmt::format_to(out, " {}", earlier);
    fmt::format_to(out, "\n");
  }
}

}  // namespace

std::string print(const View& view) {
  std::string text;
  put(std::back_inserter(text), view);
  return text;
}

std::string print(const Program& program, const Step& step) {
  std::string text;
  put(std::back_inserter(text), program, step);
  return text;
}

std::string print(const Program& program) {
  std::string text;
  put(std::back_inserter(text), program);
  return text;
}

std::string print(const Schedule& schedule) {
  std::string text = "tutti schedule 1\n";
  for (const Program& program : schedule.programs) put(std::back_inserter(text), program);
  return text;
}

}  // namespace tutti
