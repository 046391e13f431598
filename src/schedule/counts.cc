#include "src/schedule/counts.h"

#include <algorithm>

#include "src/schedule/run.h"
#include "src/schedule/well_formed.h"

namespace tutti {
namespace {

// A sum of lengths that mostly have one denominator: adds numerators while it stays the same.
class LengthSum {
 public:
  void add(const View& covered, std::uint64_t times) {
    if (covered.den != den_) {
      settle();
      den_ = covered.den;
    }
    num_ += std::uint64_t{covered.hi - covered.lo} * covered.blocks * times;
  }
  Fraction total() {
    settle();
    return total_;
  }

 private:
  void settle() {
    total_ = total_ + Fraction(num_, den_);
    num_ = 0;
  }

  Fraction total_;
  std::uint64_t num_ = 0;
  std::uint32_t den_ = 1;
};

}  // namespace

Result<Counts> count(const Schedule& schedule) {
  TUTTI_RETURN_IF_ERROR(check_well_formed(schedule));
  const auto played = run(schedule);
  if (!played) return played.status();
  Counts counts;
  counts.rounds = played->rounds;
  for (const Program& program : schedule.programs) {
    std::uint64_t messages = 0;
    LengthSum sent, reduced;
    for (const Step& step : program.steps) {
      if (step.kind == StepKind::send) {
        messages += step.peers.count;
        sent.add(coverage(program, step.source), step.peers.count);
      } else if (step.kind == StepKind::reduce) {
        reduced.add(coverage(program, step.target), step.operands.count - 1);
      }
    }
    counts.messages = std::max(counts.messages, messages);
    counts.sent = std::max(counts.sent, sent.total());
    counts.reduced = std::max(counts.reduced, reduced.total());
  }
  return counts;
}

}  // namespace tutti
