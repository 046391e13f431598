// How long a job stands still when a member is killed: from SIGKILL to the error on the survivors, and to the end of
// the first all-reduce, with the right sum, of the communicator that they have refreshed. Each trial is a job of its
// own, whose ranks add integers without end; the victim and the moment change from trial to trial. With `stop` the
// victim is stopped instead: from SIGSTOP until every other rank names it (tutti_comm_stragglers), and nobody else;
// then it wakes, and the job ends well.
//
//     benchmark_recovery [RANKS [TRIALS [ELEMENTS [kill|stop]]]]      8, 50, 1000, kill if not given
//     TUTTI_TRANSPORTS=tcp for TCP; the fast setting: TUTTI_HEARTBEAT_TIMEOUT=1s TUTTI_STRAGGLER_TIMEOUT=750ms
//
// What counts of a trial is its slowest survivor. Every survivor must name the victim, and all must say the same.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"

namespace {

constexpr int kRanksMax = 64;
constexpr int kAfterwards = 3;  // all-reduces that have to be right

struct Shared {  // by all processes of a trial
  std::atomic<std::int64_t> killed_ns;
  std::int64_t error_ns[kRanksMax];
  std::int64_t result_ns[kRanksMax];
  std::uint64_t sentence[kRanksMax];
  std::atomic<int> names;  // ranks that have named the victim
  char failure[512];
};

[[noreturn]] void give_up(Shared& shared, const char* what) {
  std::snprintf(shared.failure, sizeof shared.failure, "%s: %s", what, tutti_last_error());
  std::_Exit(1);
}

std::int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

struct Trial {
  int ranks;
  int victim;
  int operations;  // before it is killed
  std::size_t elements;
  bool stops;  // and is not killed
};

bool is_sum(const std::vector<std::int64_t>& data, const Trial& trial, bool without_victim) {
  const std::int64_t sum =
      (std::int64_t{1} << trial.ranks) - 1 - (without_victim ? std::int64_t{1} << trial.victim : 0);
  return std::all_of(data.begin(), data.end(), [&](std::int64_t value) { return value == sum; });
}

// True as soon as the victim is named, and it alone.
bool names_victim(tutti_comm* comm, const Trial& trial, Shared& shared) {
  tutti_straggler late[2];
  std::size_t count = 0;
  if (tutti_comm_stragglers(comm, sizeof late[0], late, 2, &count) != TUTTI_OK) give_up(shared, "stragglers");
  if (count > 1 || (count == 1 && late[0].rank != trial.victim)) give_up(shared, "somebody else is named");
  return count == 1;
}

void be_rank_beside_a_stopped_one(const Trial& trial, int rank, Shared& shared, tutti_comm* comm) {
  constexpr std::int64_t kLook = 1'000'000;
  std::vector<std::int64_t> data(trial.elements);
  for (int i = 0; i < trial.operations + kAfterwards; ++i) {
    if (rank == trial.victim && i == trial.operations) {
      shared.killed_ns = now_ns();
      raise(SIGSTOP);
    }
    std::fill(data.begin(), data.end(), std::int64_t{1} << rank);
    tutti_request* request = nullptr;
    if (tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_INT64, TUTTI_SUM, comm, nullptr, &request) !=
        TUTTI_OK)
      give_up(shared, "all_reduce");
    tutti_status status = TUTTI_TIMEOUT;
    while ((status = tutti_request_wait(&request, kLook)) == TUTTI_TIMEOUT) {
      if (shared.killed_ns == 0 || shared.error_ns[rank] != 0 || !names_victim(comm, trial, shared)) continue;
      shared.error_ns[rank] = now_ns();
      ++shared.names;
    }
    if (status != TUTTI_OK) give_up(shared, "wait");
    if (!is_sum(data, trial, false)) give_up(shared, "a wrong sum");
  }
}

void be_rank(const Trial& trial, int rank, Shared& shared) {
  tutti_comm* comm = nullptr;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.settings = "TUTTI_ELASTIC=on TUTTI_LOG=error";
  if (tutti_comm_create_from_environment(&comm, &options) != TUTTI_OK) give_up(shared, "create");
  if (trial.stops) {
    be_rank_beside_a_stopped_one(trial, rank, shared, comm);
    if (tutti_comm_finalize(comm, 0) != TUTTI_OK) give_up(shared, "finalize");
    tutti_comm_destroy(comm);
    return;
  }
  std::vector<std::int64_t> data(trial.elements);
  const auto add = [&] {
    std::fill(data.begin(), data.end(), std::int64_t{1} << rank);
    return tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr);
  };
  for (int i = 0;; ++i) {
    if (rank == trial.victim && i == trial.operations) {
      shared.killed_ns = now_ns();
      raise(SIGKILL);
    }
    if (add() != TUTTI_OK) break;
    if (!is_sum(data, trial, false)) give_up(shared, "a wrong sum before the kill");
  }
  shared.error_ns[rank] = now_ns();
  const std::string named = "rank " + std::to_string(trial.victim) + " (";
  if (std::strstr(tutti_last_error(), named.c_str()) == nullptr) give_up(shared, "the victim is not named");
  shared.sentence[rank] = std::hash<std::string>{}(tutti_last_error());
  if (tutti_comm_refresh(comm, nullptr) != TUTTI_OK) give_up(shared, "refresh");
  for (int i = 0; i < kAfterwards; ++i) {
    if (add() != TUTTI_OK) give_up(shared, "all_reduce after the refresh");
    if (!is_sum(data, trial, true)) give_up(shared, "a wrong sum after the refresh");
    if (i == 0) shared.result_ns[rank] = now_ns();
  }
  if (tutti_comm_finalize(comm, 0) != TUTTI_OK) give_up(shared, "finalize");
  tutti_comm_destroy(comm);
}

struct Times {
  double error_ms;
  double result_ms;
};

Times run(const Trial& trial, Shared& shared) {
  char directory[] = "/tmp/tutti-recovery-XXXXXX";
  if (mkdtemp(directory) == nullptr) std::perror("mkdtemp"), std::exit(1);
  setenv("TUTTI_STORE", (std::string("file://") + directory).c_str(), 1);
  setenv("TUTTI_SIZE", std::to_string(trial.ranks).c_str(), 1);
  new (&shared) Shared{};
  std::vector<pid_t> children;
  for (int rank = 0; rank < trial.ranks; ++rank) {
    setenv("TUTTI_RANK", std::to_string(rank).c_str(), 1);
    children.push_back(fork());
    if (children.back() == 0) {
      be_rank(trial, rank, shared);
      std::_Exit(0);
    }
  }
  const pid_t victim = children[static_cast<std::size_t>(trial.victim)];
  while (trial.stops && shared.names < trial.ranks - 1 && shared.failure[0] == '\0') usleep(1000);
  if (trial.stops) kill(victim, SIGCONT);
  for (const pid_t child : children) waitpid(child, nullptr, 0);
  std::filesystem::remove_all(directory);
  if (shared.failure[0] != '\0') std::fprintf(stderr, "benchmark_recovery: %s\n", shared.failure), std::exit(1);
  Times times{0, 0};
  const int first = trial.victim == 0 ? 1 : 0;
  for (int rank = 0; rank < trial.ranks; ++rank) {
    if (rank == trial.victim) continue;
    if (shared.sentence[rank] != shared.sentence[first]) {
      std::fprintf(stderr, "benchmark_recovery: rank %d tells another story than rank %d\n", rank, first);
      std::exit(1);
    }
    const auto since_kill = [&](std::int64_t at) { return static_cast<double>(at - shared.killed_ns) / 1e6; };
    times.error_ms = std::max(times.error_ms, since_kill(shared.error_ns[rank]));
    times.result_ms = std::max(times.result_ms, since_kill(shared.result_ns[rank]));
  }
  return times;
}

void report(const char* what, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
  };
  std::printf("%-44s %10.2f %10.2f %10.2f\n", what, at(0.5), at(0.99), values.back());
}

}  // namespace

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 8;
  const int trials = argc > 2 ? std::atoi(argv[2]) : 50;
  const long elements = argc > 3 ? std::atol(argv[3]) : 1000;
  const std::string how = argc > 4 ? argv[4] : "kill";
  if ((how != "kill" && how != "stop") || ranks < 2 || ranks > kRanksMax - 2 || trials < 1 || elements < 1) {
    std::fprintf(
        stderr,
        "usage: benchmark_recovery [RANKS (2 to %d) [TRIALS (1 or more) [ELEMENTS (1 or more) [kill|stop]]]]\n",
        kRanksMax - 2);
    return 2;
  }
  void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return std::perror("mmap"), 1;
  std::vector<double> errors;
  std::vector<double> results;
  for (int i = 0; i < trials; ++i) {
    const Trial trial{ranks, i * 5 % ranks, 20 + i * 7 % 50, static_cast<std::size_t>(elements), how == "stop"};
    const Times times = run(trial, *static_cast<Shared*>(memory));
    errors.push_back(times.error_ms);
    results.push_back(times.result_ms);
  }
  std::printf("%d ranks, %d times %s, %ld elements; milliseconds, of the slowest of the others\n", ranks, trials,
              how.c_str(), elements);
  std::printf("%-44s %10s %10s %10s\n", "", "p50", "p99", "most");
  if (how == "stop") return report("stop until all others name it, and it alone", errors), 0;
  report("kill to the same error on all survivors", errors);
  report("kill to the first right sum of the others", results);
  return 0;
}
