// tutti-limits: measures the machine's own limits in one run, and derives from them the least time that a collective
// can take (bounds.h has the derivation).
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <new>

#include "perf/limits/bounds.h"
#include "perf/limits/hand_over.h"
#include "perf/limits/iperf.h"
#include "perf/limits/machine.h"
#include "perf/limits/memory.h"
#include "perf/limits/options.h"
#include "perf/limits/pair.h"
#include "perf/limits/report.h"
#include "perf/limits/sockets.h"

namespace tutti_limits {
namespace {

constexpr std::uint64_t kKi = 1024;
constexpr std::uint64_t kMi = kKi * kKi;

struct Plan {
  Effort effort;
  std::vector<std::uint64_t> sizes;  // of arrays
  std::uint64_t stream_bytes;
  std::uint64_t iperf_bytes;
};

Plan plan_of(const Options& options) {
  if (options.quick) return {{options.repetitions, 0.001}, {64 * kKi, kMi}, 4 * kMi, 4 * kMi};
  return {{options.repetitions, 0.05}, {64 * kKi, kMi, 16 * kMi, 128 * kMi}, 512 * kMi, 2048 * kMi};
}

void say(const char* what) {
  if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K{}", what);
}

Limits measure(const Options& options) {
  const Plan plan = plan_of(options);
  Limits limits;
  limits.cores = static_cast<int>(usable_cores().size());
  say("memory");
  for (const std::uint64_t bytes : plan.sizes) {
    for (int pass = 0; pass < kPasses; ++pass) {
      for (int threads = 1; threads <= std::min(2, limits.cores); ++threads)
        limits.memory.push_back(measure_memory(static_cast<Pass>(pass), threads, bytes, plan.effort));
    }
  }
  say("process_vm_readv");
  for (const std::uint64_t bytes : plan.sizes)
    limits.process_vm_readv.push_back(measure_process_vm_readv(bytes, plan.effort));
  say("hand-over");
  limits.hand_over_us = measure_hand_over(plan.effort);
  say("loopback");
  limits.loopback_us = measure_loopback_latency(plan.effort);
  limits.loopback_gbps = measure_loopback_bandwidth(plan.stream_bytes, plan.effort);
  say("iperf3");
  limits.iperf_gbps = measure_iperf_loopback(plan.iperf_bytes, plan.effort);
  if (!options.link_host.empty())
    limits.link_gbps = measure_iperf_link(options.link_host, options.link_port, plan.stream_bytes / 4, plan.effort);
  say("");
  return limits;
}

bool write(const std::string& path, const std::string& text) {
  std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
  bool written = file && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file) written = (path == "-" ? std::fflush(file) : std::fclose(file)) == 0 && written;
  if (!written) fmt::print(stderr, "tutti-limits: {} could not be written: {}\n", path, system_words(errno));
  return written;
}

int run(const Options& options) {
  const Machine machine = this_machine();  // before a thread is pinned
  const Limits limits = measure(options);
  const std::vector<Bound> bounds = bounds_of(limits, options.ranks, options.sizes);
  if (options.json != "-" && !write("-", table(machine, options, limits, bounds))) return kExitWrong;
  if (!options.json.empty() && !write(options.json, to_json(machine, options, limits, bounds).dump(2) + "\n"))
    return kExitWrong;
  return 0;
}

}  // namespace
}  // namespace tutti_limits

int main(int argc, char** argv) {
  using namespace tutti_limits;
  const Parsed parsed = parse_options(argc, argv);
  if (parsed.done) {
    std::fputs(parsed.text.c_str(), parsed.exit_status == 0 ? stdout : stderr);
    return parsed.exit_status;
  }
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run(parsed.options);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "tutti-limits: there is not enough memory: up to 6 arrays of 128 MiB are needed at a time.\n");
    return kExitWrong;
  }
}
