// A member of the small training of the chaos tests: it adds to a model step by step, outlives the others, and takes
// step and model over where it comes late. Everything that the model depends on is exact, so that one wrong, missing
// or doubled step shows in its hash.
//
// It says what it is asked for: orders come from outside at any time (a signal, or another process), what it has to
// tell goes into its report.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"

namespace tutti_test {

// How a member's process ends.
enum Ending { kDone = 0, kFailed = 1, kLeft = 6, kLeftBehind = 7, kTooLate = 8 };

struct Orders {
  std::atomic<int> stop;   // all members: come to the end together
  std::atomic<int> leave;  // this member: go, the others go on
};

struct View {
  std::uint64_t epoch = 0;
  int rank = 0;
  int size = 0;
  std::int64_t step = 0;   // that the members begin with
  std::uint64_t hash = 0;  // of the model then
};

struct Place {
  std::string store;
  std::string settings;
  int founders = 0;
  int rank = -1;  // of a founder; negative: joins
  std::int64_t timeout_ns = 0;
};

class ChaosMember {
 public:
  // `on_view` is called whenever the members are new and all hold one model; `on_failure` at most once.
  struct Hooks {
    std::function<void(const View&)> on_view;
    std::function<void(std::int64_t step)> on_step;
    std::function<void(const std::string&)> on_failure;
  };
  ChaosMember(Place place, Orders& orders, Hooks hooks);
  int run();  // an Ending; the communicator is destroyed
  std::int64_t step() const { return step_; }
  std::uint64_t hash() const;

 private:
  int live();
  bool take_over();
  int leave();
  int fail(const std::string& what);

  const Place place_;
  Orders& orders_;
  const Hooks hooks_;
  tutti_comm* comm_ = nullptr;
  tutti_state* state_ = nullptr;  // the model, whose revision is one more than the step
  std::int64_t step_ = 0;
  std::vector<std::int64_t> model_;
  View view_;
  bool broken_ = false;
};

}  // namespace tutti_test
