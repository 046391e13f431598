// Many of everything: communicators with an operation in flight on each, communicators split from one, operations in
// flight on one. What one costs should depend on how many there are neither in time nor, once they are gone, in
// memory.
//
//     benchmark_many [RANKS]      2 if not given; TUTTI_TRANSPORTS=tcp for TCP
//
// Every figure is the median of 7 repetitions, on rank 0. Memory is what the process has resident.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"

namespace {

constexpr int kRepetitions = 7;

void must(tutti_status status, const char* what) {
  if (status == TUTTI_OK) return;
  std::fprintf(stderr, "benchmark_many: %s: %s\n", what, tutti_last_error());
  std::exit(1);
}

double resident_mib() {
  long pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

double microseconds(const std::function<void()>& act) {
  const auto begin = std::chrono::steady_clock::now();
  act();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
}

double median_of(const std::function<double()>& measure) {
  std::vector<double> values;
  for (int i = 0; i < kRepetitions; ++i) values.push_back(measure());
  std::nth_element(values.begin(), values.begin() + kRepetitions / 2, values.end());
  return values[kRepetitions / 2];
}

class Bench {
 public:
  Bench() {
    must(tutti_comm_create_from_environment(&world_, nullptr), "create");
    must(tutti_comm_rank(world_, &rank_), "rank");
  }

  void run() {
    say("%-44s %10s %14s %14s\n", "", "how many", "us for each", "resident MiB");
    communicators_in_flight();
    splits();
    operations_in_flight();
    must(tutti_comm_finalize(world_, 0), "finalize");
    must(tutti_comm_destroy(world_), "destroy");
  }

 private:
  template <typename... Values>
  void say(const char* text, Values... values) {
    if (rank_ == 0) std::printf(text, values...), std::fflush(stdout);
  }
  void row(const char* what, int many, double us) {
    say("%-44s %10d %14.3f %14.1f\n", what, many, us, resident_mib());
  }
  void barrier() { must(tutti_barrier(world_, nullptr, nullptr), "barrier"); }

  // One operation on each of `comms`, all in flight at once; microseconds for each.
  double round(const std::vector<tutti_comm*>& comms, int operations) {
    values_.assign(comms.size() * static_cast<std::size_t>(operations), 1.0f);
    std::vector<tutti_request*> requests(values_.size());
    barrier();
    const double us = microseconds([&] {
      std::size_t next = 0;
      for (tutti_comm* comm : comms) {
        for (int i = 0; i < operations; ++i, ++next) {
          float* const value = &values_[next];
          must(tutti_all_reduce(value, value, 1, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, &requests[next]),
               "all_reduce");
        }
      }
      must(tutti_request_wait_all(requests.size(), requests.data(), -1), "wait_all");
    });
    return us / static_cast<double>(values_.size());
  }

  void communicators_in_flight() {
    std::vector<tutti_comm*> comms;
    for (const int many : {1, 4, 16, 64}) {
      while (static_cast<int>(comms.size()) < many) {
        comms.push_back(nullptr);
        must(tutti_comm_duplicate(world_, &comms.back(), nullptr), "duplicate");
      }
      row("communicators, an operation in flight on each", many, median_of([&] { return round(comms, 1); }));
    }
    for (tutti_comm* comm : comms) must(tutti_comm_destroy(comm), "destroy");
  }

  void splits() {
    std::vector<tutti_comm*> comms;
    for (const int many : {10, 100, 1000}) {
      const int more = many - static_cast<int>(comms.size());
      barrier();
      const double us = microseconds([&] {
        for (int i = 0; i < more; ++i) {
          comms.push_back(nullptr);
          must(tutti_comm_split(world_, 0, rank_, &comms.back(), nullptr), "split");
        }
      });
      row("splits, all of them kept", many, us / more);
    }
    row("an operation on the last of so many", 1000, median_of([&] { return round({comms.back()}, 1); }));
    const double us = microseconds([&] {
      for (tutti_comm* comm : comms) must(tutti_comm_destroy(comm), "destroy");
    });
    row("destroying them", 1000, us / 1000);
  }

  void operations_in_flight() {
    for (const int many : {1, 10, 100, 1000, 10000, 10000, 1}) {
      row("operations in flight on one communicator", many, median_of([&] { return round({world_}, many); }));
    }
  }

  tutti_comm* world_ = nullptr;
  int rank_ = 0;
  std::vector<float> values_;
};

}  // namespace

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 2;
  if (argc > 2 || ranks < 2 || ranks > 64) {
    std::fprintf(stderr, "usage: benchmark_many [RANKS from 2 to 64]\n");
    return 2;
  }
  std::string folder = (std::filesystem::temp_directory_path() / "benchmark-many-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    std::perror(folder.c_str());
    return 1;
  }
  setenv("TUTTI_STORE", ("file://" + folder).c_str(), 1);
  setenv("TUTTI_SECRET", folder.c_str(), 1);
  setenv("TUTTI_SIZE", std::to_string(ranks).c_str(), 1);
  for (int rank = 0; rank < ranks; ++rank) {
    if (fork() != 0) continue;
    setenv("TUTTI_RANK", std::to_string(rank).c_str(), 1);
    Bench().run();
    return 0;
  }
  int status = 0, worst = 0;
  while (wait(&status) > 0) worst = std::max(worst, WIFEXITED(status) ? WEXITSTATUS(status) : 1);
  std::filesystem::remove_all(folder);
  return worst;
}
