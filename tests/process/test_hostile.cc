// A running job under attack: four ranks over TCP reduce one vector after the other while a stranger does to all of
// their ports, and to their store's, whatever a stranger can (attacker.h). Nothing comes of it but a few lines in the
// log: every sum is right, memory and descriptors are what they were, and the operations go on all the while.
//
// TUTTI_TEST_LONG=1: 10,000 connections at a time, and ten times of everything.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/process/attacker.h"
#include "tests/process/job.h"

namespace tutti_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kWorkers = 4;
constexpr std::size_t kElements = 2'000;
constexpr std::int64_t kMoreBytesMax = 64 << 20;

enum Counter { kStop, kReady, kDone, kCrowd, kPids = 8, kSteps = 16, kSlowest = 24 };

// One rank at work, until it is told to stop; all stop after the same operation.
void work(Rank& rank) {
  auto& counters = rank.shared().counters;
  tutti_comm* comm = nullptr;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.settings = rank.job().settings.c_str();
  if (!rank.ok(tutti_comm_create_from_store(&comm, kWorkers, rank.rank(), rank.store().c_str(), &options), "create"))
    return;
  std::vector<std::int64_t> data(kElements);
  std::int64_t bytes_before = 0;
  int descriptors_before = 0;
  for (std::int64_t step = 0; !rank.has_failed(); ++step) {
    for (std::size_t e = 0; e < kElements; ++e)
      data[e] = (rank.rank() + 1) * 1'000'000 + step + static_cast<std::int64_t>(e);
    data[0] = counters[kStop];
    const auto before = steady_clock::now();
    if (!rank.ok(
            tutti_all_reduce(data.data(), data.data(), kElements, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr),
            "all_reduce"))
      return;
    const auto took = (steady_clock::now() - before).count();
    auto& slowest = counters[kSlowest + rank.rank()];
    slowest = std::max<std::int64_t>(slowest, took);
    for (std::size_t e = 1; e < kElements; ++e) {
      const std::int64_t sum = 10'000'000 + 4 * (step + static_cast<std::int64_t>(e));
      if (!rank.check(data[e] == sum, "a sum is wrong")) return;
    }
    ++counters[kSteps + rank.rank()];
    if (step == 20) {
      bytes_before = memory_in_use();
      descriptors_before = open_descriptors();
      counters[kPids + rank.rank()] = getpid();
      ++counters[kReady];
    }
    if (data[0] > 0) break;
  }
  // What the stranger has left is put away within a moment.
  const auto until = steady_clock::now() + std::chrono::seconds(20) * patience();
  while (open_descriptors() > descriptors_before && steady_clock::now() < until)
    std::this_thread::sleep_for(milliseconds(20));
  rank.check(open_descriptors() <= descriptors_before,
             "descriptors: " + std::to_string(descriptors_before) + " before, " + std::to_string(open_descriptors()));
  const std::int64_t more = memory_in_use() - bytes_before;
  rank.check(more < kMoreBytesMax, std::to_string(more) + " bytes more than before");
  ++counters[kDone];
  while (counters[kDone] < kWorkers && !rank.has_failed()) std::this_thread::sleep_for(milliseconds(5));
  rank.ok(tutti_comm_destroy(comm), "destroy");
}

// The stranger: a process of its own, which knows no secret; only to be overheard somebody is called who does.
void attack(Rank& rank) {
  auto& counters = rank.shared().counters;
  while (counters[kReady] < kWorkers) std::this_thread::sleep_for(milliseconds(5));
  std::vector<int> ports;
  for (int worker = 0; worker < kWorkers; ++worker) {
    const std::vector<int> found = listening_ports(static_cast<int>(counters[kPids + worker]));
    rank.check(found.size() >= (worker == 0 ? 2u : 1u), "a rank listens on fewer ports than it should");
    ports.insert(ports.end(), found.begin(), found.end());
  }
  const int often = runs_long() ? 10 : 1;
  const auto goes_on = [&](const std::string& under) {
    const std::int64_t before = counters[kSteps];
    const auto until = steady_clock::now() + std::chrono::seconds(20) * patience();
    while (counters[kSteps] <= before && steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(2));
    rank.check(counters[kSteps] > before, "the job stands still under " + under);
  };
  Attacker attacker(ports, seed());
  const std::string store = rank.store();
  const int relay = attacker.overhear(std::atoi(store.c_str() + store.rfind(':') + 1));
  tutti_comm* nobody = nullptr;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.settings = "TUTTI_ELASTIC=on TUTTI_TRANSPORTS=tcp";
  options.timeout_ns = 300'000'000;
  const std::string by_relay = "tcp://127.0.0.1:" + std::to_string(relay);
  rank.check(tutti_comm_join(&nobody, by_relay.c_str(), &options) != TUTTI_OK, "somebody was let in");
  attacker.stop_listening();
  rank.check(attacker.overheard().size() > 64, "nothing was overheard");
  goes_on("listening");
  attacker.talk_nonsense(150 * often);
  goes_on("nonsense");
  attacker.claim_lengths(100 * often);
  goes_on("lengths");
  attacker.repeat_overheard(100 * often);
  goes_on("repetition");
  counters[kCrowd] = static_cast<std::int64_t>(attacker.crowd(runs_long() ? 10'000 : 500));
  goes_on("a crowd");
  attacker.trickle(30, runs_long() ? 100 : 12, 100);
  goes_on("a trickle");
  attacker.leave();
  goes_on("nothing any more");
  counters[kStop] = 1;
}

TEST(Hostile, AStrangerDoesNotDisturbARunningJob) {
  const TemporaryDirectory directory;
  const std::string log = directory.path() + "/log";
  Job job;
  job.ranks = kWorkers + 1;
  job.meeting = Meeting::tcp;
  job.settings = "TUTTI_TRANSPORTS=tcp TUTTI_LOG_FILE=" + log;
  job.limit = std::chrono::seconds(runs_long() ? 600 : 120);
  const Outcome outcome = run_job(job, [](Rank& rank) { rank.rank() < kWorkers ? work(rank) : attack(rank); });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  std::ifstream file(log);
  const auto lines = std::count(std::istreambuf_iterator<char>(file), {}, '\n');
  EXPECT_GT(lines, 0) << "nobody was told of the stranger";
  EXPECT_LT(lines, 2'000) << "the log grows with the number of strangers";
  for (int worker = 0; worker < kWorkers; ++worker) {
    std::printf("rank %d: %lld operations, the slowest %.1f ms\n", worker,
                static_cast<long long>(outcome.counters[kSteps + static_cast<std::size_t>(worker)]),
                static_cast<double>(outcome.counters[kSlowest + static_cast<std::size_t>(worker)]) / 1e6);
  }
  EXPECT_GT(outcome.counters[kCrowd], 0) << "nobody was connected";
  std::printf("%lld connections at a time, %lld lines in the log\n", static_cast<long long>(outcome.counters[kCrowd]),
              static_cast<long long>(lines));
}

}  // namespace
}  // namespace tutti_test
