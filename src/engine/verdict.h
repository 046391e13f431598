// Testimony and verdict: how an elastic communicator ends the same way on every survivor. After something went wrong
// each member freezes and testifies: how far it has come, what it has seen, whom it cannot reach. One member draws
// the verdict from all testimonies, and an agreement (src/membership/agreement.h) makes it everybody's: up to which
// number operations are complete, who is lost, and the one sentence that all others end with. Pure.
//
// Why that is uniform: a member reports an operation as complete only once it knows that every member has completed
// it (reached.h). So whatever anybody has reported is below the number of each testimony, and the verdict, their
// least, covers it. What is above it was reported by nobody, and is undone by all.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/status.h"
#include "src/schedule/schedule.h"

namespace tutti {

struct Testimony {
  std::uint32_t complete = 0;  // this member has completed every operation up to this number
  bool first_hand = false;     // `failure` was seen here; otherwise it only says that somebody called for a verdict
  Status failure;              // not ok; its culprit is a rank or nobody
  std::vector<Rank> suspects;  // members that cannot be reached from here
  std::vector<Rank> excluded;  // members that were late for too long: they are lost, also if they testify; ascending

  std::string encode() const;
  static Result<Testimony> decode(std::string_view bytes, Rank members);
};

struct Verdict {
  std::uint32_t complete = 0;
  Status why;
  std::vector<Rank> lost;  // ascending; they are no members of what follows, also those that still live

  bool has_lost(Rank member) const;

  std::string encode() const;
  static Result<Verdict> decode(std::string_view bytes, Rank members);
};

// Testimonies by member; nothing: not heard, which makes it lost. At least one is there. Of two members that are
// heard and cannot reach each other one has to go: whoever is in most such pairs, the last of several. Of members
// that exclude each other the first stays.
Verdict judge(std::span<const std::optional<Testimony>> testimonies);

}  // namespace tutti
