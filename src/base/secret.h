// Where the job's secret, and others like it, come from.
#pragma once

#include <string>
#include <string_view>

#include "src/base/settings.h"
#include "src/base/status.h"

namespace tutti {

// What the file named by `setting` holds less its last line break. A file that others than its owner may read or
// write, or that is empty or longer than 4 KiB, is an error.
Result<std::string> read_secret_file(std::string_view setting, const std::string& path);

// TUTTI_SECRET, or what TUTTI_SECRET_FILE holds, or nothing when neither is set.
Result<std::string> read_secret(const Settings& settings);

}  // namespace tutti
