// Names for the shared memory of libfabric's provider shm, which is a file in /dev/shm per endpoint. Its own choice
// is the process's number and a counter, and what a killed process has left behind makes it refuse the next process
// of that number ("Device or resource busy"); two containers with one /dev/shm have the same numbers at the same
// time, too. So endpoints here get random names, all of one length.
//
// Whoever uses a file keeps it locked, so that what has no lock was left behind and can be removed by anybody.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "src/base/status.h"

namespace tutti::ofi {

// What a file without a lock may just not have got yet.
constexpr std::chrono::seconds kUnlockedLimit{60};

// As fi_setname takes it.
Result<std::string> new_region_name();
// Once the endpoint with that name is enabled: keeps its file locked until the end of the process, and removes it
// then.
Status hold_region(std::string_view name);
// Those of processes of this user that were killed.
void remove_dead_regions();

}  // namespace tutti::ofi
