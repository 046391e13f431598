// Who may decide for a view, and how to say that somebody may not. Pure.
//
// A quorum is (a) more than half of all members of the view, or exactly half with the casting member among them; or
// (b) all members that are not certainly dead. Two quorums of kind (a) have a member in common. Those of kind (b) are
// sound because of fencing: docs/membership.md has the argument.
#pragma once

#include <cstdint>

#include "src/base/status.h"
#include "src/membership/member_set.h"

namespace tutti {

// The same at all members of the view.
struct QuorumRule {
  std::uint32_t minimum = 1;  // fewer members never decide, whichever they are
  std::uint32_t casting = 0;  // has the casting vote between two halves: one that is likely to live
};

bool is_quorum(const MemberSet& members, const MemberSet& dead, const QuorumRule& rule);

// PEER_LOST, blaming the first member that is missing without proof: why all but `suspected` cannot decide.
// REQUIRES: dead is part of suspected; the others are no quorum.
Status no_quorum(const MemberSet& suspected, const MemberSet& dead, const QuorumRule& rule);

}  // namespace tutti
