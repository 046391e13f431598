#include "src/schedule/conflicts.h"

#include "src/base/format.h"
#include "src/schedule/layout.h"
#include "src/schedule/print.h"
#include "src/schedule/reject.h"

namespace tutti {
namespace {

constexpr StepId kNone = UINT32_MAX;

// Goes through one program in order. For each atom of memory: who wrote it last, and who read it since. A write must
// be ordered after all of these, a read after the write; with what was checked before, all pairs are then ordered.
class Checker {
 public:
  Checker(const Schedule& schedule, const Program& program, const Atoms& atoms)
      : schedule_(schedule),
        program_(program),
        atoms_(atoms),
        layout_(program.call),
        cells_((std::size_t{layout_.scratch_base} + program.scratch.size()) * atoms.size()),
        known_(program.steps.size(), kNone),
        visited_(program.steps.size(), 0) {}

  Status check() {
    for (step_ = 0; step_ < program_.steps.size(); ++step_) {
      const Step& step = program_.steps[step_];
      for (const StepId earlier : program_.after_of(step)) known_[earlier] = step_;
      if (step.kind == StepKind::send || step.kind == StepKind::copy) TUTTI_RETURN_IF_ERROR(read(step.source));
      if (step.kind == StepKind::reduce) {
        for (const Operand& operand : program_.operands_of(step)) {
          if (operand.peer == Operand::kLocal) TUTTI_RETURN_IF_ERROR(read(operand.view));
        }
      }
      if (step.kind != StepKind::send) TUTTI_RETURN_IF_ERROR(write(step.target));
    }
    return Status();
  }

 private:
  struct Cell {
    StepId writer = kNone;
    std::uint32_t readers = kNone;  // head of a list in readers_
  };
  struct Reader {
    StepId step;
    std::uint32_t next;
  };

  template <typename Act>
  Status for_each_cell(const View& view, const Act& act) {
    const Atoms::Span span = atoms_.of(program_, view);
    const std::size_t first = layout_.number(view);
    for (std::uint32_t block = 0; block < view.blocks; ++block) {
      Cell* const cells = cells_.data() + (first + block) * atoms_.size();
      for (std::uint32_t atom = span.begin; atom < span.end; ++atom) {
        if (Status status = act(cells[atom]); !status) return status;
      }
    }
    return Status();
  }

  Status read(const View& view) {
    return for_each_cell(view, [&](Cell& cell) {
      if (!ordered(cell.writer)) return unordered(cell.writer, "reads", view, "writes it");
      readers_.push_back({step_, cell.readers});
      cell.readers = static_cast<std::uint32_t>(readers_.size() - 1);
      return Status();
    });
  }

  Status write(const View& view) {
    return for_each_cell(view, [&](Cell& cell) {
      for (std::uint32_t r = cell.readers; r != kNone; r = readers_[r].next) {
        if (!ordered(readers_[r].step)) return unordered(readers_[r].step, "writes", view, "may still read it");
      }
      if (!ordered(cell.writer)) return unordered(cell.writer, "writes", view, "writes it too");
      cell = {step_, kNone};
      return Status();
    });
  }

  Status unordered(StepId earlier, std::string_view act, const View& view, std::string_view conflict) const {
    return reject(schedule_, program_.call.rank, step_,
                  format("{} {} while {} {}: no path of `after` orders them", act, print(view),
                         describe(program_, earlier), conflict));
  }

  // Whether a path of `after` leads from the current step back to `earlier`.
  bool ordered(StepId earlier) {
    if (earlier == kNone || earlier == step_ || known_[earlier] == step_) return true;
    ++visit_;
    stack_.assign(1, step_);
    while (!stack_.empty()) {
      const StepId at = stack_.back();
      stack_.pop_back();
      for (const StepId before : program_.after_of(program_.steps[at])) {
        if (before == earlier) {
          known_[earlier] = step_;
          return true;
        }
        if (before < earlier || visited_[before] == visit_) continue;
        visited_[before] = visit_;
        stack_.push_back(before);
      }
    }
    return false;
  }

  const Schedule& schedule_;
  const Program& program_;
  const Atoms& atoms_;
  Layout layout_;
  std::vector<Cell> cells_;  // by memory block, then by atom
  std::vector<Reader> readers_;
  std::vector<StepId> known_;           // by step: the last step known to be ordered after it
  std::vector<std::uint64_t> visited_;  // by step: the last search that came by
  std::vector<StepId> stack_;
  std::uint64_t visit_ = 0;
  StepId step_ = 0;
};

}  // namespace

Status check_conflicts(const Schedule& schedule, const Atoms& atoms) {
  for (const Program& program : schedule.programs) {
    TUTTI_RETURN_IF_ERROR(Checker(schedule, program, atoms).check());
  }
  return Status();
}

}  // namespace tutti
