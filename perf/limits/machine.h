// The machine: its description, the cores that this process may use, and pinning to one of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tutti_limits {

struct Machine {
  std::string cpu;  // as /proc/cpuinfo names it
  int cores = 1;
  std::uint64_t memory_bytes = 0;
  std::string kernel;
};

Machine this_machine();

// Those that the process had when this was first asked, in ascending order; at least one. Ask before pinning.
const std::vector<int>& usable_cores();

// The calling thread runs on that core only from now on, or, where that is refused, as before.
void pin_to(int core);

// The calling thread runs on that core only as long as this lives, then on all usable ones again.
class Pinned {
 public:
  explicit Pinned(int core) { pin_to(core); }
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
};

double now_s();  // of the monotonic clock

}  // namespace tutti_limits
