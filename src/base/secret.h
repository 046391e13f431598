// Where the job's secret comes from.
#pragma once

#include <string>

#include "src/base/settings.h"
#include "src/base/status.h"

namespace tutti {

// TUTTI_SECRET, or what TUTTI_SECRET_FILE holds less its last line break, or nothing when neither is set. A file that
// others than its owner may read or write, or that is empty or longer than 4 KiB, is an error.
Result<std::string> read_secret(const Settings& settings);

}  // namespace tutti
