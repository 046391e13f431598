// Whole jobs, real processes, that meet at a store which none of them hosts.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

#include "tests/membership/child_process.h"
#include "tests/membership/etcd_servers.h"
#include "tests/process/job.h"

namespace tutti_test {
namespace {

// One rank's part: a communicator by `store`, an all-reduce, and another communicator at the same store.
void meet_and_add(Rank& rank, const std::string& store, const std::string& settings) {
  for (const char* const name : {"first", "second"}) {
    rank.note(std::string("creates ") + name);
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.name = name;
    options.settings = settings.c_str();
    tutti_comm* comm = nullptr;
    if (!rank.ok(tutti_comm_create_from_store(&comm, rank.size(), rank.rank(), store.c_str(), &options), "creation"))
      return;
    std::vector<float> data(1000, static_cast<float>(rank.rank() + 1));
    rank.ok(tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, nullptr),
            "all_reduce");
    rank.check(data.front() == 6 && data.back() == 6, "the sum is wrong");
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  }
}

TEST(StoreJobs, MeetAtEtcd) {
  if (const std::string missing = tutti::EtcdServers::missing(); !missing.empty()) GTEST_SKIP() << missing;
  const tutti::EtcdServers servers(1);
  Job job;
  job.ranks = 3;
  for (int again = 0; again < 2; ++again) {
    const Outcome outcome = run_job(
        job, [&](Rank& rank) { meet_and_add(rank, servers.address("jobs/mine"), "TUTTI_SECRET=correct-horse"); });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

TEST(StoreJobs, AtEtcdOthersAreNotTakenForTheirs) {
  if (const std::string missing = tutti::EtcdServers::missing(); !missing.empty()) GTEST_SKIP() << missing;
  const tutti::EtcdServers servers(1);
  Job job;
  job.ranks = 2;
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.settings = rank.rank() == 0 ? "TUTTI_SECRET=correct-horse" : "TUTTI_SECRET=battery-staple";
    options.timeout_ns = 2'000'000'000;
    tutti_comm* comm = nullptr;
    const std::string store = servers.address("jobs");
    const tutti_status got = tutti_comm_create_from_store(&comm, 2, rank.rank(), store.c_str(), &options);
    rank.check(got != TUTTI_OK, "two secrets made one communicator");
    rank.expect_text(tutti_last_error(), {"TUTTI_SECRET", store});
    rank.meet();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

#ifdef TUTTI_STORE_PROGRAM
TEST(StoreJobs, MeetAtATuttiStore) {
  const TemporaryDirectory directory;
  tutti::ChildProcess program({TUTTI_STORE_PROGRAM, "--host", "127.0.0.1"}, directory.path() + "/output",
                              {"TUTTI_SECRET=correct-horse"});
  const std::string address = program.first_line();
  ASSERT_TRUE(address.starts_with("tcp://")) << address;
  Job job;
  job.ranks = 3;
  for (int again = 0; again < 2; ++again) {  // the store outlives a job and serves the next
    const Outcome outcome =
        run_job(job, [&](Rank& rank) { meet_and_add(rank, address, "TUTTI_SECRET=correct-horse"); });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 0) << program.output();
}

TEST(StoreJobs, AreToldWhenTheirTuttiStoreIsKilledWhileTheyWaitForOthers) {
  const TemporaryDirectory directory;
  tutti::ChildProcess program({TUTTI_STORE_PROGRAM, "--host", "127.0.0.1"}, directory.path() + "/output");
  const std::string address = program.first_line();
  Job job;
  job.ranks = 3;
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    meet_and_add(rank, address, "");
    rank.meet();
    if (rank.rank() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      program.signal(SIGKILL);
      return;
    }
    tutti_comm* comm = nullptr;
    const tutti_status got = tutti_comm_create_from_store(&comm, 3, rank.rank(), address.c_str(), nullptr);
    rank.expect(TUTTI_PEER_LOST, got, "the creation without a store");
    rank.expect_text(tutti_last_error(), {address});
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}
#endif

}  // namespace
}  // namespace tutti_test
