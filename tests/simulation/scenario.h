// Scenario: one job from one seed: who there is, what goes wrong and when, and what must have come of it in the end.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "tests/simulation/participant.h"

namespace tutti {

class Scenario {
 public:
  Scenario(std::uint64_t seed, Marks& marks, bool tells);

  // Runs to the end; empty, or a sentence on what should not be.
  std::string run();

 private:
  enum class Temper : std::uint8_t {
    calm,    // members come and go, nothing breaks
    gentle,  // on one host: processes die, the store fails; whoever lives must see the end
    rough,   // anything
  };

  static WorldOptions world_options(std::uint64_t seed, bool tells);
  void start_founders();
  void start_joiner();
  void plan();
  void plan_one();
  void plan_store_trouble();
  void plan_network_trouble();
  void plan_stop();
  // At a random moment, or at a random wait of a random process.
  void some_time(std::function<void()> act);
  Process* somebody();
  Participant* member_of(const Process& process);
  bool all_over() const;
  void end_sometimes(Process& process);
  void check_end();
  void check_leaks();
  Nanoseconds horizon() const { return std::chrono::microseconds(3'000); }

  const std::uint64_t seed_;
  Marks& marks_;
  World world_;
  SimStore store_;
  Observer observer_;
  Job job_;
  Temper temper_ = Temper::calm;
  std::map<int, Participant*> members_;   // of processes whose fiber is in them
  std::map<int, Participant::End> ends_;  // how processes ended
  std::map<int, std::size_t> boards_;     // how many fit into a process's segment
  std::size_t joiners_to_come_ = 0;
};

}  // namespace tutti
