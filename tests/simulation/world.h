// World: many processes of Tutti in one thread under one virtual clock: their engines over the simulated network,
// their callers' code in fibers, which call the C API as programs do. One seed decides everything.
//
// A process that waits, in whatever call, counts its waits; a fault may be tied to the n-th of them, so that there is
// one at every step of every call.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/api/runtime.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/fiber.h"
#include "transports/sim/sim_network.h"

namespace tutti {

class World;

struct WorldOptions {
  int hosts = 1;  // process n lives on host n % hosts; with one there are segments, so boards
  SimOptions network;
  Nanoseconds silence_limit = std::chrono::milliseconds(500);
  bool tells = false;  // writes what happens to standard output
};

struct Process {
  int number = 0;
  int host = 0;
  ProcessId id;
  std::shared_ptr<Runtime> runtime;
  std::unique_ptr<Fiber> fiber;
  bool alive = true;
  bool running = true;     // false: stopped, gets no turn
  bool is_afresh = false;  // its fiber has not begun
  Transport* network = nullptr;
  bool was_idle = false;  // in its last turn
  Instant last_turn{};
  const std::function<bool()>* done = nullptr;
  Instant until{};
  std::uint64_t waits = 0;
  std::multimap<std::uint64_t, std::function<void()>> at_wait;
};

class World {
 public:
  World(std::uint64_t seed, const WorldOptions& options);
  ~World();

  Instant now() const { return network_.now(); }
  Random& random() { return random_; }
  SimNetwork& network() { return network_; }
  const WorldOptions& options() const { return options_; }
  std::vector<std::unique_ptr<Process>>& processes() { return processes_; }
  Nanoseconds some_time(Nanoseconds within) {
    return Nanoseconds(static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(within.count()) + 1)));
  }

  Process& start(std::function<void(Process&)> program);
  void crash(Process& process);
  void stop(Process& process) { process.running = false; }
  void resume(Process& process) { process.running = true; }

  void at(Instant when, std::function<void()> act);
  // In a process's fiber: until done() or the instant.
  bool wait(Process& process, const std::function<bool()>& done, Instant until);

  // One round of turns; then the clock moves if nobody had anything to do.
  void step();
  // Until done(); false when `limit` of virtual time has passed before.
  bool run(const std::function<bool()>& done, Nanoseconds limit);

  template <typename... Args>
  void tell(fmt::format_string<Args...> text, Args&&... args) {
    if (options_.tells) tell_line(fmt::format(text, std::forward<Args>(args)...));
  }
  void warned() { ++warnings_; }
  std::uint64_t warnings() const { return warnings_; }

 private:
  void tell_line(const std::string& text);
  std::shared_ptr<Runtime> make_runtime(Process& process);
  std::size_t turn(Process& process);
  bool may_sleep(Process& process, bool has_operations) const;

  WorldOptions options_;
  Random random_;
  SimNetwork network_;
  std::unique_ptr<Recorder> recorder_;
  std::vector<std::unique_ptr<Process>> processes_;
  EventQueue events_;
  std::uint64_t warnings_ = 0;
};

}  // namespace tutti
