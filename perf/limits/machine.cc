#include "perf/limits/machine.h"

#include <sched.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <chrono>
#include <fstream>

namespace tutti_limits {

namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name") && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  }
  return "not named by the kernel";
}

std::vector<int> find_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
  }
  if (cores.empty()) cores.push_back(0);
  return cores;
}

void run_on(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  // A refusal only makes the figures noisier, which their spread shows.
  static_cast<void>(sched_setaffinity(0, sizeof set, &set));
}

}  // namespace

const std::vector<int>& usable_cores() {
  static const std::vector<int> cores = find_cores();
  return cores;
}

Machine this_machine() {
  Machine machine;
  machine.cpu = cpu_model();
  machine.cores = static_cast<int>(usable_cores().size());
  struct sysinfo memory {};
  if (sysinfo(&memory) == 0) machine.memory_bytes = std::uint64_t{memory.totalram} * memory.mem_unit;
  utsname system{};
  if (uname(&system) == 0) machine.kernel = std::string(system.sysname) + " " + system.release;
  return machine;
}

void pin_to(int core) { run_on({core}); }

Pinned::~Pinned() { run_on(usable_cores()); }

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace tutti_limits
