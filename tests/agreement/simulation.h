// A whole view that agrees, in one thread under a virtual clock: 2 to 64 members over links that keep the order and
// delay at will, with crashes at any step, losses that are learnt at different times with and without proof, wrong
// suspicions, and partitions in one or both directions that may heal. Everything follows from one seed. What must
// hold is checked from outside.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/random.h"
#include "src/membership/agreement.h"
#include "tests/simulation/event_queue.h"

namespace tutti {

// What has come about in a run; the tests demand that everything does.
struct SimulationMarks {
  std::uint64_t decided = 0;         // runs in which every survivor has decided
  std::uint64_t stuck = 0;           // runs with a survivor that says why it cannot
  std::uint64_t lone = 0;            // runs with a single survivor, which has decided
  std::uint64_t minority = 0;        // runs decided by survivors who are no majority of the view
  std::uint64_t forgotten = 0;       // runs in which somebody decided otherwise, died, and nobody can know
  std::uint64_t excluded = 0;        // survivors that the decision counts among the lost
  std::uint64_t combined_often = 0;  // runs with several values proposed
  std::uint64_t messages = 0;
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed);

  // Runs to the end; empty, or a sentence on what should not be.
  std::string run(SimulationMarks& marks);

 private:
  static constexpr std::uint64_t kEndless = ~std::uint64_t{0};

  struct Member {
    std::unique_ptr<Agreement> agreement;
    std::uint32_t host = 0;
    bool is_alive = true;
    bool has_started = false;
    std::uint64_t sends_left = kEndless;  // then it dies, between two messages
    std::uint64_t sends_after_proposing = kEndless;
    std::uint64_t sends_after_deciding = kEndless;
    Instant timer = kNever;
    std::string contribution;
    std::string decision;
    std::uint64_t decided_turn = 0;  // 0: not; otherwise in which order
    Instant decided_at{};
    MemberSet dead_then;  // whom it knew to be dead when it decided
  };

  struct Link {
    Nanoseconds base{};
    Instant last_arrival{};
    bool is_cut = false;
    bool was_cut = false;
    Instant cut_at = kNever;     // what was sent before it ...
    Instant lost_from = kNever;  // ... and arrives after this is lost
  };

  void join(std::uint64_t seed, Nanoseconds within);
  void plan_network(int shape);
  void plan_crashes();
  void plan_suspicions();
  void plan_partition();
  void plan_doom();
  void plan_quarrel();
  void plan_cascade();
  void at(Instant time, std::function<void()> act);
  Instant some_time(Instant from, Nanoseconds within);
  Link& link(std::uint32_t from, std::uint32_t to) { return links_[from * size_ + to]; }
  Nanoseconds delay(const Link& link);

  void start(std::uint32_t who);
  void crash(std::uint32_t who);
  void cut(std::uint32_t from, std::uint32_t to);
  void heal(std::uint32_t from, std::uint32_t to);
  void lose(std::uint32_t who, std::uint32_t lost, Loss loss);
  void send(std::uint32_t from, std::uint32_t to, std::shared_ptr<const std::string> bytes);
  void deliver(std::uint32_t from, std::uint32_t to, const std::string& bytes);
  void turn(std::uint32_t who);  // after each call into a member
  std::string combine(std::uint32_t who, const Agreement::Contributions& contributions, const MemberSet& lost);

  bool is_settled() const;
  void check_values();
  void check_telling();
  void check_endings();
  void count(SimulationMarks& marks) const;
  bool is_up(std::uint32_t a, std::uint32_t b) const;
  void say(std::string sentence);

  Random random_;
  std::uint32_t size_ = 0;
  std::uint32_t minimum_ = 1;
  std::uint32_t casting_ = 0;
  Nanoseconds retry_{};
  Nanoseconds delay_max_{};
  Nanoseconds learning_{};  // within which a loss is learnt
  int shape_ = 0;           // of the delays
  std::vector<Member> members_;
  std::vector<Link> links_;
  EventQueue events_;
  std::uint64_t decisions_ = 0;
  std::uint64_t delivered_ = 0;
  Instant now_{};
  Instant last_fault_{};
  bool is_late_kept_ = false;  // whatever the dead have sent arrives
  std::vector<std::string> combined_;
  std::vector<bool> is_allowed_;  // whether enough were alive then
  std::string wrong_;
};

}  // namespace tutti
