// Ranks that are late, between real processes: stopped by a signal, or computing. All who wait name them, in the log
// and when asked, while they wait; nothing is ended by it, and when they come after all the results are right.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

using std::chrono::milliseconds;

std::string all_of(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// What this process logs goes to a file of its own.
class OwnLog {
 public:
  OwnLog() : path_(directory_.path() + "/log") { setenv("TUTTI_LOG_FILE", path_.c_str(), 1); }
  std::string text() const { return all_of(path_); }

 private:
  TemporaryDirectory directory_;
  std::string path_;
};

int lines_with(const std::string& text, const std::string& part) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

constexpr int kLate = 2;
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
    if (count > 0 && slots[kSlotRank][rank.rank()] == 0) {
      rank.check(count == 1, "more than one is named");
      slots[kSlotRank][rank.rank()] = static_cast<std::uint64_t>(late[0].rank) + 1;
      slots[kSlotHow][rank.rank()] = static_cast<std::uint64_t>(late[0].how);
      slots[kSlotOrder][rank.rank()] = static_cast<std::uint64_t>(
          std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - began).count());
      rank.check(late[0].waited_ns > 0 && late[0].late_ns > 0, "times are not positive");
      rank.shared().counters[0].fetch_add(1);
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  rank.ok(got, "the operation that waited for a straggler");
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
    for (int i = 0; i < 20; ++i) rank.ok(reduce(nullptr), "all_reduce before");
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
      const std::string text = log.text();
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

}  // namespace
}  // namespace tutti_test
