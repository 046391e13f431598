// Who may decide for a view, and how to say that somebody may not. Pure.
//
// A quorum is (a) more than half of all members of the view, or exactly half with member 0 among them; or (b) all
// members that are not certainly dead. Two quorums of kind (a) have a member in common. Those of kind (b) are sound
// because of fencing: docs/membership.md has the argument.
#pragma once

#include <cstdint>

#include "src/base/status.h"
#include "src/membership/member_set.h"

namespace tutti {

// `minimum`: fewer members never decide, whichever they are.
bool is_quorum(const MemberSet& members, const MemberSet& dead, std::uint32_t minimum);

// PEER_LOST, blaming the first member that is missing without proof: why all but `suspected` cannot decide.
// REQUIRES: dead is part of suspected; the others are no quorum.
Status no_quorum(const MemberSet& suspected, const MemberSet& dead, std::uint32_t minimum);

}  // namespace tutti
