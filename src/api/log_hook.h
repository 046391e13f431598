// The caller's log hook (tutti_set_log_hook). It may be set before there is a runtime and changed while one runs.
#pragma once

#include <string_view>

#include "src/base/log.h"

namespace tutti {

// Gives the line to the caller's hook; false if none is set.
bool give_to_log_hook(LogLevel level, std::string_view area, std::string_view text);

}  // namespace tutti
