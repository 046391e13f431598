// Deadlines hold in every phase: each phase of a communicator's life, with each fault in it. Three ranks are members;
// number 1 is killed, stopped or cut off, the store dies, or a stranger attacks the job. Every call of the others
// ends by its deadline, with the right code, and names rank 1 where it is rank 1's fault.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <thread>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kMembers = 3;
constexpr int kVictim = 1;
constexpr int kPidOfVictim = 1;  // counters
constexpr int kIsOver = 2;

enum class Phase { bootstrap, connect, collective, split, abort, finalize, destroy };
enum class Fault { killed, stopped, cut };

constexpr Phase kPhases[] = {Phase::bootstrap, Phase::connect,  Phase::collective, Phase::split,
                             Phase::abort,     Phase::finalize, Phase::destroy};

const char* name_of(Phase phase) {
  constexpr const char* kNames[] = {"Bootstrap", "Connect", "Collective", "Split", "Abort", "Finalize", "Destroy"};
  return kNames[static_cast<int>(phase)];
}

// Every call is held to its deadline; what is beyond it would be a hang.
class Timed {
 public:
  Timed(Rank& rank, std::string what, milliseconds deadline)
      : rank_(rank), what_(std::move(what)), deadline_(deadline), began_(Clock::now()) {
    rank_.note(what_);
  }
  ~Timed() {
    const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - began_);
    rank_.check(took <= deadline_ + seconds(8) * patience(), what_ + " took " + std::to_string(took.count()) +
                                                                 " ms, its deadline is " +
                                                                 std::to_string(deadline_.count()) + " ms");
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Rank& rank_;
  std::string what_;
  milliseconds deadline_;
  Clock::time_point began_;
};

tutti_status all_reduce(tutti_comm* comm, std::size_t count) {
  std::vector<float> data(count, 1);
  return tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, nullptr);
}

struct Case {
  Phase phase;
  Fault fault;
  const char* transport;
  milliseconds deadline;  // of operations and of the creation
  std::string store;      // empty: the job's
};

void suffer(const Case& c) {
  if (c.fault == Fault::killed) raise(SIGKILL);
  if (c.fault == Fault::stopped) raise(SIGSTOP);  // until a survivor kills it
}

// What is to be expected of a call that needs rank 1.
void expect_blame(Rank& rank, const Case& c, tutti_status got, const char* what) {
  // Where nothing was connected, nobody can tell who is dead from who is slow, but by time.
  const bool was_connected = c.phase != Phase::bootstrap && c.phase != Phase::connect;
  const bool killed = c.fault == Fault::killed && was_connected;
  const bool stopped = c.fault == Fault::stopped;
  if (killed) rank.expect(TUTTI_PEER_LOST, got, what);
  if (stopped) rank.expect(TUTTI_TIMEOUT, got, what);
  if (!killed && !stopped) {
    rank.check(got == TUTTI_TIMEOUT || got == TUTTI_PEER_LOST, std::string(what) + " gave " + tutti_status_name(got));
  }
  rank.expect_text(tutti_last_error(), {"rank 1"});
}

tutti_status create(Rank& rank, const Case& c, tutti_comm** comm) {
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.name = "dp0";
  options.settings = rank.job().settings.c_str();
  const std::string& store = c.store.empty() ? rank.store() : c.store;
  return tutti_comm_create_from_store(comm, kMembers, rank.rank(), store.c_str(), &options);
}

void live(Rank& rank, const Case& c) {
  const bool is_victim = rank.rank() == kVictim;
  const auto trouble = [&] {
    rank.meet();
    if (c.fault == Fault::cut) {
      if (rank.rank() == 0) rank.check(std::system("ip link set tutti0 down") == 0, "the cable could not be cut");
      return rank.meet();
    }
    if (is_victim) return suffer(c);
    std::this_thread::sleep_for(milliseconds(30));
    rank.shared().counters[kIsOver + 1] += 1;
    while (rank.shared().counters[kIsOver + 1] < kMembers - 1) std::this_thread::sleep_for(milliseconds(1));
  };
  if (is_victim) rank.shared().counters[kPidOfVictim] = getpid();
  tutti_comm* comm = nullptr;
  if (c.phase == Phase::bootstrap) {
    trouble();
    const Timed timed(rank, "creation", c.deadline);
    const tutti_status got = create(rank, c, &comm);
    if (!is_victim) return expect_blame(rank, c, got, "the creation");
    rank.check(got != TUTTI_OK, "a process that is cut off is a member");
    return;
  }
  if (!rank.ok(create(rank, c, &comm), "creation")) return;
  const std::size_t count = c.phase == Phase::collective ? 500'000 : 1;
  if (c.phase != Phase::connect) rank.ok(all_reduce(comm, count), "the first all_reduce");
  tutti_request* request = nullptr;
  float pending = 1;
  trouble();
  // It fails at once where somebody is known to be dead, or another has been here already.
  const auto start = [&] {
    const tutti_status started =
        tutti_all_reduce(&pending, &pending, 1, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, &request);
    rank.check(started == TUTTI_OK || started == TUTTI_PEER_LOST || started == TUTTI_ABORTED, "it did not start");
  };
  tutti_comm* half = nullptr;
  tutti_status got = TUTTI_OK;
  switch (c.phase) {
    case Phase::bootstrap:
      break;
    case Phase::connect:
    case Phase::collective: {
      const Timed timed(rank, "all_reduce", c.deadline);
      got = all_reduce(comm, count);
      break;
    }
    case Phase::split: {
      const Timed timed(rank, "split", c.deadline);
      got = tutti_comm_split(comm, 0, rank.rank(), &half, nullptr);
      rank.check(half == nullptr, "a split without rank 1");
      break;
    }
    case Phase::finalize: {
      const Timed timed(rank, "finalize", c.deadline);
      got = tutti_comm_finalize(comm, 0);
      break;
    }
    case Phase::abort: {
      start();
      const Timed timed(rank, "abort", milliseconds(0));
      rank.ok(tutti_comm_abort(comm, "enough"), "abort");
      if (request != nullptr) got = tutti_request_wait(&request, -1);
      rank.check(request == nullptr && got != TUTTI_INTERNAL, "the aborted operation goes on");
      break;
    }
    case Phase::destroy:
      start();
      break;
  }
  const bool names = c.phase != Phase::abort && c.phase != Phase::destroy;
  if (names && !is_victim) expect_blame(rank, c, got, name_of(c.phase));
  if (names && is_victim) rank.check(got != TUTTI_OK, "a process that is cut off has gone on alone");
  const Timed timed(rank, "destroy", milliseconds(1000));
  rank.ok(tutti_comm_destroy(comm), "destroy");
  if (request != nullptr) rank.check(tutti_request_wait(&request, -1) != TUTTI_OK, "it was complete without rank 1");
}

Outcome run(Job job, const Case& c) {
  const std::string deadline = std::to_string(c.deadline.count()) + "ms";
  job.ranks = kMembers;
  job.settings = "TUTTI_HEARTBEAT_TIMEOUT=1s TUTTI_TIMEOUT=" + deadline + " TUTTI_CONNECT_TIMEOUT=" + deadline +
                 " TUTTI_TRANSPORTS=" + c.transport;
  const bool ends = c.fault != Fault::cut;
  return run_job(
      job,
      [&](Rank& rank) {
        live(rank, c);
        if (!ends || rank.rank() == kVictim) return;
        // The stopped one is let go when both survivors are through.
        if (rank.shared().counters[kIsOver].fetch_add(1) == 1)
          kill(static_cast<pid_t>(rank.shared().counters[kPidOfVictim].load()), SIGKILL);
      },
      ends ? std::vector<int>{kVictim} : std::vector<int>{});
}

class Deadlines : public testing::TestWithParam<Phase> {};

TEST_P(Deadlines, HoldWhenARankIsKilled) {
  for (const char* const transport : {"shm", "tcp"}) {
    for (const Meeting meeting : {Meeting::file, Meeting::tcp}) {
      if (GetParam() != Phase::bootstrap && meeting == Meeting::tcp) continue;
      Job job;
      job.meeting = meeting;
      const Outcome outcome = run(job, {GetParam(), Fault::killed, transport, seconds(2) * patience(), {}});
      EXPECT_TRUE(outcome.is_clean()) << transport << ": " << outcome.text();
    }
  }
}

TEST_P(Deadlines, HoldWhenARankIsStopped) {
  for (const char* const transport : {"shm", "tcp"}) {
    Job job;
    job.meeting = GetParam() == Phase::bootstrap ? Meeting::tcp : Meeting::file;
    const Outcome outcome = run(job, {GetParam(), Fault::stopped, transport, milliseconds(2500) * patience(), {}});
    EXPECT_TRUE(outcome.is_clean()) << transport << ": " << outcome.text();
  }
}

// Two network namespaces with a cable between them; they go with this object.
class TwoHosts {
 public:
  TwoHosts() {
    const std::string id = std::to_string(getpid());
    names_ = {"tutti-a" + id, "tutti-b" + id};
    works_ = geteuid() == 0 && ip("netns add " + names_[0]) && ip("netns add " + names_[1]) &&
             ip("-n " + names_[0] + " link add tutti0 type veth peer name tutti1 netns " + names_[1]);
    for (int host = 0; works_ && host < 2; ++host) {
      const std::string in = "-n " + names_[static_cast<std::size_t>(host)];
      const std::string nic = "tutti" + std::to_string(host);
      works_ = ip(in + " addr add 10.79.0." + std::to_string(host + 1) + "/24 dev " + nic) &&
               ip(in + " link set " + nic + " up") && ip(in + " link set lo up");
    }
    for (int host = 0; works_ && host < 2; ++host) {  // the kernel reports a cable a little later
      for (int tries = 0; tries < 200 && !carrier(host); ++tries) std::this_thread::sleep_for(milliseconds(10));
    }
  }
  ~TwoHosts() {
    for (const std::string& name : names_) ip("netns delete " + name);
  }
  TwoHosts(const TwoHosts&) = delete;
  TwoHosts& operator=(const TwoHosts&) = delete;
  bool works() const { return works_; }
  const std::vector<std::string>& names() const { return names_; }

 private:
  bool carrier(int host) const {
    const std::string nic = "tutti" + std::to_string(host);
    return std::system(("ip -n " + names_[static_cast<std::size_t>(host)] + " link show dev " + nic +
                        " 2>/dev/null | grep -q 'state UP'")
                           .c_str()) == 0;
  }
  static bool ip(const std::string& command) { return std::system(("ip " + command + " 2>/dev/null").c_str()) == 0; }
  std::vector<std::string> names_;
  bool works_ = false;
};

TEST_P(Deadlines, HoldWhenALinkIsCut) {
  const TwoHosts hosts;
  if (!hosts.works()) GTEST_SKIP() << "network namespaces cannot be made here (they need root)";
  Job job;
  job.namespaces = hosts.names();
  Case c{GetParam(), Fault::cut, "tcp", seconds(3) * patience(), {}};
  if (GetParam() == Phase::bootstrap) c.store = "tcp://10.79.0.1:40079";
  const Outcome outcome = run(job, c);
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

INSTANTIATE_TEST_SUITE_P(Of, Deadlines, testing::ValuesIn(kPhases),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

// Everything that members do, one after the other; all of it works.
void go_through_all_phases(Rank& rank, tutti_comm* comm, milliseconds deadline) {
  const Timed timed(rank, "all phases together", 4 * deadline);
  for (const std::size_t count : {std::size_t{1}, std::size_t{500'000}})
    rank.ok(all_reduce(comm, count), "all_reduce");
  tutti_comm* half = nullptr;
  rank.ok(tutti_comm_split(comm, 0, 0, &half, nullptr), "split");
  rank.ok(tutti_comm_abort(half, "enough"), "abort");
  rank.ok(tutti_comm_destroy(half), "destroy of the split");
  rank.ok(tutti_comm_finalize(comm, 0), "finalize");
  rank.ok(tutti_comm_destroy(comm), "destroy");
}

TEST(TheStore, WhenItDiesInTheMeetingAllWhoWaitThereEndByTheDeadlineAndAfterwardsNobodyNeedsIt) {
  for (const bool in_meeting : {true, false}) {
    Job job;
    job.ranks = kMembers + 1;
    job.settings = "TUTTI_TIMEOUT=20s TUTTI_CONNECT_TIMEOUT=" + std::to_string(2 * patience()) + "s";
    const auto deadline = seconds(2) * patience();
    const Outcome outcome = run_job(job,
                                    [=](Rank& rank) {
                                      tutti_unique_id id;
                                      if (rank.rank() == kMembers) {
                                        rank.ok(tutti_unique_id_create(&id), "unique id");
                                        std::memcpy(rank.shared().data, id.bytes, sizeof id.bytes);
                                      }
                                      rank.meet();
                                      std::memcpy(id.bytes, rank.shared().data, sizeof id.bytes);
                                      if (rank.rank() == kMembers) {
                                        if (in_meeting) std::this_thread::sleep_for(milliseconds(200));
                                        if (!in_meeting) rank.meet();
                                        raise(SIGKILL);
                                      }
                                      if (in_meeting && rank.rank() == kVictim) return;  // so the others wait
                                      tutti_comm* comm = nullptr;
                                      tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
                                      options.settings = rank.job().settings.c_str();
                                      const Timed timed(rank, "creation", deadline);
                                      const tutti_status got =
                                          tutti_comm_create(&comm, kMembers, &id, rank.rank(), &options);
                                      if (in_meeting) {
                                        rank.check(got == TUTTI_PEER_LOST || got == TUTTI_TIMEOUT,
                                                   std::string("it gave ") + tutti_status_name(got));
                                        return;
                                      }
                                      rank.ok(got, "creation");
                                      rank.meet();
                                      std::this_thread::sleep_for(milliseconds(50));
                                      if (comm != nullptr) go_through_all_phases(rank, comm, deadline);
                                    },
                                    {kMembers});
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

// Connects to the port again and again, and says something wrong, something endless, or nothing.
void attack(int port, const std::atomic<std::int64_t>& is_over, std::vector<int>& held) {
  if (is_over.load() >= kMembers) return;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  static_cast<void>(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
  static const std::vector<char> garbage(5000, '\xff');
  if (held.size() % 2 == 0) static_cast<void>(send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL));
  held.push_back(fd);
  if (held.size() < 100) return;
  close(held.front());
  held.erase(held.begin());
}

TEST(AStranger, WhoAttacksEveryPortDelaysNoPhase) {
  Job job;
  job.ranks = kMembers + 1;
  const int store = free_port();
  int first = free_port();
  if (first > 65000) first = 50000;
  job.settings =
      "TUTTI_TRANSPORTS=tcp TUTTI_TIMEOUT=20s TUTTI_CONNECT_TIMEOUT=20s TUTTI_TCP_PORTS=" + std::to_string(first) +
      "-" + std::to_string(first + 40);
  const Outcome outcome = run_job(job, [=](Rank& rank) {
    auto& is_over = rank.shared().counters[kIsOver];
    if (rank.rank() == kMembers) {
      std::vector<int> held;
      while (is_over.load() < kMembers) {
        attack(store, is_over, held);
        for (int port = first; port < first + 6; ++port) attack(port, is_over, held);
        std::this_thread::sleep_for(milliseconds(1));
      }
      for (const int fd : held) close(fd);
      return;
    }
    for (int round = 0; round < 3; ++round) {
      tutti_comm* comm = nullptr;
      tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
      const std::string name = "round" + std::to_string(round);
      options.name = name.c_str();
      options.settings = rank.job().settings.c_str();
      const std::string address = "tcp://127.0.0.1:" + std::to_string(store);
      const Timed timed(rank, "creation", seconds(20));
      if (rank.ok(tutti_comm_create_from_store(&comm, kMembers, rank.rank(), address.c_str(), &options), "creation"))
        go_through_all_phases(rank, comm, seconds(20));
    }
    is_over.fetch_add(1);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

// A name service that never answers: a socket at port 53 that nobody reads, in namespaces of the rank's own.
bool have_silent_name_service() {
  if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return false;
  if (std::system("ip link set lo up") != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return false;
  static const int service = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(53);
  if (bind(service, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return false;
  const TemporaryDirectory directory;
  const std::string file = directory.path() + "/resolv.conf";
  std::ofstream(file) << "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n";
  return mount(file.c_str(), "/etc/resolv.conf", nullptr, MS_BIND, nullptr) == 0;
}

TEST(NameService, ThatDoesNotAnswerHoldsUpNoCreationPastItsDeadline) {
  Job job;
  job.ranks = 1;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    if (!have_silent_name_service()) {
      rank.shared().counters[0] = 1;
      return;
    }
    tutti_comm* comm = nullptr;
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.timeout_ns = 1'000'000'000;
    const Timed timed(rank, "creation", seconds(1));
    const tutti_status got = tutti_comm_create_from_store(&comm, 2, 1, "tcp://no-such-host.test:4242", &options);
    rank.check(got == TUTTI_PEER_LOST || got == TUTTI_TIMEOUT, std::string("it gave ") + tutti_status_name(got));
    rank.expect_text(tutti_last_error(), {"no-such-host.test", "name service"});
    _exit(rank.has_failed() ? 3 : 0);  // the system's look-up goes on in a thread of its own
  });
  if (outcome.counters[0] == 1) GTEST_SKIP() << "namespaces of one's own are not permitted here";
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

}  // namespace
}  // namespace tutti_test
