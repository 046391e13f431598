// Jobs over the transports that use a fabric's library (docs/fabrics.md), between real processes on this host: sums
// of every size, a member that is killed, pairs that go different ways in one communicator, and what is said where
// something cannot be used.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "src/base/ids.h"
#include "tests/process/cases.h"
#include "tests/process/job.h"
#include "tests/process/own_log.h"

namespace tutti_test {
namespace {

struct Over {
  const char* transport;
  const char* provider;  // of libfabric's; empty: its best
};

class Fabrics : public ::testing::TestWithParam<Over> {
 protected:
  void SetUp() override {
    setenv("TUTTI_NCCLNET_PLUGIN", TUTTI_TEST_NET_FOLDER "/libnccl-net-test_v10.so", 1);
    setenv("TUTTI_OFI_PROVIDER", GetParam().provider, 1);
  }
  void TearDown() override {
    unsetenv("TUTTI_NCCLNET_PLUGIN");
    unsetenv("TUTTI_OFI_PROVIDER");
  }
  // Over the fabric, and what is in the list behind it.
  static std::string settings(const std::string& behind = "") {
    return "TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=" + (GetParam().transport + behind);
  }
};

// Sums of every size over all ranks, three times each.
bool sums_are_right(Rank& rank, tutti_comm* comm) {
  std::int64_t expected = 0;
  for (int r = 0; r < rank.size(); ++r) expected += std::int64_t{1} << (8 * r);
  for (const std::size_t elements : {1u, 100u, 3000u, 30'000u, 300'000u}) {
    for (int i = 0; i < 3; ++i) {
      std::vector<std::int64_t> data(elements, std::int64_t{1} << (8 * rank.rank()));
      if (!rank.ok(
              tutti_all_reduce(data.data(), data.data(), elements, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr),
              "all_reduce"))
        return false;
      if (!rank.check(data == std::vector<std::int64_t>(elements, expected), "a wrong sum")) return false;
    }
  }
  return true;
}

TEST_P(Fabrics, SumsAreRightAndTheEndIsClean) {
  for (int ranks = 2; ranks <= 4; ++ranks) {
    Job job;
    job.ranks = ranks;
    job.settings = settings();
    const Outcome outcome = run_job(job, [](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr || !sums_are_right(rank, comm)) return;
      rank.ok(tutti_comm_finalize(comm, 0), "finalize");
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

// Each holds its result against the reference; what all get alike, all have alike, bit for bit.
TEST_P(Fabrics, EveryCollectiveIsRightBitForBit) {
  std::vector<Case> cases;
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const std::size_t count : {1u, 1000u, 100'003u}) {
      Case c;
      c.kind = static_cast<Kind>(kind);
      c.count = count;
      c.root = 1;
      c.family = Family::random;
      c.spaced = count == 1000;
      c.shared_memory = count > 1000;
      c.seed = static_cast<std::uint64_t>(kind) * 1000 + count;
      cases.push_back(c);
    }
  }
  Job job;
  job.ranks = 3;
  job.settings = settings();
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    Buffers buffers;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const Result result = run_case(rank, comm, rank.rank(), rank.size(), cases[i], buffers);
      if (!rank.expect(TUTTI_OK, result.status, cases[i].text())) return;
      rank.shared().slots[i][rank.rank()] = cases[i].kind == Kind::all_reduce ? result.digest : 0;
    }
    rank.shared().counters[rank.rank()] = static_cast<std::int64_t>(cases.size());
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  ASSERT_TRUE(outcome.is_clean()) << outcome.text();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::uint64_t* const slot = &outcome.slots[i * SharedBlock::kRanksMax];
    for (int r = 1; r < job.ranks; ++r) EXPECT_EQ(slot[0], slot[r]) << cases[i].text();
  }
  EXPECT_EQ(outcome.counters[0], static_cast<std::int64_t>(cases.size()));
}

TEST_P(Fabrics, AMemberThatIsKilledIsNamedByAllOthers) {
  Job job;
  job.ranks = 3;
  job.settings = settings();
  const auto body = [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr || !sums_are_right(rank, comm)) return;
    // What a process sends just before it is killed need not come, so the others have ended their sums before.
    std::atomic<std::int64_t>& summed = rank.shared().counters[0];
    ++summed;
    while (rank.rank() == 2 && summed < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (rank.rank() == 2) raise(SIGKILL);
    std::vector<float> data(1 << 20, 1);
    tutti_status got = TUTTI_OK;
    while (got == TUTTI_OK)
      got = tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_MAX, comm, nullptr, nullptr);
    if (rank.expect(TUTTI_PEER_LOST, got, "the operation of a survivor"))
      rank.expect_text(tutti_last_error(), {"dp0", "rank 2"});
    rank.ok(tutti_comm_destroy(comm), "destroy");
  };
  const Outcome outcome = run_job(job, body, {2});
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

// Cuts every connection of this process but those of Tutti's own TCP, which has these ports; how many that were.
int cut_connections(int port_first, int port_last) {
  int cut = 0;
  for (int descriptor = 0; descriptor < 1024; ++descriptor) {
    const auto port_of = [&](auto get_name) {
      sockaddr_storage name{};
      socklen_t bytes = sizeof name;
      if (get_name(descriptor, reinterpret_cast<sockaddr*>(&name), &bytes) != 0) return -1;
      if (name.ss_family == AF_INET) return static_cast<int>(ntohs(reinterpret_cast<sockaddr_in&>(name).sin_port));
      if (name.ss_family == AF_INET6) return static_cast<int>(ntohs(reinterpret_cast<sockaddr_in6&>(name).sin6_port));
      return -1;
    };
    const auto is_other = [&](int port) { return port > 0 && (port < port_first || port > port_last); };
    if (is_other(port_of(getsockname)) && is_other(port_of(getpeername)) && shutdown(descriptor, SHUT_RDWR) == 0)
      ++cut;
  }
  return cut;
}

// The fabric's connections of one rank are cut in the middle of an operation, with tcp in the list: the sums are
// those of an undisturbed run, on every rank, and so are those that follow.
TEST_P(Fabrics, LanesWhoseFabricIsLostUnderWayGoOnOverTcp) {
  if (std::string(GetParam().provider) == "shm") GTEST_SKIP() << "shared memory cannot be cut";
  constexpr int kPorts = 64;
  const int port_first = 20'000 + getpid() % 150 * kPorts;
  const int port_last = port_first + kPorts - 1;
  Job job;
  job.ranks = 3;
  job.settings = settings(",tcp") + " TUTTI_LOG=info TUTTI_TCP_PORTS=" + std::to_string(port_first) + "-" +
                 std::to_string(port_last);
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    const OwnLog log;
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr || !sums_are_right(rank, comm)) return;
    constexpr std::size_t kElements = 1 << 20;
    const auto input = [](int r, std::size_t i) {
      return 1.0f / static_cast<float>(1 + (i * 7 + static_cast<std::size_t>(r)) % 1009);
    };
    std::vector<float> first;
    int cut = 0;
    for (int turn = 0; turn < 12; ++turn) {
      std::vector<float> data(kElements);
      for (std::size_t i = 0; i < kElements; ++i) data[i] = input(rank.rank(), i);
      tutti_request* request = nullptr;
      if (!rank.ok(tutti_all_reduce(data.data(), data.data(), kElements, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr,
                                    &request),
                   "all_reduce"))
        return;
      if (rank.rank() == 1 && turn == 4) cut = cut_connections(port_first, port_last);
      if (!rank.ok(tutti_request_wait(&request, -1), "wait")) return;
      if (first.empty()) first = data;
      if (!rank.check(data == first, "other bits than before the cut, in turn " + std::to_string(turn))) return;
    }
    if (rank.rank() == 1) {
      rank.check(cut > 0, "there was no connection to cut");
      const std::string text = log.text();
      rank.check(lines_with(text, "The process is still there") > 0, "no lane was lost: " + text);
    }
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

#ifdef TUTTI_HAS_UCX
INSTANTIATE_TEST_SUITE_P(Ucx, Fabrics, ::testing::Values(Over{"ucx", ""}));

struct UcxVariables {
  const char* transports;              // UCX_TLS
  std::array<const char*, 2> devices;  // UCX_NET_DEVICES, of each rank
  int links;                           // over UCX
};

class FabricsUcx : public ::testing::TestWithParam<UcxVariables> {};

// UCX takes its own variables, and complains of no setting that it is given. Where they let one side have larger
// segments than the other, that pair goes over what comes next.
TEST_P(FabricsUcx, ItsVariablesAreItsOwn) {
  const Outcome outcome = run_job({}, [](Rank& rank) {
    const OwnLog log;
    const TemporaryDirectory directory;
    const std::string path = directory.path() + "/ucx";
    setenv("UCX_LOG_FILE", path.c_str(), 1);
    const auto set = [](const char* name, const char* value) {
      *value != 0 ? setenv(name, value, 1) : unsetenv(name);
    };
    set("UCX_TLS", GetParam().transports);
    set("UCX_NET_DEVICES", GetParam().devices[static_cast<std::size_t>(rank.rank())]);
    tutti_comm* const comm = rank.create("own", "TUTTI_TIMEOUT=60s TUTTI_LOG=debug TUTTI_TRANSPORTS=ucx,tcp");
    if (comm == nullptr || !sums_are_right(rank, comm)) return;
    const std::string text = log.text();
    const std::string own = "ucx " + tutti::host_name() + " (pid " + std::to_string(getpid()) + ") -> ";
    rank.check(lines_with(text, own) == GetParam().links, "another number of links over UCX: " + text);
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
    std::fflush(nullptr);  // what UCX has not written yet
    std::stringstream words;
    words << std::ifstream(path).rdbuf();
    rank.check(words.str().find("invalid configuration") == std::string::npos, "UCX complains: " + words.str());
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

INSTANTIATE_TEST_SUITE_P(All, FabricsUcx,
                         ::testing::Values(UcxVariables{"", {"", ""}, 1}, UcxVariables{"tcp", {"lo", "lo"}, 1},
                                           UcxVariables{"", {"lo", "lo"}, 1}, UcxVariables{"", {"", "lo"}, 0}));
#endif
#ifdef TUTTI_HAS_OFI
INSTANTIATE_TEST_SUITE_P(Ofi, Fabrics,
                         ::testing::Values(Over{"ofi", ""}, Over{"ofi", "tcp;ofi_rxm"}, Over{"ofi", "shm"}));
#endif
INSTANTIATE_TEST_SUITE_P(Ncclnet, Fabrics, ::testing::Values(Over{"ncclnet", ""}));

#ifdef TUTTI_HAS_OFI
// Ranks 0 and 1 have another provider of libfabric's than ranks 2 and 3, with another kind of endpoint, so that each
// has one peer that it reaches by libfabric, and two that it reaches by what comes next.
class FabricsMixed : public ::testing::TestWithParam<const char*> {};

TEST_P(FabricsMixed, EachPairGoesTheFirstWayThatBothHave) {
  Job job;
  job.ranks = 4;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    const OwnLog log;
    setenv("TUTTI_OFI_PROVIDER", rank.rank() < 2 ? "tcp" : "tcp;ofi_rxm", 1);
    const std::string next = GetParam();
    tutti_comm* const comm = rank.create("mixed", "TUTTI_TIMEOUT=60s TUTTI_LOG=debug TUTTI_TRANSPORTS=ofi," + next);
    if (comm == nullptr || !sums_are_right(rank, comm)) return;
    std::vector<std::int64_t> out(4, rank.rank());
    std::vector<std::int64_t> in(4, -1);
    rank.ok(tutti_all_to_all(out.data(), in.data(), 1, TUTTI_INT64, comm, nullptr, nullptr), "all_to_all");
    rank.check(in == std::vector<std::int64_t>({0, 1, 2, 3}), "a wrong all_to_all");
    const std::string own = tutti::host_name() + " (pid " + std::to_string(getpid()) + ") -> ";
    const std::string text = log.text();
    rank.check(lines_with(text, "ofi " + own) == 1, "not one link by libfabric: " + text);
    if (next != "shm") rank.check(lines_with(text, next + " " + own) >= 2, "not two links by " + next + ": " + text);
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

INSTANTIATE_TEST_SUITE_P(Shm, FabricsMixed, ::testing::Values("shm"));
#ifdef TUTTI_HAS_UCX
INSTANTIATE_TEST_SUITE_P(Ucx, FabricsMixed, ::testing::Values("ucx"));
#endif
#endif

TEST(FabricsRefused, WithTlsTheyAreNotUsedAndSaySo) {
  Job job;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    const tutti_status got =
        rank.try_create(&comm, "dp0", "TUTTI_TRANSPORTS=ucx,tcp TUTTI_TLS=psk TUTTI_SECRET=correct-horse");
    if (got == TUTTI_OK) return rank.fail("a communicator over UCX was made inside TLS");
    rank.expect_text(tutti_last_error(), {"transport ucx (TUTTI_TRANSPORTS) cannot be used"});
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

}  // namespace
}  // namespace tutti_test
