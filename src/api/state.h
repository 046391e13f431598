// A shared state of the C API, and what synchronizes it with the other ranks of a communicator.
#pragma once

#include <cstdint>
#include <string>

#include "src/api/handles.h"
#include "src/state/tensors.h"

struct tutti_state {
  std::string name;
  tutti::Tensors tensors;
  std::uint64_t revision = 0;
  bool is_whole = true;  // false: tensors were being overwritten when something went wrong; the revision is 0 then
};

namespace tutti {

// tutti_state_synchronize, with arguments that were checked by check_synchronization. `report` may be null.
Status check_synchronization(const char* function, const tutti_state* state, const tutti_state_options* options);
Status synchronize(tutti_state& state, tutti_comm& comm, const tutti_state_options* options,
                   tutti_state_report* report);

}  // namespace tutti
