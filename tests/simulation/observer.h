// Observer: knows everything that any process of a job was ever told, and looks for what must not be:
//  - two views in one epoch, or two memberships of one view;
//  - a member twice in a view, or one who is not at the place that it was given;
//  - an operation that succeeds for one and fails for a survivor, or fails in two ways;
//  - a result that is not exactly that of the view's members, or not the same bits everywhere;
//  - an undone operation whose input is gone;
//  - by step: an agree that succeeds, or fails, otherwise; one that succeeds after something that has failed;
//  - a call that returns after its deadline, and what the library may take beyond it (kBeyond).
#pragma once

#include <map>
#include <optional>
#include <string>

#include "src/base/clock.h"
#include "tests/simulation/calls.h"

namespace tutti {

// What has come about; the tests demand that everything does.
struct Marks {
  std::uint64_t views = 0;        // that worked, beyond the first of each run
  std::uint64_t admitted = 0;     // joiners
  std::uint64_t grown = 0;        // views that let somebody in without ending anything, at one member each
  std::uint64_t turned_away = 0;  // joins that came to nothing
  std::uint64_t succeeded = 0;    // operations, at one member each
  std::uint64_t undone = 0;
  std::uint64_t crashed = 0;
  std::uint64_t finished = 0;        // processes that have seen the job's end
  std::uint64_t left_behind = 0;     // processes without which others go on
  std::uint64_t stopped = 0;         // processes too few to decide
  std::uint64_t late_refreshes = 0;  // TIMEOUT
  std::uint64_t store_losses = 0;
  Nanoseconds latest{0};  // beyond a deadline
};

class Observer {
 public:
  explicit Observer(Marks& marks) : marks_(marks) {}
  // Only agrees end everywhere alike, and undo nothing (TUTTI_ELASTIC=step).
  void goes_by_step() { by_step_ = true; }

  // How a failed operation's communicator stands at the member that tells of it.
  enum class Standing : std::uint8_t { survivor, left_behind, stopped };

  void installed(int process, int rank, const SeenView& view);
  void succeeded(int process, const PlannedCall& call, const SeenView& view);
  void failed(int process, const PlannedCall& call, const SeenView& view, Standing standing, const std::string& why);
  // All calls before this one are complete at all members of the view.
  void agreed(int process, const SeenView& view, unsigned number);
  void returned(int process, const std::string& what, Instant deadline, Instant now, Nanoseconds beyond);
  void say(std::string sentence);

  const std::string& wrong() const { return wrong_; }  // the first thing; empty: nothing

 private:
  struct Outcome {
    std::optional<int> succeeded_at;
    std::optional<std::uint64_t> bits;
    std::optional<std::pair<int, std::string>> failed_at;  // a survivor, and with what
  };

  // In a view, by step: up to where somebody was told that all is certain, and what has failed at a survivor.
  struct Steps {
    unsigned agreed = 0;
    unsigned failed = ~0u;
  };

  void check_steps(int process, const SeenView& view);

  Marks& marks_;
  bool by_step_ = false;
  std::map<std::uint64_t, SeenView> by_epoch_;
  std::map<std::uint64_t, Steps> steps_;
  std::map<std::pair<std::uint64_t, unsigned>, Outcome> outcomes_;
  std::string wrong_;
};

}  // namespace tutti
