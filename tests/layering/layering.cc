#include "tests/layering/layering.h"

#include <algorithm>
#include <sstream>

#include "src/base/format.h"

namespace tutti {

namespace {

bool lies_in(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

// The path of an #include with quotes, or of the public header in any form; empty for everything else.
std::string_view included_path(std::string_view line) {
  const std::size_t begin = line.find_first_not_of(" \t");
  if (begin == std::string_view::npos || line[begin] != '#') return {};
  const std::size_t word = line.find_first_not_of(" \t", begin + 1);
  if (word == std::string_view::npos || !line.substr(word).starts_with("include")) return {};
  const std::size_t open = line.find_first_of("\"<", word);
  if (open == std::string_view::npos) return {};
  const std::size_t close = line.find(line[open] == '"' ? '"' : '>', open + 1);
  if (close == std::string_view::npos) return {};
  return line.substr(open + 1, close - open - 1);
}

}  // namespace

const std::vector<Layer>& layers() {
  static const std::vector<Layer> table = {
      {"include", {}},
      {"src/base", {}},
      {"src/tls", {"src/base"}},
      {"src/memory", {"src/base"}},
      {"src/schedule", {"src/base"}},
      {"src/diagnosis", {"src/base"}},
      {"src/membership", {"src/tls", "src/base"}},
      {"src/transport", {"src/base"}},
      {"algorithms", {"src/schedule", "src/base"}},
      {"src/planning", {"algorithms", "src/schedule", "src/memory", "src/base"}},
      {"src/engine",
       {"src/planning", "algorithms", "src/schedule", "src/transport", "src/membership", "src/diagnosis",
        "src/memory", "src/base"}},
      {"src/state", {"src/memory", "src/base"}},
      {"transports/self", {"src/transport", "src/memory", "src/base"}},
      {"transports/shm", {"src/transport", "src/memory", "src/base"}},
      {"transports/tcp", {"src/transport", "src/tls", "src/memory", "src/base"}},
      {"transports/verbs", {"src/transport", "src/memory", "src/base"}},
      {"transports/sim", {"src/transport", "src/memory", "src/base"}},
      {"transports/fault", {"src/transport", "src/memory", "src/base"}},
      {"transports/failover", {"src/transport", "src/base"}},
      {"transports/fabric", {"src/transport", "src/base"}},
      {"transports/ucx", {"transports/fabric", "src/transport", "src/base"}},
      {"transports/ofi", {"transports/fabric", "src/transport", "src/base"}},
      {"transports/ncclnet", {"transports/fabric", "src/transport", "src/base"}},
      {"src/api", {"include",          "src/engine",     "src/state",      "src/planning",
                   "algorithms",       "src/schedule",   "src/transport",  "src/membership",
                   "src/diagnosis",    "src/memory",     "src/tls",        "src/base",
                   "transports/self",  "transports/shm", "transports/tcp", "transports/failover",
                   "transports/verbs", "transports/ucx", "transports/ofi", "transports/ncclnet"}},
      {"bindings", {"include"}},
      {"examples", {"include"}},
      {"perf/lab", {}},
      {"perf/limits", {}},
      {"perf/peers", {"include"}},
      // Tools that work without a cluster, and measurements of one folder at a time.
      {"perf/tutti-recorder", {"src/diagnosis", "src/base"}},
      {"perf/tutti-store", {"src/membership", "src/tls", "src/base"}},
      {"perf/tutti-perf", {"include", "src/diagnosis", "src/base"}},  // src: --trace reads flight recorders
      {"perf/benchmarks",
       {"include", "src/base", "src/tls", "src/memory", "src/schedule", "src/transport", "src/diagnosis",
        "algorithms", "src/planning", "src/engine", "transports/self", "transports/shm", "transports/tcp",
        "transports/sim", "transports/verbs", "transports/ucx", "transports/ofi", "transports/ncclnet"}},
  };
  return table;
}

std::string_view layer_of(std::string_view path) {
  std::string_view deepest;
  for (const Layer& layer : layers()) {
    if (lies_in(path, layer.folder) && layer.folder.size() > deepest.size()) deepest = layer.folder;
  }
  return deepest;
}

std::vector<std::string> wrong_arrows(std::string_view path, std::string_view text) {
  std::vector<std::string> wrong;
  const std::string_view from = layer_of(path);
  if (from.empty()) {
    wrong.push_back(
        format("{} lies in no folder of the table in tests/layering/layering.cc; give it its place", path));
    return wrong;
  }
  const auto layer = std::find_if(layers().begin(), layers().end(), [&](const Layer& l) { return l.folder == from; });
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::string_view written = included_path(line);
    const std::string target = written.starts_with("tutti/") ? format("include/{}", written) : std::string(written);
    if (target.starts_with(".")) {
      wrong.push_back(format("{}:{}: includes {}; paths start at the project's root", path, number, target));
      continue;
    }
    const std::string_view to = layer_of(target);
    const bool is_project = !to.empty() || target.starts_with("tests/") || target.starts_with("src/") ||
                            target.starts_with("transports/") || target.starts_with("perf/");
    if (!is_project || to == from) continue;
    if (std::find(layer->may_include.begin(), layer->may_include.end(), to) == layer->may_include.end() ||
        to.empty()) {
      wrong.push_back(format("{}:{}: {} may not include {}", path, number, from, target));
    }
  }
  return wrong;
}

}  // namespace tutti
