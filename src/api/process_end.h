// What this host's system knows of another process. Whether it has ended is a fact, not a suspicion: on it rests that
// the last of eight processes may go on alone (docs/membership.md), so whatever is not certain is "no".
#pragma once

#include <cstdint>

#include "src/engine/address.h"

namespace tutti {

// 0 if it cannot be told.
std::uint64_t own_pid_namespace();

// True only for a process of this host (`own`) and this pid namespace that executes nothing any more. False if its
// number has been given to another process meanwhile.
bool has_process_ended(const ProcessAddress& address, const HostId& own);

// 'R', 'S', 'D', 'T' (stopped) and so on as /proc shows it; 0 where it cannot be seen from here. Only a hint: the
// number may have been given to another process meanwhile.
char state_of_process(const ProcessAddress& address, const HostId& own);

}  // namespace tutti
