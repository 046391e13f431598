// Elastic communicators between real processes: killed, stopped, joined. Whatever happens, all survivors tell the
// same story, inputs are as they were, and after a refresh the sums are those of exactly the members that are left.
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <thread>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

std::int64_t share_of(int rank, std::size_t element) {
  return (std::int64_t{1} << (5 * rank)) + static_cast<std::int64_t>(element % 3);
}

std::uint64_t hash_of(const std::string& text) { return std::hash<std::string>{}(text) | 1; }

int size_of(tutti_comm* comm) {
  int size = 0;
  return tutti_comm_size(comm, &size) == TUTTI_OK ? size : -1;
}

// All-reduces of what `rank` was in the beginning, checked in every element, until `count` have succeeded or one
// fails.
tutti_status reduce_times(Rank& rank, tutti_comm* comm, const std::vector<int>& members, int count,
                          std::size_t elements, const std::function<void(int)>& before = {}) {
  std::vector<std::int64_t> data(elements);
  for (int i = 0; i < count; ++i) {
    if (before) before(i);
    for (std::size_t e = 0; e < elements; ++e) data[e] = share_of(rank.rank(), e);
    const tutti_status got =
        tutti_all_reduce(data.data(), data.data(), elements, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr);
    for (std::size_t e = 0; e < elements; ++e) {
      std::int64_t sum = 0;
      for (const int member : members) sum += share_of(member, e);
      const std::int64_t expected = got == TUTTI_OK ? sum : share_of(rank.rank(), e);
      if (!rank.check(data[e] == expected, got == TUTTI_OK ? "a wrong sum" : "a spoilt input")) return TUTTI_INTERNAL;
    }
    if (got != TUTTI_OK) return got;
  }
  return TUTTI_OK;
}

TEST(Elastic, KilledOneAfterTheOtherTheRestGoesOnDownToOne) {
  for (const char* const transport : {"shm", "tcp"}) {
    for (const std::size_t elements : {std::size_t{3}, std::size_t{40'000}}) {
      Job job;
      job.ranks = 4;
      job.settings = std::string("TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=") + transport;
      const Outcome outcome = run_job(
          job,
          [elements](Rank& rank) {
            tutti_comm* const comm = rank.create("dp0");
            if (comm == nullptr) return;
            std::vector<int> members = {0, 1, 2, 3};
            for (const int victim : {2, 0, 3}) {
              if (!rank.ok(reduce_times(rank, comm, members, 20, elements), "all_reduce before a kill")) return;
              const tutti_status got = reduce_times(rank, comm, members, 1'000'000, elements, [&](int i) {
                if (rank.rank() == victim && i == 30) raise(SIGKILL);
              });
              rank.expect(TUTTI_PEER_LOST, got, "all_reduce without a member");
              const std::string sentence = tutti_last_error();
              rank.expect_text(sentence, {"dp0", "rank", "pid"});
              rank.shared().slots[victim][rank.rank()] = hash_of(sentence);
              char text[512];
              rank.expect(TUTTI_PEER_LOST, tutti_comm_error(comm, text, sizeof text), "the communicator's error");
              rank.check(sentence == text, "two stories: " + sentence + " and " + text);
              if (!rank.ok(tutti_comm_refresh(comm, nullptr), "refresh")) return;
              std::erase(members, victim);
              rank.check(size_of(comm) == static_cast<int>(members.size()), "the new size is wrong");
            }
            rank.ok(reduce_times(rank, comm, members, 20, elements), "all_reduce of the last");
            std::uint64_t epoch = 0;
            rank.ok(tutti_comm_epoch(comm, &epoch), "epoch");
            rank.check(epoch == 3, "the epoch is wrong");
            rank.ok(tutti_comm_destroy(comm), "destroy");
          },
          {0, 2, 3});
      EXPECT_TRUE(outcome.is_clean()) << transport << ", " << elements << " elements: " << outcome.text();
      EXPECT_EQ(outcome.slots[2 * SharedBlock::kRanksMax + 0], outcome.slots[2 * SharedBlock::kRanksMax + 1]);
      EXPECT_EQ(outcome.slots[2 * SharedBlock::kRanksMax + 0], outcome.slots[2 * SharedBlock::kRanksMax + 3]);
      EXPECT_EQ(outcome.slots[0 * SharedBlock::kRanksMax + 1], outcome.slots[0 * SharedBlock::kRanksMax + 3]);
    }
  }
}

TEST(Elastic, AProcessThatComesLateIsLetInAtTheNextRefresh) {
  for (const Meeting meeting : {Meeting::file, Meeting::tcp}) {
    Job job;
    job.ranks = 4;
    job.meeting = meeting;
    job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s";
    const Outcome outcome = run_job(job, [](Rank& rank) {
      tutti_comm* comm = nullptr;
      std::vector<int> members = {0, 1};
      if (rank.rank() >= 2) {
        if (rank.rank() == 3) rank.meet();
        comm = rank.join();
        if (rank.rank() == 2) rank.meet();
      } else {
        comm = rank.create_of(2);
        if (comm == nullptr) return;
        for (int expected = 3; expected <= 4; ++expected) {
          rank.ok(reduce_times(rank, comm, members, 10, 100), "all_reduce before a join");
          // Rank 1 hears of it from rank 0, in the middle of an operation.
          int waiting = 0;
          while (rank.rank() == 0 && waiting == 0) rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
          if (rank.rank() == 1) rank.expect(TUTTI_ABORTED, reduce_times(rank, comm, members, 1, 100), "all_reduce");
          rank.ok(tutti_comm_refresh(comm, nullptr), "refresh");
          rank.check(size_of(comm) == expected, "the size is wrong after a join");
          members.push_back(expected - 1);
          if (expected == 3) rank.meet();
        }
      }
      if (comm == nullptr) return;
      if (rank.rank() == 2) {  // a member by now, it hears of the next one, too
        rank.ok(reduce_times(rank, comm, {0, 1, 2}, 10, 100), "all_reduce of who has joined");
        rank.expect(TUTTI_ABORTED, reduce_times(rank, comm, {0, 1, 2}, 1, 100), "all_reduce while somebody joins");
        rank.ok(tutti_comm_refresh(comm, nullptr), "refresh of who has joined");
      }
      rank.ok(reduce_times(rank, comm, {0, 1, 2, 3}, 20, 5000), "all_reduce of four");
      std::uint64_t epoch = 0;
      rank.ok(tutti_comm_epoch(comm, &epoch), "epoch");
      rank.check(epoch == 2, "the epoch is wrong");
      rank.ok(tutti_comm_finalize(comm, 0), "finalize");
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

TEST(Elastic, WhoDiesWhileItWaitsToBeLetInHoldsNobodyUp) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s";
  const Outcome outcome =
      run_job(job,
              [](Rank& rank) {
                tutti_comm* comm = nullptr;
                rank.shared().slots[0][rank.rank()] = static_cast<std::uint64_t>(getpid());
                rank.meet();
                if (rank.rank() == 2) {
                  rank.ok(rank.try_join(&comm), "it was let in, after its end");
                  return;
                }
                comm = rank.create_of(2);
                if (comm == nullptr) return;
                int waiting = 0;
                while (waiting == 0) rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
                rank.meet(2);
                if (rank.rank() == 0) kill(static_cast<pid_t>(rank.shared().slots[0][2]), SIGKILL);
                tutti_refresh_options refresh = TUTTI_REFRESH_OPTIONS_INIT;
                refresh.timeout_ns = std::int64_t{20'000'000'000} * patience();
                rank.ok(tutti_comm_refresh(comm, &refresh), "refresh with a dead process at the door");
                rank.check(size_of(comm) == 2, "the size is wrong");
                rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
                rank.check(waiting == 0, "it still waits");
                rank.ok(reduce_times(rank, comm, {0, 1}, 10, 100), "all_reduce");
                rank.ok(tutti_comm_destroy(comm), "destroy");
              },
              {2});
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Elastic, WhoStopsWhileItWaitsToBeLetInHoldsTheOthersUpForAMomentOnly) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s TUTTI_HEARTBEAT_TIMEOUT=" + std::to_string(patience()) + "s";
  const Outcome outcome =
      run_job(job,
              [](Rank& rank) {
                tutti_comm* comm = nullptr;
                if (rank.rank() == 2) {
                  rank.shared().counters[0] = getpid();
                  rank.meet();
                  rank.ok(rank.try_join(&comm), "it was let in, stopped");
                  return;
                }
                rank.meet();
                comm = rank.create_of(2);
                if (comm == nullptr) return;
                int waiting = 0;
                while (rank.rank() == 0 && waiting == 0) rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
                if (rank.rank() == 0) kill(static_cast<pid_t>(rank.shared().counters[0]), SIGSTOP);
                if (rank.rank() == 1)
                  rank.expect(TUTTI_ABORTED, reduce_times(rank, comm, {0, 1}, 1, 100), "all_reduce");
                tutti_refresh_options refresh = TUTTI_REFRESH_OPTIONS_INIT;
                refresh.timeout_ns = std::int64_t{30'000'000'000} * patience();
                rank.ok(tutti_comm_refresh(comm, &refresh), "refresh with a stopped process at the door");
                rank.check(size_of(comm) == 2, "the size is wrong");
                rank.ok(reduce_times(rank, comm, {0, 1}, 10, 100), "all_reduce");
                if (rank.rank() == 0) kill(static_cast<pid_t>(rank.shared().counters[0]), SIGKILL);
                rank.ok(tutti_comm_destroy(comm), "destroy");
              },
              {2});
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

bool become_a_host_without_cables() {
  if (unshare(CLONE_NEWNET | CLONE_NEWUTS) != 0 || sethostname("elsewhere", 9) != 0) return false;
  ifreq loopback{};
  std::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool is_up = ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
  close(fd);
  return is_up;
}

TEST(Elastic, WhoCannotBeReachedIsNotLetInAndHoldsUpNobodyNotEvenWhoJoinsWithIt) {
  Job job;
  job.ranks = 4;
  job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=tcp";
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    std::atomic<std::int64_t>& no_other_host = rank.shared().counters[0];
    if (rank.rank() == 2) {
      const bool away = become_a_host_without_cables();
      if (!away) no_other_host = 1;
      rank.meet();
      if (!away) return;
      rank.expect(TUTTI_UNSUPPORTED, rank.try_join(&comm), "join");
      rank.expect_text(tutti_last_error(), {"no transport reaches", "elsewhere"});
      return;
    }
    rank.meet();
    if (no_other_host != 0) return;
    if (rank.rank() == 3) {
      rank.ok(rank.try_join(&comm), "join of one that can be reached");
    } else {
      comm = rank.create_of(2);
      if (comm == nullptr) return;
      int waiting = 0;
      while (rank.rank() == 0 && waiting < 2) rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
      if (rank.rank() == 1) rank.expect(TUTTI_ABORTED, reduce_times(rank, comm, {0, 1}, 1, 100), "all_reduce");
      rank.ok(tutti_comm_refresh(comm, nullptr), "refresh with one at the door that cannot be reached");
    }
    if (comm == nullptr) return;
    rank.check(size_of(comm) == 3, "the size is wrong");
    rank.ok(reduce_times(rank, comm, {0, 1, 3}, 10, 100), "all_reduce");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  if (outcome.counters[0] != 0) GTEST_SKIP() << "no network namespace can be made here";
}

TEST(Elastic, TheStoreGoesOnWithTheNextRankWhenItsHostIsKilled) {
  Job job;
  job.ranks = 4;
  job.meeting = Meeting::tcp;
  job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s";
  const Outcome outcome = run_job(
      job,
      [](Rank& rank) {
        tutti_comm* comm = nullptr;
        if (rank.rank() == 3) {
          rank.meet(4);
          tutti_status joined = TUTTI_PEER_LOST;  // by a connection that ends with rank 0, perhaps
          while (joined == TUTTI_PEER_LOST) joined = rank.try_join(&comm);
          rank.ok(joined, "join");
        } else {
          comm = rank.create_of(3);
          if (comm == nullptr) return;
          rank.ok(reduce_times(rank, comm, {0, 1, 2}, 10, 100), "all_reduce");
          rank.meet(4);
          if (rank.rank() == 0) raise(SIGKILL);
          rank.expect(TUTTI_PEER_LOST, reduce_times(rank, comm, {0, 1, 2}, 100, 100), "all_reduce without rank 0");
          do {
            if (!rank.ok(tutti_comm_refresh(comm, nullptr), "refresh")) return;
          } while (size_of(comm) < 3);
        }
        if (comm == nullptr) return;
        rank.ok(reduce_times(rank, comm, {1, 2, 3}, 10, 100), "all_reduce with who has come");
        rank.ok(tutti_comm_destroy(comm), "destroy");
      },
      {0});
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Elastic, WhoIsStoppedForLongerThanAllowedIsLeftBehindAndLearnsItWhenItWakes) {
  for (const char* const transport : {"shm", "tcp"}) {
    Job job;
    job.ranks = 4;
    job.settings =
        std::string("TUTTI_ELASTIC=on TUTTI_TIMEOUT=1s TUTTI_HEARTBEAT_TIMEOUT=1s TUTTI_TRANSPORTS=") + transport;
    const Outcome outcome = run_job(job, [](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      rank.shared().slots[0][rank.rank()] = static_cast<std::uint64_t>(getpid());
      rank.ok(reduce_times(rank, comm, {0, 1, 2, 3}, 10, 1000), "all_reduce");
      rank.meet();
      const auto stopped = static_cast<pid_t>(rank.shared().slots[0][3]);
      if (rank.rank() == 3) {
        raise(SIGSTOP);  // until rank 0 wakes it
        const tutti_status got = reduce_times(rank, comm, {0, 1, 2, 3}, 10, 1000);
        rank.check(got == TUTTI_PEER_LOST || got == TUTTI_TIMEOUT, "the one left behind went on");
        rank.expect(TUTTI_PEER_LOST, tutti_comm_refresh(comm, nullptr), "refresh of the one left behind");
      } else {
        const tutti_status got = reduce_times(rank, comm, {0, 1, 2, 3}, 10, 1000);
        rank.expect(TUTTI_PEER_LOST, got, "all_reduce without the one that is stopped");
        rank.expect_text(tutti_last_error(), {"rank 3 ("});
        rank.ok(tutti_comm_refresh(comm, nullptr), "refresh without the one that is stopped");
        rank.check(size_of(comm) == 3, "the size is wrong");
        if (rank.rank() == 0) kill(stopped, SIGCONT);
        rank.ok(reduce_times(rank, comm, {0, 1, 2}, 100, 1000), "all_reduce of three");
      }
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << transport << ": " << outcome.text();
  }
}

TEST(Elastic, MistakesAreToldInOneSentence) {
  Job job;
  job.ranks = 2;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    rank.expect(TUTTI_INVALID, tutti_comm_refresh(comm, nullptr), "refresh of what is not elastic");
    rank.expect_text(tutti_last_error(), {"dp0", "TUTTI_ELASTIC=on"});
    rank.expect(TUTTI_INVALID, tutti_comm_revoke(comm, nullptr), "revocation of what is not elastic");
    tutti_comm* joined = nullptr;
    rank.expect(TUTTI_INVALID, tutti_comm_join(&joined, rank.store().c_str(), nullptr),
                "joining what is not elastic");
    rank.expect_text(tutti_last_error(), {"TUTTI_ELASTIC=on"});
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.settings = "TUTTI_ELASTIC=on";
    options.timeout_ns = 300'000'000;
    rank.expect(TUTTI_TIMEOUT, tutti_comm_join(&joined, rank.store().c_str(), &options), "joining nobody");
    rank.expect_text(tutti_last_error(), {"tutti_comm_join", "world"});
    rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Elastic, ARefreshThatNotAllCallNamesWhoIsMissing) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_ELASTIC=on";
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    tutti_refresh_options options = TUTTI_REFRESH_OPTIONS_INIT;
    options.timeout_ns = 500'000'000;
    if (rank.rank() != 1) {
      rank.expect(TUTTI_TIMEOUT, tutti_comm_refresh(comm, &options), "a refresh without rank 1");
      rank.expect_text(tutti_last_error(), {"rank 1 (", "tutti_comm_refresh"});
    }
    rank.meet();
    options.timeout_ns = 0;
    rank.ok(tutti_comm_refresh(comm, &options), "a refresh of all");
    rank.check(size_of(comm) == 3, "somebody was left out");
    rank.ok(reduce_times(rank, comm, {0, 1, 2}, 3, 10), "all_reduce");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

}  // namespace
}  // namespace tutti_test
