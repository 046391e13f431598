// Builder: what an algorithm writes its steps into. It infers the dependencies between steps from overlapping views
// (taking into account how an in-place call makes input and output overlap), so an algorithm only says what happens.
#pragma once

#include <initializer_list>
#include <span>

#include "src/schedule/schedule.h"

namespace tutti {

// Who takes part in a (part of a) collective, seen from one of them. `index` is this rank's place in `members`.
struct Group {
  std::vector<Rank> members;
  std::uint32_t index = 0;

  std::uint32_t size() const { return static_cast<std::uint32_t>(members.size()); }
  Rank self() const { return members[index]; }
  Rank next() const { return members[(index + 1) % size()]; }
  Rank previous() const { return members[(index + size() - 1) % size()]; }
  // The index of the member `steps` places before this one on the ring.
  std::uint32_t before(std::uint32_t steps) const { return (index + size() - steps % size()) % size(); }
  std::uint32_t after(std::uint32_t steps) const { return (index + steps) % size(); }
};
