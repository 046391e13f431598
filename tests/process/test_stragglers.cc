// Ranks that are late, between real processes: stopped by a signal, or computing. All who wait name them, in the log
// and when asked, while they wait; nothing is ended by it, and when they come after all the results are right.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include "tests/process/job.h"
#include "tests/process/own_log.h"

namespace tutti_test {
namespace {

using std::chrono::milliseconds;

constexpr int kLate = 2;
constexpr int kBefore = 20;  // operations before the one that it comes late to
constexpr int kOperationOfTheLateOne = kBefore + 1;
constexpr std::size_t kSlotRank = 0;  // whom each rank has named, plus one
constexpr std::size_t kSlotHow = 1;
constexpr std::size_t kSlotOrder = 2;  // after how many ms

// Waits for the request, and asks meanwhile who is late.
void wait_and_ask(Rank& rank, tutti_comm* comm, tutti_request* request) {
  const auto began = std::chrono::steady_clock::now();
  int done = 0;
  tutti_status got = TUTTI_OK;
  while (done == 0) {
    got = tutti_request_test(&request, &done);
    tutti_straggler late[4];
    std::size_t count = 0;
    if (done == 0) rank.ok(tutti_comm_stragglers(comm, sizeof late[0], late, 4, &count), "stragglers");
    auto& slots = rank.shared().slots;
    // On a machine with other work another may be late, too, and for a while alone.
    const auto* const found =
        std::find_if(late, late + count, [](const tutti_straggler& each) { return each.rank == kLate; });
    if (found != late + count && slots[kSlotRank][rank.rank()] == 0) {
      slots[kSlotRank][rank.rank()] = static_cast<std::uint64_t>(found->rank) + 1;
      slots[kSlotHow][rank.rank()] = static_cast<std::uint64_t>(found->how);
      slots[kSlotOrder][rank.rank()] = static_cast<std::uint64_t>(
          std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - began).count());
      rank.check(found->waited_ns > 0 && found->late_ns > 0, "times are not positive");
      rank.shared().counters[0].fetch_add(1);
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  rank.ok(got, "the operation that waited for a straggler");
}

// The lines of a log about this operation.
std::string lines_of_operation(const std::string& text, int number) {
  const std::string name = " " + std::to_string(number) + " on dp0 ";
  std::string lines;
  std::istringstream all(text);
  for (std::string line; std::getline(all, line);) {
    if (line.find(name) != std::string::npos) lines += line + '\n';
  }
  return lines;
}

struct Lateness {
  const char* name;
  bool stops;  // by a signal; otherwise it computes
  const char* transport;
  std::size_t elements;
};

void PrintTo(const Lateness& lateness, std::ostream* out) { *out << lateness.name; }

class Straggling : public testing::TestWithParam<Lateness> {};

TEST_P(Straggling, IsNamedByAllWhoWaitWhileTheyWaitAndEndsNothing) {
  const Lateness how = GetParam();
  Job job;
  job.ranks = 5;
  job.settings = std::string("TUTTI_TIMEOUT=120s TUTTI_STRAGGLER_TIMEOUT=400ms TUTTI_TRANSPORTS=") + how.transport;
  const Outcome outcome = run_job(job, [how](Rank& rank) {
    const OwnLog log;
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    std::vector<std::int64_t> data(how.elements, 1);
    const auto reduce = [&](tutti_request** request) {
      std::fill(data.begin(), data.end(), 1);
      return tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_INT64, TUTTI_SUM, comm, nullptr, request);
    };
    for (int i = 0; i < kBefore; ++i) rank.ok(reduce(nullptr), "all_reduce before");
    std::thread waker;
    if (rank.rank() == 0 && how.stops) {
      waker = std::thread([&] {
        while (rank.shared().counters[0].load() < 4) std::this_thread::sleep_for(milliseconds(1));
        kill(static_cast<pid_t>(rank.shared().counters[1].load()), SIGCONT);
      });
    }
    if (rank.rank() == kLate) rank.shared().counters[1].store(getpid());
    rank.meet();
    if (rank.rank() == kLate) {
      if (how.stops) raise(SIGSTOP);
      while (rank.shared().counters[0].load() < 4) std::this_thread::sleep_for(milliseconds(1));
      rank.ok(reduce(nullptr), "all_reduce of the late one");
    } else {
      tutti_request* request = nullptr;
      rank.ok(reduce(&request), "all_reduce that waits");
      wait_and_ask(rank, comm, request);
    }
    rank.check(data[0] == 5 && data.back() == 5, "the sum is wrong");
    if (waker.joinable()) waker.join();
    for (int i = 0; i < 20; ++i) rank.ok(reduce(nullptr), "all_reduce after");
    tutti_straggler nobody;
    std::size_t count = 1;
    rank.ok(tutti_comm_stragglers(comm, sizeof nobody, &nobody, 1, &count), "stragglers");
    rank.check(count == 0, "somebody is late though all is done");
    if (rank.rank() != kLate) {
      const std::string text = lines_of_operation(log.text(), kOperationOfTheLateOne);
      rank.check(lines_with(text, "has waited for") == 1, "not one report: " + text);
      rank.check(lines_with(text, "came after all") == 1, "not one end of it: " + text);
      rank.expect_text(text, {"rank 2 (", "pid", "Nothing is ended by that; its deadline is in"});
      rank.expect_text(text, {how.stops ? "is stopped (state T)" : "has not called it (its next is operation 21)"});
    }
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  for (const std::size_t rank : {0u, 1u, 3u, 4u}) {
    EXPECT_EQ(outcome.slots[kSlotRank * SharedBlock::kRanksMax + rank], kLate + 1) << "named by rank " << rank;
    EXPECT_EQ(outcome.slots[kSlotHow * SharedBlock::kRanksMax + rank],
              static_cast<std::uint64_t>(how.stops ? TUTTI_STOPPED : TUTTI_ABSENT));
    RecordProperty("named_after_ms_by_rank_" + std::to_string(rank),
                   std::to_string(outcome.slots[kSlotOrder * SharedBlock::kRanksMax + rank]));
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, Straggling,
                         testing::Values(Lateness{"StoppedOnTheBoard", true, "shm", 3},
                                         Lateness{"StoppedOverSharedMemory", true, "shm", 300'000},
                                         Lateness{"StoppedOverTcp", true, "tcp", 100'000},
                                         Lateness{"ComputingOnTheBoard", false, "shm", 3},
                                         Lateness{"ComputingOverTcp", false, "tcp", 100'000}),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(Exclusion, OfOneWhoStaysLateLetsTheOthersGoOnAndItLearnsOfIt) {
  for (const bool stops : {true, false}) {
    Job job;
    job.ranks = 3;
    job.settings =
        "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s TUTTI_HEARTBEAT_TIMEOUT=1s TUTTI_STRAGGLER_TIMEOUT=300ms "
        "TUTTI_STRAGGLER_POLICY=exclude TUTTI_STRAGGLER_LIMIT=800ms";
    const Outcome outcome = run_job(job, [stops](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      auto& counters = rank.shared().counters;
      std::int64_t value = 1;
      const auto reduce = [&] {
        value = 1;
        return tutti_all_reduce(&value, &value, 1, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr);
      };
      rank.ok(reduce(), "all_reduce before");
      if (rank.rank() == kLate) counters[1].store(getpid());
      rank.meet();
      if (rank.rank() == kLate) {
        if (stops) raise(SIGSTOP);
        while (counters[0].load() < 2) std::this_thread::sleep_for(milliseconds(1));
        rank.expect(TUTTI_PEER_LOST, reduce(), "all_reduce of one who was excluded");
        rank.ok(tutti_comm_destroy(comm), "destroy of one who was excluded");
        return;
      }
      rank.expect(TUTTI_PEER_LOST, reduce(), "all_reduce that waits");
      rank.expect_text(tutti_last_error(), {"rank 2 (", "Excluded by TUTTI_STRAGGLER_POLICY"});
      rank.check(value == 1, "the input is spoilt");
      rank.ok(tutti_comm_refresh(comm, nullptr), "refresh");
      rank.ok(reduce(), "all_reduce without the late one");
      rank.check(value == 2, "the sum is wrong");
      if (counters[0].fetch_add(1) == 1) kill(static_cast<pid_t>(counters[1].load()), SIGCONT);
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << (stops ? "stopped: " : "computing: ") << outcome.text();
  }
}

// Keeps processors busy, two threads for each.
class Load {
 public:
  Load() {
    for (unsigned i = 0; i < 2 * std::thread::hardware_concurrency(); ++i) {
      threads_.emplace_back([this] {
        while (!stop_.load(std::memory_order_relaxed)) {
        }
      });
    }
  }
  ~Load() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

// The fast setting, on a host that has far more to do than it has processors: a process that the system does not let
// run for a while is reported, since it does keep the others waiting; nobody is lost and nothing is ended. How often
// it was is printed. TUTTI_TEST_LONG=1: for 5 minutes over each transport.
TEST(BusyHost, NobodyIsTakenForLostAtTheFastSetting) {
  const std::chrono::seconds length = runs_long() ? std::chrono::seconds(1800) : std::chrono::seconds(2);
  for (const char* const transport : {"shm", "tcp"}) {
    Job job;
    job.ranks = 4;
    job.limit = std::chrono::seconds(120) + 2 * length;
    job.settings =
        std::string("TUTTI_ELASTIC=on TUTTI_HEARTBEAT_TIMEOUT=1s TUTTI_STRAGGLER_TIMEOUT=750ms TUTTI_TRANSPORTS=") +
        transport;
    const Outcome outcome = run_job(job, [length](Rank& rank) {
      const OwnLog log;
      std::optional<Load> load;
      if (rank.rank() == 0) load.emplace();
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      const auto end = std::chrono::steady_clock::now() + length;
      std::uint32_t step = 0;
      double go_on = 1;
      std::chrono::nanoseconds longest{0};
      while (go_on > 0) {
        std::vector<double> data(step % 7 == 0 ? 200'000 : 10, 1);
        const auto called = std::chrono::steady_clock::now();
        data[0] = rank.rank() == 0 && called >= end ? 0 : 1;
        if (!rank.ok(tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT64, TUTTI_MIN, comm, nullptr,
                                      nullptr),
                     "all_reduce on a busy host"))
          break;
        longest = std::max<std::chrono::nanoseconds>(longest, std::chrono::steady_clock::now() - called);
        go_on = data[0];
        if (++step % 16 == 0) std::this_thread::sleep_for(milliseconds(step * 7 % 40 + rank.rank()));
      }
      const std::string text = log.text();
      auto& counters = rank.shared().counters;
      if (rank.rank() == 0) counters[0] = step;
      counters[1] += lines_with(text, "has waited for");
      counters[2 + rank.rank()] = std::chrono::duration_cast<milliseconds>(longest).count();
      rank.check(lines_with(text, "\n") == lines_with(text, "has waited for") + lines_with(text, "came after all"),
                 "something else than a late rank is on record: " + text);
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
    EXPECT_GT(outcome.counters[0], 10);
    const auto longest = *std::max_element(outcome.counters.begin() + 2, outcome.counters.begin() + 6);
    std::printf("%s: %lld operations, the longest took %lld ms, %lld reports of late ranks\n", transport,
                static_cast<long long>(outcome.counters[0]), static_cast<long long>(longest),
                static_cast<long long>(outcome.counters[1]));
  }
}

}  // namespace
}  // namespace tutti_test
