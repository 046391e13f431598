// A flight record as JSON: everything in the snapshot, times in nanoseconds on the writer's clock, names in words.
#pragma once

#include <nlohmann/json.hpp>

#include "src/diagnosis/recorder_reader.h"

namespace tutti {

// The `last` newest operations.
nlohmann::json to_json(const RecorderSnapshot& snapshot, std::size_t last);

}  // namespace tutti
