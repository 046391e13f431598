// --plot: hands the results to the script tutti-plot, which draws them with matplotlib.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "perf/tutti-perf/error.h"

namespace tutti_perf {

Error draw_plot(const nlohmann::json& results, const std::string& path);

}  // namespace tutti_perf
