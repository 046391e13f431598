// Reached: how the members of a communicator learn how far all of them have come. Each has completed its operations
// up to some number; the least of these numbers has been reached by all. Every member passes the least that it has
// heard of to the member 2^k places on, on level k (the dissemination barrier of Hensgen, Finkel and Manber, 1988,
// with a minimum for a signal), so all know after log2(members) messages each, and several operations share them: a
// word tells of everything before it.
//
// Numbers only grow, and wrap (is_ahead, signature.h). A state machine: what is to be sent is taken by next().
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/schedule/schedule.h"

namespace tutti {

class Reached {
 public:
  struct Word {
    Rank to = 0;
    std::uint32_t level = 0;
    std::uint32_t number = 0;
  };

  Reached(Rank members, Rank self);

  void here(std::uint32_t number);  // this member has completed everything up to it
  // False if no such word can come from there; nothing changes then.
  bool heard(Rank from, std::uint32_t level, std::uint32_t number);
  std::optional<Word> next();
  // Whether a word from there is still missing before `number` can be reached by all.
  bool waits_for(Rank from, std::uint32_t number) const;

  std::uint32_t here() const { return least_.front(); }
  std::uint32_t everywhere() const { return least_.back(); }

 private:
  void update(std::size_t level);
  Rank before(std::size_t level) const;  // whose words come on this level

  const Rank members_;
  const Rank self_;
  std::vector<std::uint32_t> least_;  // [k]: of this member and the 2^k - 1 before it
  std::vector<std::uint32_t> heard_;  // [k]: what the member 2^k places before has said of itself and those before it
  std::vector<std::uint32_t> told_;   // [k]: what the member 2^k places on was told
};

}  // namespace tutti
