// Jobs of real processes inside TLS: by the secret and by certificates, with a killed member and one that joins; and
// processes that do not go together, of which each must say why, in time.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "tests/process/job.h"
#include "tests/process/own_log.h"
#include "tests/tls/certificates.h"

namespace tutti_test {
namespace {

using tutti::Certificates;

std::string by_certificates(const Certificates& files, const std::string& name) {
  return " TUTTI_TLS=certificates TUTTI_TLS_CERTIFICATE=" + files.certificate(name) +
         " TUTTI_TLS_KEY=" + files.key(name) + " TUTTI_TLS_AUTHORITY=" + files.authority();
}

constexpr const char* kByKey = " TUTTI_TLS=psk TUTTI_SECRET=correct-horse";

// Sums of every size over the ranks of `members`.
bool sums_are_right(Rank& rank, tutti_comm* comm, const std::vector<int>& members) {
  std::int64_t expected = 0;
  for (const int member : members) expected += std::int64_t{1} << (8 * member);
  for (const std::size_t elements : {1u, 3000u, 300'000u}) {
    std::vector<std::int64_t> data(elements, std::int64_t{1} << (8 * rank.rank()));
    if (!rank.ok(tutti_all_reduce(data.data(), data.data(), elements, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr),
                 "all_reduce"))
      return false;
    if (!rank.check(data == std::vector<std::int64_t>(elements, expected), "a wrong sum")) return false;
  }
  return true;
}

// Three meet, one of them is killed, the others go on, a fourth joins them: all over TCP.
void live_through_it(Rank& rank, const std::string& settings) {
  tutti_comm* comm = nullptr;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.settings = settings.c_str();
  if (rank.rank() == 3) {
    rank.meet(3);
    if (!rank.ok(tutti_comm_join(&comm, rank.store().c_str(), &options), "join")) return;
  } else {
    if (!rank.ok(tutti_comm_create_from_store(&comm, 3, rank.rank(), rank.store().c_str(), &options), "creation"))
      return;
    if (!sums_are_right(rank, comm, {0, 1, 2})) return;
    if (rank.rank() == 2) raise(SIGKILL);
    tutti_status got = TUTTI_OK;
    std::vector<std::int64_t> data(100'000);
    while (got == TUTTI_OK)
      got = tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr);
    rank.expect(TUTTI_PEER_LOST, got, "all_reduce without a member");
    rank.ok(tutti_comm_refresh(comm, nullptr), "refresh");
    if (!sums_are_right(rank, comm, {0, 1})) return;
    rank.meet(3);
    int waiting = 0;
    while (rank.rank() == 0 && waiting == 0) rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
    rank.ok(tutti_comm_refresh(comm, nullptr), "refresh with the one that joins");
  }
  sums_are_right(rank, comm, {0, 1, 3});
  rank.ok(tutti_comm_finalize(comm, 0), "finalize");
  rank.ok(tutti_comm_destroy(comm), "destroy");
}

TEST(Tls, AJobLivesThroughADeathAndAJoinInsideIt) {
  const Certificates files;
  for (int r = 0; r < 4; ++r) files.issue("rank" + std::to_string(r));
  for (const bool with_key : {true, false}) {
    Job job;
    job.ranks = 4;
    job.meeting = Meeting::tcp;
    const Outcome outcome = run_job(
        job,
        [&](Rank& rank) {
          const std::string tls =
              with_key ? kByKey : by_certificates(files, "rank" + std::to_string(rank.rank())) + " TUTTI_SECRET=more";
          live_through_it(rank, "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=self,tcp" + tls);
        },
        {2});
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

// This process's established TCP connections, listeners left out.
std::vector<int> connections() {
  std::vector<int> found;
  for (int fd = 0; fd < 1024; ++fd) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    const bool is_connected = getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
    if (is_connected && (peer.ss_family == AF_INET || peer.ss_family == AF_INET6)) found.push_back(fd);
  }
  return found;
}

// The job meets in a directory, so that what is connected are the lanes.
TEST(Tls, ALaneThatIsCutComesBackInsideItAndNothingIsLost) {
  constexpr std::int64_t kCuts = 6;
  Job job;
  job.ranks = 2;
  job.settings = std::string("TUTTI_TRANSPORTS=self,tcp TUTTI_TCP_CONNECTIONS=2 TUTTI_LOG=info TUTTI_TIMEOUT=60s") +
                 kByKey;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    const OwnLog log;
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    auto& back = rank.shared().counters;  // by rank: how often a lane was taken back
    std::int64_t cuts = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30) * patience();
    std::int64_t goes_on = 1;
    while (goes_on != 0) {
      if (!sums_are_right(rank, comm, {0, 1})) return;
      back[static_cast<std::size_t>(rank.rank())] = lines_with(log.text(), " is back after ");
      if (rank.rank() == 0 && back[0] == cuts && back[1] == cuts && cuts < kCuts) {
        const std::vector<int> lanes = connections();
        if (lanes.size() == 2) shutdown(lanes[static_cast<std::size_t>(cuts++) % 2], SHUT_RDWR);
      }
      const bool is_over = cuts == kCuts && back[0] == kCuts && back[1] == kCuts;
      if (rank.rank() == 0) goes_on = !is_over && std::chrono::steady_clock::now() < end;
      rank.ok(tutti_broadcast(&goes_on, &goes_on, 1, TUTTI_INT64, 0, comm, nullptr, nullptr), "broadcast");
    }
    if (rank.rank() == 0)
      rank.check(back[0] == kCuts && back[1] == kCuts, "of " + std::to_string(cuts) + " cuts not all healed");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

// A unique id has a secret of its own.
TEST(Tls, AUniqueIdNeedsNoOtherSecret) {
  Job job;
  job.ranks = 2;
  job.environment = {{"TUTTI_TLS", "psk"}, {"TUTTI_TRANSPORTS", "self,tcp"}};
  const Outcome outcome = run_job(job, [](Rank& rank) {
    auto* const id = reinterpret_cast<tutti_unique_id*>(rank.shared().data);
    if (rank.rank() == 0) rank.ok(tutti_unique_id_create(id), "id");
    rank.meet();
    tutti_comm* comm = nullptr;
    if (!rank.ok(tutti_comm_create(&comm, 2, id, rank.rank(), nullptr), "creation")) return;
    sums_are_right(rank, comm, {0, 1});
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

struct Mismatch {
  std::string name;
  std::string first;              // settings of rank 0, which hosts the store
  std::string second;             // and of rank 1
  std::vector<std::string> told;  // in the second's sentence
};

TEST(Tls, ProcessesThatDoNotGoTogetherAreToldSoAtOnce) {
  const Certificates files;
  const Certificates others;
  files.issue("one");
  files.issue("two");
  others.issue("stranger");
  const std::string certificates = by_certificates(files, "one");
  const Mismatch cases[] = {
      {"plain to TLS",
       kByKey,
       " TUTTI_SECRET=correct-horse",
       {"the store at 127.0.0.1:", "refused the connection: it uses TLS, this process does not (TUTTI_TLS)"}},
      {"TLS to plain",
       " TUTTI_SECRET=correct-horse",
       kByKey,
       {"the store at 127.0.0.1:", "does not use TLS, this process does (TUTTI_TLS is psk)"}},
      {"another secret",
       kByKey,
       " TUTTI_TLS=psk TUTTI_SECRET=battery-staple",
       {"the store at 127.0.0.1:", "refused the connection: illegal parameter (alert 47)", "TUTTI_SECRET"}},
      {"a key to certificates", certificates, kByKey, {"showed a certificate, but TUTTI_TLS is psk here"}},
      {"certificates to a key",
       kByKey,
       by_certificates(files, "two"),
       {"handshake failure (alert 40). Its TUTTI_TLS is psk"}},
      {"another authority",
       certificates,
       by_certificates(others, "stranger"),
       {"unable to get local issuer certificate (OpenSSL 20), for the certificate of /CN=one", others.authority()}},
      {"another secret inside certificates",
       certificates + " TUTTI_SECRET=correct-horse",
       by_certificates(files, "two") + " TUTTI_SECRET=battery-staple",
       {"did not prove that it knows the secret (TUTTI_SECRET)"}},
      {"no secret for the key", kByKey, " TUTTI_TLS=psk", {"TUTTI_TLS is psk, whose key comes from the secret"}},
  };
  for (const Mismatch& mismatch : cases) {
    Job job;
    job.ranks = 2;
    job.meeting = Meeting::tcp;
    const Outcome outcome = run_job(job, [&](Rank& rank) {
      tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
      const std::string settings =
          "TUTTI_TRANSPORTS=self,tcp TUTTI_LOG=error" + (rank.rank() == 0 ? mismatch.first : mismatch.second);
      options.settings = settings.c_str();
      options.timeout_ns = rank.rank() == 0 ? 1'500'000'000 : 60'000'000'000;
      tutti_comm* comm = nullptr;
      const tutti_status got = tutti_comm_create_from_store(&comm, 2, rank.rank(), rank.store().c_str(), &options);
      if (rank.rank() == 0) {
        rank.expect(TUTTI_TIMEOUT, got, "creation without the other");
        return rank.meet();
      }
      rank.expect(TUTTI_INVALID, got, "creation");
      for (const std::string& part : mismatch.told) rank.expect_text(tutti_last_error(), {part});
      rank.meet();  // the store is there until then
    });
    EXPECT_TRUE(outcome.is_clean()) << mismatch.name << ": " << outcome.text();
  }
}

}  // namespace
}  // namespace tutti_test
