// The reader of launchers' variables, by tables of what they really set.
#include "src/membership/environment.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

namespace tutti {
namespace {

const LaunchFacts kFacts = {.user = 1000, .launcher_pid = 77, .launcher_start = 4242, .host_id = "0123456789abcdef"};

Result<LaunchEnvironment> read(const std::vector<std::string>& entries, std::string_view store = {}) {
  std::vector<const char*> environment;
  for (const auto& entry : entries) environment.push_back(entry.c_str());
  environment.push_back(nullptr);
  return read_launch_environment(environment.data(), kFacts, store);
}

std::string refusal(const std::vector<std::string>& entries) {
  const auto launch = read(entries);
  EXPECT_FALSE(launch.is_ok());
  EXPECT_EQ(launch.status().code(), Code::invalid);
  return launch.status().text();
}

struct Expected {
  std::string name;
  std::vector<std::string> entries;
  std::string launcher;
  int rank, size, local_rank, local_size;
  std::string store, job;
};

class Launchers : public testing::TestWithParam<Expected> {};

TEST_P(Launchers, AreUnderstood) {
  const Expected& expected = GetParam();
  const auto launch = read(expected.entries);
  ASSERT_TRUE(launch.is_ok()) << launch.status().text();
  EXPECT_EQ(launch->launcher, expected.launcher);
  EXPECT_EQ(launch->rank, expected.rank);
  EXPECT_EQ(launch->size, expected.size);
  EXPECT_EQ(launch->local_rank, expected.local_rank);
  EXPECT_EQ(launch->local_size, expected.local_size);
  EXPECT_EQ(launch->store, expected.store);
  EXPECT_EQ(launch->job, expected.job);
  EXPECT_EQ(launch->store_is_private, expected.store.starts_with("file:///tmp/tutti-1000/"));
}

const std::vector<std::string> kTorchrun = {"RANK=3",
                                            "WORLD_SIZE=8",
                                            "LOCAL_RANK=1",
                                            "LOCAL_WORLD_SIZE=2",
                                            "MASTER_ADDR=node1",
                                            "MASTER_PORT=29500",
                                            "TORCHELASTIC_RUN_ID=none/1",
                                            "TORCHELASTIC_RESTART_COUNT=2"};

std::vector<std::string> with(std::vector<std::string> entries, const std::vector<std::string>& more) {
  entries.insert(entries.begin(), more.begin(), more.end());
  return entries;
}

const std::vector<std::string> kOpenMpi = {"OMPI_COMM_WORLD_RANK=1",
                                           "OMPI_COMM_WORLD_SIZE=2",
                                           "OMPI_COMM_WORLD_LOCAL_RANK=1",
                                           "OMPI_COMM_WORLD_LOCAL_SIZE=2",
                                           "OMPI_MCA_ess_base_jobid=1200488449",
                                           "PMIX_NAMESPACE=1200488449",
                                           "PMIX_RANK=1"};
const std::vector<std::string> kMpich = {"PMI_RANK=0",        "PMI_SIZE=2",        "PMI_FD=6",
                                         "MPI_LOCALRANKID=0", "MPI_LOCALNRANKS=2", "HYDI_CONTROL_FD=7"};
const std::vector<std::string> kSlurm = {
    "SLURM_PROCID=5",  "SLURM_NTASKS=8",  "SLURM_STEP_NUM_TASKS=8",          "SLURM_JOB_ID=123",
    "SLURM_STEP_ID=0", "SLURM_LOCALID=1", "SLURM_STEP_NODELIST=node[07-08]", "SLURM_LAUNCH_NODE_IPADDR=10.0.0.1"};

INSTANTIATE_TEST_SUITE_P(
    Table, Launchers,
    testing::Values(
        Expected{"nobody", {"HOME=/root"}, "none", 0, 1, -1, -1, "", ""},
        Expected{"tutti",
                 {"TUTTI_RANK=0", "TUTTI_SIZE=2", "TUTTI_STORE=tcp://a:1", "TUTTI_JOB=j"},
                 "tutti",
                 0,
                 2,
                 -1,
                 -1,
                 "tcp://a:1",
                 "j"},
        Expected{"tutti_wins", with(kTorchrun, {"TUTTI_RANK=0", "TUTTI_SIZE=2", "TUTTI_STORE=tcp://a:1"}), "tutti", 0,
                 2, -1, -1, "tcp://a:1", ""},
        Expected{"tutti_alone", {"TUTTI_RANK=0", "TUTTI_SIZE=1"}, "tutti", 0, 1, -1, -1, "", ""},
        Expected{"torchrun", kTorchrun, "torchrun", 3, 8, 1, 2, "tcp://node1:29500", "torchrun-none_1-2"},
        Expected{"torchrun_agent", with(kTorchrun, {"TORCHELASTIC_USE_AGENT_STORE=True"}), "torchrun", 3, 8, 1, 2,
                 "tcp://node1:29503", "torchrun-none_1-2"},
        Expected{"torchrun_store", with(kTorchrun, {"TUTTI_STORE=tcp://b:2"}), "torchrun", 3, 8, 1, 2, "tcp://b:2",
                 "torchrun-none_1-2"},
        Expected{"torch_ipv6",
                 {"RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=fd00::1", "MASTER_PORT=65535",
                  "TORCHELASTIC_USE_AGENT_STORE=True"},
                 "torchrun",
                 0,
                 2,
                 -1,
                 -1,
                 "tcp://[fd00::1]:1024",
                 "torchrun-65535-0"},
        Expected{"open_mpi", kOpenMpi, "Open MPI", 1, 2, 1, 2,
                 "file:///tmp/tutti-1000/openmpi-01234567-77-4242-1200488449", "openmpi-01234567-77-4242-1200488449"},
        Expected{
            "open_mpi_5",
            {"OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_LOCAL_SIZE=1",
             "OMPI_COMM_WORLD_LOCAL_RANK=0", "PMIX_NAMESPACE=prterun-h-1@1", "MASTER_ADDR=h", "MASTER_PORT=5000"},
            "Open MPI",
            0,
            2,
            0,
            1,
            "tcp://h:5000",
            "openmpi-01234567-77-4242-prterun-h-1_1"},
        Expected{"mpich", kMpich, "MPICH", 0, 2, 0, 2, "file:///tmp/tutti-1000/mpich-01234567-77-4242",
                 "mpich-01234567-77-4242"},
        Expected{"mpich_alone", {"PMI_RANK=0", "PMI_SIZE=1"}, "MPICH", 0, 1, -1, -1, "", "mpich-01234567-77-4242"},
        Expected{"slurm", kSlurm, "Slurm", 5, 8, 1, -1, "tcp://node07:29476", "slurm-123-0-0"},
        Expected{"slurm_requeued", with(kSlurm, {"SLURM_RESTART_COUNT=1"}), "Slurm", 5, 8, 1, -1,
                 "tcp://node07:25380", "slurm-123-0-1"},
        Expected{"slurm_address_only",
                 {"SLURM_PROCID=1", "SLURM_NTASKS=2", "SLURM_JOB_ID=123", "SLURM_STEP_ID=0",
                  "SLURM_LAUNCH_NODE_IPADDR=10.0.0.1"},
                 "Slurm",
                 1,
                 2,
                 -1,
                 -1,
                 "tcp://10.0.0.1:29476",
                 "slurm-123-0-0"},
        Expected{"slurm_batch_script",
                 {"SLURM_PROCID=0", "SLURM_NTASKS=8", "SLURM_JOB_ID=1"},
                 "none",
                 0,
                 1,
                 -1,
                 -1,
                 "",
                 ""}),
    [](const auto& each) { return each.param.name; });

TEST(LaunchEnvironment, IncompleteSetsAreNamed) {
  EXPECT_EQ(refusal({"TUTTI_RANK=1"}), "TUTTI_RANK is \"1\" but TUTTI_SIZE is not set; expected both or none");
  EXPECT_EQ(refusal({"WORLD_SIZE=2"}), "WORLD_SIZE is \"2\" but RANK is not set; expected both or none");
  EXPECT_NE(refusal({"TUTTI_RANK=1", "TUTTI_SIZE=2"}).find("TUTTI_STORE is not set"), std::string::npos);
  EXPECT_NE(refusal({"RANK=1", "WORLD_SIZE=2"}).find("MASTER_ADDR and MASTER_PORT are not"), std::string::npos);
  EXPECT_EQ(refusal({"RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=a"}),
            "MASTER_ADDR is set but MASTER_PORT is not; expected both or none");
  EXPECT_NE(refusal({"SLURM_PROCID=0", "SLURM_NTASKS=2", "SLURM_STEP_ID=0"}).find("SLURM_JOB_ID is not"),
            std::string::npos);
  EXPECT_NE(refusal({"OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_LOCAL_SIZE=2",
                     "OMPI_COMM_WORLD_LOCAL_RANK=1"})
                .find("set TUTTI_STORE=tcp://HOST_OF_RANK_0:PORT"),
            std::string::npos);
}

TEST(LaunchEnvironment, ContradictionsAreNamed) {
  EXPECT_EQ(refusal({"TUTTI_RANK=2", "TUTTI_SIZE=2", "TUTTI_STORE=tcp://a:1"}),
            "TUTTI_RANK is 2 and TUTTI_SIZE is 2; expected the first to be less");
  EXPECT_EQ(refusal({"PMI_RANK=0", "PMI_SIZE=2", "MPI_LOCALRANKID=1", "MPI_LOCALNRANKS=1"}),
            "MPI_LOCALRANKID is 1 and MPI_LOCALNRANKS is 1; expected the first to be less");
  EXPECT_NE(refusal({"PMI_RANK=0", "PMI_SIZE=2", "MPI_LOCALNRANKS=3"}).find("MPI_LOCALNRANKS is 3 and PMI_SIZE is 2"),
            std::string::npos);
}

TEST(LaunchEnvironment, NumbersAreReadStrictly) {
  EXPECT_EQ(refusal({"RANK=x", "WORLD_SIZE=2"}), "RANK is \"x\"; expected a whole number from 0 up");
  EXPECT_EQ(refusal({"RANK=0", "WORLD_SIZE=0"}), "WORLD_SIZE is \"0\"; expected a whole number from 1 up");
  EXPECT_EQ(refusal({"RANK=-1", "WORLD_SIZE=2"}), "RANK is \"-1\"; expected a whole number from 0 up");
  EXPECT_EQ(refusal({"RANK=0", "WORLD_SIZE=99999999999"}),
            "WORLD_SIZE is \"99999999999\"; expected a whole number from 1 up");
  EXPECT_NE(refusal({"RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=a", "MASTER_PORT=70000"}).find("MASTER_PORT is 70000"),
            std::string::npos);
}

TEST(LaunchEnvironment, TheSettingWinsAndStandsInWhereTheLauncherSaysNothing) {
  EXPECT_EQ(read({"TUTTI_RANK=1", "TUTTI_SIZE=2", "TUTTI_STORE=tcp://a:1"}, "tcp://b:2")->store, "tcp://b:2");
  EXPECT_EQ(read({"RANK=1", "WORLD_SIZE=2"}, "tcp://b:2")->store, "tcp://b:2");
  EXPECT_FALSE(read(kMpich, "tcp://b:2")->store_is_private);
}

TEST(LaunchEnvironment, TheFirstHostOfASlurmList) {
  EXPECT_EQ(first_slurm_host("node07"), "node07");
  EXPECT_EQ(first_slurm_host("node07,node08"), "node07");
  EXPECT_EQ(first_slurm_host("node[007-010,012],login1"), "node007");
  EXPECT_EQ(first_slurm_host("r[1-2]n[03,05]x"), "r1n03x");
  EXPECT_EQ(first_slurm_host("node[7]"), "node7");
  for (const char* bad : {"", "node[", "node[]", "node[a-b]", "]", "a b"})
    EXPECT_EQ(first_slurm_host(bad), "") << bad;
}

TEST(LaunchEnvironment, TheFactsOfThisProcessAreThere) {
  const LaunchFacts facts = read_launch_facts();
  EXPECT_EQ(facts.user, geteuid());
  EXPECT_GT(facts.launcher_pid, 0);
  EXPECT_GT(facts.launcher_start, 0u);
  EXPECT_EQ(facts.host_id.size(), 32u);
  EXPECT_EQ(read_launch_facts().launcher_start, facts.launcher_start);
}

}  // namespace
}  // namespace tutti
