// Which of a library's devices are used, as a setting says.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "src/base/status.h"

namespace tutti::fabric {

struct Devices {
  std::string owner;               // "NCCL plug-in Test (v10)"
  std::string noun;                // "device"
  std::string setting;             // for messages
  bool are_numbered = false;       // a number is as good as the name
  std::vector<std::string> names;  // of all there are; at least one
};

// Indices into `names`, in the order of `wanted`: of those with these names or numbers; of all, where that is the one
// word; where there is none, of the first. `invalid` where one is not there, or named twice.
Result<std::vector<std::size_t>> pick(const Devices& devices, const std::vector<std::string>& wanted);

}  // namespace tutti::fabric
