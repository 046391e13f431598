// Who started this process, from /proc.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "src/base/ids.h"
#include "src/membership/environment.h"

namespace tutti {

namespace {

struct Ancestor {
  std::int64_t pid = 0;
  std::string name;
  std::int64_t parent = 0;
  std::uint64_t start = 0;
};

// /proc/PID/stat: "PID (NAME) STATE PARENT ..." with the start time as field 22. The name may hold blanks and
// brackets.
std::optional<Ancestor> read_stat(std::int64_t pid) {
  constexpr int kFieldsBetween = 17;  // from the parent, field 4, to the start time
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  const auto open = line.find('(');
  const auto close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return std::nullopt;
  Ancestor found;
  found.pid = pid;
  found.name = line.substr(open + 1, close - open - 1);
  std::istringstream rest(line.substr(close + 1));
  std::string skipped;
  rest >> skipped >> found.parent;
  for (int i = 0; i < kFieldsBetween; ++i) rest >> skipped;
  rest >> found.start;
  if (!rest) return std::nullopt;
  return found;
}

// Names as the kernel keeps them, cut to 15 characters.
bool starts_ranks(const std::string& name) {
  const std::string_view known[] = {"hydra_pmi_proxy", "orted", "prted", "orterun", "prterun", "mpirun", "mpiexec"};
  return std::find(std::begin(known), std::end(known), name) != std::end(known);
}

}  // namespace

// A script may stand between the launcher and this process, so the parent alone may differ between ranks.
LaunchFacts read_launch_facts() {
  constexpr int kDeepest = 16;
  LaunchFacts facts;
  facts.user = geteuid();
  if (const auto host = this_host_id()) facts.host_id = to_string(*host);
  auto ancestor = read_stat(getppid());
  if (ancestor) {
    facts.launcher_pid = ancestor->pid;
    facts.launcher_start = ancestor->start;
  }
  for (int depth = 0; ancestor && depth < kDeepest; ++depth) {
    if (starts_ranks(ancestor->name)) {
      facts.launcher_pid = ancestor->pid;
      facts.launcher_start = ancestor->start;
      break;
    }
    ancestor = read_stat(ancestor->parent);
  }
  return facts;
}

}  // namespace tutti
