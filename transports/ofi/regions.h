// The shared memory of libfabric's provider shm: a file in /dev/shm per endpoint, with the process's number and a
// counter for its name. What an earlier process of that number has left behind makes it refuse the next one ("Device
// or resource busy"), and containers with one /dev/shm have the same numbers at the same time. So endpoints here get
// random names, all of one length.
//
// libfabric removes a file when its endpoint is closed, which endpoints here never are (domain.h). So it is removed
// when its process ends; until then it is locked, so that what has no lock was left by a process that was killed, and
// is removed by the next.
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
