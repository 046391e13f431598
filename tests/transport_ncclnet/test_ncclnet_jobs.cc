// Jobs of real processes over a plug-in of NCCL's: every collective with every bit checked, a plug-in that fails in
// mid-operation, a member that is killed while others sleep, and what TUTTI_TRANSPORTS makes of a plug-in that is
// there or not.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/process/cases.h"
#include "tests/process/own_log.h"
#include "tests/transport_ncclnet/broken_plugin.h"

namespace tutti_test {
namespace {

std::string over(const std::string& plugin) {
  return "TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=ncclnet TUTTI_NCCLNET_PLUGIN=" + plugin;
}

class NcclnetJobs : public ::testing::TestWithParam<const char*> {};

TEST_P(NcclnetJobs, EveryCollectiveGivesTheRightBits) {
  Job job;
  job.ranks = 4;
  job.settings = over(tutti::test_plugin(GetParam()));
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    Buffers buffers;
    std::uint64_t seed = 1;
    for (int kind = 0; kind < kKinds; ++kind) {
      for (const std::size_t count : {1u, 1000u, 100'000u}) {
        Case c;
        c.kind = static_cast<Kind>(kind);
        c.count = count;
        c.root = static_cast<int>(seed % 4);
        c.misaligned = seed % 2;
        c.seed = seed++;
        rank.note(c.text());
        const Result result = run_case(rank, comm, rank.rank(), rank.size(), c, buffers);
        if (!rank.ok(result.status, c.text())) return;
      }
    }
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

INSTANTIATE_TEST_SUITE_P(All, NcclnetJobs, ::testing::Values("v8", "v9", "v10", "v11", "v12"));

// One rank uses both devices of the plug-in, one the second, one the first.
TEST(NcclnetDevices, RanksWithUnlikeDevicesComputeTheSame) {
  Job job;
  job.ranks = 3;
  job.settings = over(tutti::test_plugin("v10"));
  const Outcome outcome = run_job(job, [](Rank& rank) {
    const char* const devices[] = {"all", "lo1", ""};
    tutti_comm* const comm = rank.create("dp0", std::string("TUTTI_NCCLNET_DEVICES=") + devices[rank.rank()]);
    if (comm == nullptr) return;
    Buffers buffers;
    for (const std::size_t count : {1u, 1000u, 1'000'000u}) {
      Case c;
      c.kind = Kind::all_reduce;
      c.count = count;
      c.seed = count;
      const Result result = run_case(rank, comm, rank.rank(), rank.size(), c, buffers);
      if (!rank.ok(result.status, c.text())) return;
    }
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

tutti_status reduce_until_it_ends(tutti_comm* comm) {
  std::vector<float> data(1 << 18, 1);
  tutti_status got = TUTTI_OK;
  while (got == TUTTI_OK)
    got = tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_MAX, comm, nullptr, nullptr);
  return got;
}

TEST(NcclnetEnds, AMemberThatIsKilledIsNamedAlsoByThoseThatSleep) {
  Job job;
  job.ranks = 3;
  job.settings = over(tutti::test_plugin("v11")) + " TUTTI_SPIN=0s TUTTI_YIELD=0s";
  const auto body = [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    if (!rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier")) return;
    if (rank.rank() == 1) raise(SIGKILL);
    if (rank.expect(TUTTI_PEER_LOST, reduce_until_it_ends(comm), "the operation of a survivor"))
      rank.expect_text(tutti_last_error(), {"dp0", "rank 1"});
    rank.ok(tutti_comm_destroy(comm), "destroy");
  };
  const Outcome outcome = run_job(job, body, {1});
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(NcclnetEnds, APlugInThatFailsInMidOperationEndsItWithItsWords) {
  const tutti::PluginCopy copy("v10");
  Job job;
  job.ranks = 2;
  job.settings = over(copy.path());
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    if (!rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier")) return;
    if (rank.rank() == 0) tutti::break_plugin(copy.path(), "test of a receive", 500);
    if (rank.expect(TUTTI_PEER_LOST, reduce_until_it_ends(comm), "the operation")) {
      const std::string text = tutti_last_error();
      rank.expect_text(text, {"dp0", "ncclnet ", "NCCL plug-in Test (v10)", "test of an irecv: "});
      if (rank.rank() == 0) rank.expect_text(text, {"rank 1", "test of a receive was told to fail"});
    }
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

// Whether a job of two that is left the choice of transports works; its log.
std::string log_of_automatic(const std::string& settings, const std::map<std::string, std::string>& environment) {
  const TemporaryDirectory folder;
  Job job;
  job.settings = "TUTTI_TRANSPORTS=auto TUTTI_LOG=info " + settings;
  job.environment = environment;
  job.environment["TUTTI_LOG_FILE"] = folder.path() + "/log";
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  std::ifstream in(folder.path() + "/log");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(NcclnetAutomatic, APlugInThatIsNamedIsTakenAndOneThatCannotBeIsLeftOut) {
  const std::string good = tutti::test_plugin("v12");
  const std::string uses = "NCCL plug-in Test (v12) of " + good + " uses device 0, lo0";
  const std::string bad = "there is a plug-in for ncclnet, which cannot be used: " + tutti::test_plugin("old") +
                          " has version 7 of NCCL's interface for networks; expected 8 to 12. Install one for NCCL "
                          "2.20 or later. Going on without";
  const auto has = [](const std::string& text, const std::string& part) { return lines_with(text, part) > 0; };

  const std::string unnamed = log_of_automatic("", {});
  EXPECT_FALSE(has(unnamed, "ncclnet")) << unnamed;
  const std::string by_setting = log_of_automatic("TUTTI_NCCLNET_PLUGIN=" + good, {});
  EXPECT_TRUE(has(by_setting, uses)) << by_setting;
  const std::string by_variable = log_of_automatic("", {{"NCCL_NET_PLUGIN", good}});
  EXPECT_TRUE(has(by_variable, uses)) << by_variable;
  const std::string broken = log_of_automatic("", {{"NCCL_NET_PLUGIN", tutti::test_plugin("old")}});
  EXPECT_TRUE(has(broken, bad)) << broken;
}

TEST(NcclnetAutomatic, OneThatWasAskedForByNameAndCannotBeUsedIsAnError) {
  Job job;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    const tutti_status got =
        rank.try_create(&comm, "dp0", "TUTTI_TRANSPORTS=ncclnet,tcp TUTTI_NCCLNET_PLUGIN=no-such-thing");
    if (!rank.expect(TUTTI_UNSUPPORTED, got, "a communicator")) return;
    rank.expect_text(tutti_last_error(), {"transport ncclnet (TUTTI_TRANSPORTS) cannot be used: "
                                          "libnccl-net-no-such-thing.so cannot be loaded: "});
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

}  // namespace
}  // namespace tutti_test
