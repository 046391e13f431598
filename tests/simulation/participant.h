// Participant: what one process of a simulated job does, as a program would: it founds the communicator with others
// or joins it, calls one collective after the other, refreshes when one fails or when the members agree to, and
// leaves. Lives in the process's fiber; what it sees it tells the observer.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/api/creation.h"
#include "tests/simulation/observer.h"
#include "tests/simulation/sim_store.h"
#include "tests/simulation/world.h"

namespace tutti {

// What the members of a job have in common; the scenario's.
struct Job {
  World& world;
  SimStore& store;
  Observer& observer;
  Marks& marks;
  Settings settings{};
  std::size_t founders = 0;
  std::vector<Invitation> invitations{};  // of the founders
  std::uint64_t members = 0;              // who are at work, with those who have crashed
  std::uint64_t founded = 0;              // how many have begun
  std::uint64_t came_again = 0;           // were turned away, asked once more, and are members
  Instant busy_until{};                   // before it, and before ...
  std::uint64_t epochs = 0;               // ... this epoch, there is always more to do
  std::uint64_t epochs_max = 0;           // never more after this one
  Nanoseconds call_timeout{};
  Nanoseconds refresh_timeout{};
  Nanoseconds join_timeout{};
  int dawdler = -1;  // the number of a process that calls its first refresh when the others have given up theirs, ...
  bool dawdler_leaves = false;  // ... or leaves instead
};

class Participant {
 public:
  // How it ended.
  enum class End : std::uint8_t { under_way, finished, left, left_behind, stopped, gave_up, turned_away };

  Participant(Job& job, Process& process) : job_(job), process_(process) {}
  ~Participant();
  Participant(const Participant&) = delete;
  Participant& operator=(const Participant&) = delete;

  End found_and_work();
  End join_and_work();
  // From outside, at any moment.
  void wants_to_leave() { leaves_ = true; }
  void revoke();

 private:
  std::unique_ptr<tutti_comm> blank() const;
  bool found();
  bool join_once();
  End work();
  End work_on();
  bool train();  // true: the members agree that all is done
  bool call_some();
  bool consult(bool& more);
  bool agree();
  bool grow();
  bool refresh(End& end);
  void pause();
  void linger();
  void dawdle();
  void leave();
  void saw_view();
  void settle(const PlannedCall& call, tutti_status status);
  Observer::Standing standing();
  Nanoseconds beyond() const;
  template <typename... Args>
  void tell(fmt::format_string<Args...> text, Args&&... args) {
    job_.world.tell("{}: {}", process_.number, fmt::format(text, std::forward<Args>(args)...));
  }

  Job& job_;
  Process& process_;
  std::unique_ptr<Store> store_;
  tutti_comm* comm_ = nullptr;
  tutti_comm* leaving_ = nullptr;  // until it has left: it may crash meanwhile
  std::vector<tutti_request*> requests_;
  std::vector<std::unique_ptr<PlannedCall>> calls_;
  SeenView view_;
  unsigned next_ = 1;  // of the view's calls
  bool leaves_ = false;
  bool has_dawdled_ = false;
};

}  // namespace tutti
