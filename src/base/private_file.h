// Small files that hold secrets: read whole, and refused where others could read them too.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "src/base/status.h"

namespace tutti {

enum class Readers : unsigned char { anybody, owner_only };

// What the file at `path` holds. `setting` is the name of the setting that named it; it begins every error. INVALID
// for what is no ordinary file, is longer than `longest` bytes, or, with owner_only, may be used by others than its
// owner; SYSTEM with the system's words where it cannot be opened or read. Never waits.
Result<std::string> read_small_file(std::string_view setting, const std::string& path, std::size_t longest,
                                    Readers readers);

}  // namespace tutti
