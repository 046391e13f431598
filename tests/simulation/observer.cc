#include "tests/simulation/observer.h"

#include <algorithm>
#include <utility>

#include "src/base/format.h"

namespace tutti {

void Observer::say(std::string sentence) {
  if (wrong_.empty()) wrong_ = std::move(sentence);
}

void Observer::installed(int process, int rank, const SeenView& view) {
  const auto [known, is_new] = by_epoch_.try_emplace(view.epoch, view);
  marks_.views += is_new && view.epoch > 0 ? 1 : 0;
  if (known->second != view)
    say(format("two views in one epoch: {} at process {}, and {}", view.text(), process, known->second.text()));
  if (rank < 0 || rank >= static_cast<int>(view.members.size()) ||
      view.members[static_cast<std::size_t>(rank)] != process)
    say(format("process {} is told that it is rank {} in {}", process, rank, view.text()));
  std::vector<int> sorted = view.members;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    say(format("a member is twice in {}", view.text()));
}

void Observer::succeeded(int process, const PlannedCall& call, const SeenView& view) {
  ++marks_.succeeded;
  if (const std::string wrong = call.check_result(view); !wrong.empty())
    say(format("process {}: {}", process, wrong));
  if (call.is_agree()) agreed(process, view, call.number());
  Outcome& outcome = outcomes_[{view.id, call.number()}];
  if (!outcome.succeeded_at) outcome.succeeded_at = process;
  if (outcome.failed_at && (!by_step_ || call.is_agree()))
    say(format("{} of {} has succeeded at process {}, but not at {}: {}", call.text(), view.text(), process,
               outcome.failed_at->first, outcome.failed_at->second));
  if (!call.is_alike_everywhere()) return;
  const std::uint64_t bits = call.hash_of_result();
  if (outcome.bits && *outcome.bits != bits)
    say(format("{} of {} has other bits at process {} than at {}", call.text(), view.text(), process,
               *outcome.succeeded_at));
  outcome.bits = bits;
}

void Observer::failed(int process, const PlannedCall& call, const SeenView& view, Standing standing,
                      const std::string& why) {
  ++marks_.undone;
  if (const std::string wrong = call.check_input(view); !wrong.empty() && !by_step_)
    say(format("process {}: {}", process, wrong));
  if (standing != Standing::survivor) return;
  if (by_step_) {
    Steps& steps = steps_[view.id];
    steps.failed = std::min(steps.failed, call.number());
    check_steps(process, view);
    if (!call.is_agree()) return;
  }
  Outcome& outcome = outcomes_[{view.id, call.number()}];
  if (outcome.succeeded_at)
    say(format("{} of {} has failed at process {}, which survives, but not at {}: {}", call.text(), view.text(),
               process, *outcome.succeeded_at, why));
  if (!outcome.failed_at) outcome.failed_at = {process, why};
  if (outcome.failed_at->second != why)
    say(format("{} of {} fails at process {} with \"{}\", at {} with \"{}\"", call.text(), view.text(), process, why,
               outcome.failed_at->first, outcome.failed_at->second));
}

void Observer::agreed(int process, const SeenView& view, unsigned number) {
  Steps& steps = steps_[view.id];
  steps.agreed = std::max(steps.agreed, number);
  check_steps(process, view);
}

void Observer::check_steps(int process, const SeenView& view) {
  const Steps& steps = steps_[view.id];
  if (steps.failed < steps.agreed)
    say(format("process {}: call {} of {} has failed at a survivor, but the agree after it, {}, has succeeded",
               process, steps.failed, view.text(), steps.agreed));
}

void Observer::returned(int process, const std::string& what, Instant deadline, Instant now, Nanoseconds beyond) {
  if (now <= deadline) return;
  marks_.latest = std::max(marks_.latest, now - deadline);
  if (now - deadline > beyond)
    say(format("process {}: {} returned {} after its deadline", process, what, format_duration(now - deadline)));
}

}  // namespace tutti
