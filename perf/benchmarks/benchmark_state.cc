// How fast processes that join get a shared state: from the members' tutti_comm_refresh to its end, when all have it,
// a synchronization alone, and one where nothing differs (the cost of hashing), beside what the machine gives in the
// same run: a bare TCP connection from the first member to the last that joins, and memcpy.
//
//     benchmark_state HOLDERS JOINERS [MIB [TRIALS]]                 256, 5 if not given; all on this host
//     perf/lab/lab run TOPOLOGY -- benchmark_state HOLDERS JOINERS   on the lab's hosts, a rank each
//
// With one holder, the first that receives is a member already: nobody can join a member that is alone.
// TUTTI_TRANSPORTS chooses the way on this host. Every byte is checked after every trial.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"

namespace {

struct Task {
  int holders = 1;
  int joiners = 1;
  std::size_t bytes = 0;
  int trials = 5;
  int rank = 0;
};

[[noreturn]] void give_up(const char* what, const char* why = tutti_last_error()) {
  std::fprintf(stderr, "benchmark_state: %s: %s\n", what, why);
  std::exit(1);
}

void ok(tutti_status status, const char* what) {
  if (status != TUTTI_OK) give_up(what);
}

void good(bool condition, const char* what) {
  if (!condition) give_up(what, std::strerror(errno));
}

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::uint32_t own_address(bool everything_is_here) {
  std::uint32_t found = htonl(INADDR_LOOPBACK);
  ifaddrs* list = nullptr;
  if (everything_is_here || getifaddrs(&list) != 0) return found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    const bool fits =
        entry->ifa_addr != nullptr && entry->ifa_addr->sa_family == AF_INET && (entry->ifa_flags & IFF_LOOPBACK) == 0;
    if (fits) found = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr.s_addr;
  }
  freeifaddrs(list);
  return found;
}

// Seconds for the bytes through one connection from rank 0 to the last rank, as the last one sees it.
double bare_connection(const Task& task, tutti_comm* comm, std::vector<char>& memory, bool everything_is_here) {
  const int last = task.holders + task.joiners - 1;
  int rank = 0;  // those who join are numbered as they are let in
  ok(tutti_comm_rank(comm, &rank), "rank");
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = own_address(everything_is_here);
  int listener = -1;
  if (rank == 0) {
    listener = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof where;
    good(bind(listener, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0, "bind");
    good(listen(listener, 1) == 0, "listen");
    good(getsockname(listener, reinterpret_cast<sockaddr*>(&where), &length) == 0, "getsockname");
  }
  ok(tutti_broadcast(&where, &where, sizeof where, TUTTI_UINT8, 0, comm, nullptr, nullptr), "broadcast");
  double seconds = 0;
  if (rank == 0) {
    const int connection = accept(listener, nullptr, nullptr);
    good(connection >= 0, "accept");
    for (std::size_t at = 0; at < memory.size();) {
      const ssize_t sent = send(connection, memory.data() + at, memory.size() - at, 0);
      good(sent > 0, "send");
      at += static_cast<std::size_t>(sent);
    }
    close(connection);
    close(listener);
  } else if (rank == last) {
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    good(connect(connection, reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0, "connect");
    const double begin = now_s();
    for (std::size_t at = 0; at < memory.size();) {
      const ssize_t got = recv(connection, memory.data() + at, memory.size() - at, 0);
      good(got > 0, "recv");
      at += static_cast<std::size_t>(got);
    }
    seconds = now_s() - begin;
    close(connection);
  }
  ok(tutti_broadcast(&seconds, &seconds, 1, TUTTI_FLOAT64, last, comm, nullptr, nullptr), "broadcast");
  return seconds;
}

char byte_at(std::size_t i) { return static_cast<char>(i * 2654435761u >> 16); }

void fill(const Task& task, std::vector<char>& memory) {
  if (task.rank >= task.holders) return std::fill(memory.begin(), memory.end(), 0), void();
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = byte_at(i);
}

void check(const std::vector<char>& memory) {
  for (std::size_t i = 0; i < memory.size(); ++i) {
    if (memory[i] != byte_at(i)) give_up("the content", "a byte is wrong");
  }
}

struct Times {
  std::vector<double> join, synchronize, compare, connection, copy;
};

// A communicator of the members, whom the others join; everything is measured at rank 0.
void run_trial(const Task& task, int number, tutti_state* state, std::vector<char>& memory, bool here, Times& times) {
  tutti_comm* comm = nullptr;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  const std::string name = "trial" + std::to_string(number);
  options.name = name.c_str();
  options.settings = "TUTTI_ELASTIC=on TUTTI_LOG=error";
  const char* const store = std::getenv("TUTTI_STORE");
  fill(task, memory);
  ok(tutti_state_set_revision(state, task.rank < task.holders ? 1 : 0), "set_revision");
  const int members = std::max(task.holders, 2);
  if (task.rank < members) {
    ok(tutti_comm_create_from_store(&comm, members, task.rank, store, &options), "create");
    int waiting = 0;
    while (task.rank == 0 && waiting < task.holders + task.joiners - members) {
      ok(tutti_comm_waiting(comm, &waiting), "waiting");
      usleep(1000);
    }
    ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    tutti_refresh_options refresh = TUTTI_REFRESH_OPTIONS_INIT;
    refresh.state = state;
    const double begin = now_s();
    ok(tutti_comm_refresh(comm, &refresh), "refresh");
    times.join.push_back(now_s() - begin);
  } else {
    ok(tutti_comm_join(&comm, store, &options), "join");
    ok(tutti_state_synchronize(state, comm, nullptr, nullptr), "synchronize");
  }
  check(memory);
  fill(task, memory);
  ok(tutti_state_set_revision(state, task.rank < task.holders ? 2 : 0), "set_revision");
  ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
  const double begin = now_s();
  ok(tutti_state_synchronize(state, comm, nullptr, nullptr), "synchronize");
  times.synchronize.push_back(now_s() - begin);
  check(memory);
  ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
  const double compare_begin = now_s();
  ok(tutti_state_synchronize(state, comm, nullptr, nullptr), "synchronize");
  times.compare.push_back(now_s() - compare_begin);
  times.connection.push_back(bare_connection(task, comm, memory, here));
  if (task.rank == 0) {
    std::vector<char> other(memory.size());
    for (int i = 0; i < 2; ++i) {  // the first time is that of the system, which gives pages
      const double copy_begin = now_s();
      std::memcpy(other.data(), memory.data(), memory.size());
      if (i == 1) times.copy.push_back(now_s() - copy_begin);
    }
  }
  ok(tutti_comm_finalize(comm, 0), "finalize");
  ok(tutti_comm_destroy(comm), "destroy");
}

void be_rank(const Task& task, bool here) {
  std::vector<char> memory(task.bytes);
  tutti_state* state = nullptr;
  ok(tutti_state_create(&state, "model"), "state_create");
  ok(tutti_state_add(state, "weights", memory.data(), memory.size(), TUTTI_UINT8), "state_add");
  Times times;
  for (int i = 0; i <= task.trials; ++i) {
    if (i == 1) times = {};  // the first is a warm-up
    run_trial(task, i, state, memory, here, times);
  }
  ok(tutti_state_destroy(state), "state_destroy");
  if (task.rank != 0) return;
  const double link = median(times.connection);
  std::printf("%.0f MiB from %d to %d, median of %d\n", static_cast<double>(task.bytes) / (1 << 20), task.holders,
              task.joiners, task.trials);
  std::printf("%-40s %10s %10s %14s\n", "", "ms", "GB/s", "of connection");
  const auto line = [&](const char* what, double seconds) {
    std::printf("%-40s %10.1f %10.3f %13.1f%%\n", what, seconds * 1e3,
                static_cast<double>(task.bytes) / seconds / 1e9, 100 * link / seconds);
  };
  line("refresh: all admitted and synchronized", median(times.join));
  line("synchronize alone", median(times.synchronize));
  line("synchronize, nothing differs", median(times.compare));
  line("bare TCP connection, one receiver", link);
  line("memcpy", median(times.copy));
}

int run_here(Task task) {
  char directory[] = "/tmp/tutti-state-XXXXXX";
  if (mkdtemp(directory) == nullptr) return std::perror("mkdtemp"), 1;
  setenv("TUTTI_STORE", (std::string("file://") + directory).c_str(), 1);
  std::vector<pid_t> children;
  for (task.rank = 0; task.rank < task.holders + task.joiners; ++task.rank) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    be_rank(task, true);
    std::fflush(stdout);
    std::_Exit(0);
  }
  bool failed = false;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    failed |= status != 0;
  }
  std::filesystem::remove_all(directory);
  return failed ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Task task;
  task.holders = argc > 1 ? std::atoi(argv[1]) : 0;
  task.joiners = argc > 2 ? std::atoi(argv[2]) : 0;
  const long mib = argc > 3 ? std::atol(argv[3]) : 256;
  task.trials = argc > 4 ? std::atoi(argv[4]) : 5;
  if (task.holders < 1 || task.joiners < 1 || mib < 1 || task.trials < 1) {
    std::fprintf(stderr, "usage: benchmark_state HOLDERS JOINERS [MIB [TRIALS]], each 1 or more\n");
    return 2;
  }
  task.bytes = static_cast<std::size_t>(mib) << 20;
  const char* const rank = std::getenv("TUTTI_RANK");
  if (rank == nullptr) return run_here(task);
  const char* const size = std::getenv("TUTTI_SIZE");
  if (size == nullptr || std::atoi(size) != task.holders + task.joiners) {
    std::fprintf(stderr, "benchmark_state: TUTTI_SIZE must be the number of holders and joiners together\n");
    return 2;
  }
  task.rank = std::atoi(rank);
  be_rank(task, false);
  return 0;
}
