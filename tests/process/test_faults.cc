// What goes wrong around the library: ranks that are missing, doubled, killed or gone without a word; settings that
// differ; children that use what is not theirs; a system that has no more to give. Nothing hangs, nobody else
// suffers, and the sentence names the culprit.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

using std::chrono::milliseconds;

std::string seconds(int s) { return std::to_string(s * patience()) + "s"; }

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

TEST(Creation, NamesRanksThatAreMissing) {
  for (const Meeting meeting : {Meeting::file, Meeting::tcp}) {
    Job job;
    job.ranks = 4;
    job.meeting = meeting;
    job.settings = "TUTTI_CONNECT_TIMEOUT=1500ms";
    const Outcome outcome = run_job(job, [](Rank& rank) {
      if (rank.rank() == 2) return rank.meet();
      tutti_comm* comm = nullptr;
      rank.expect(TUTTI_TIMEOUT, rank.try_create(&comm, "dp0"), "a creation without rank 2");
      rank.expect_text(tutti_last_error(), {"dp0 was not created", "rank 2"});
      rank.check(comm == nullptr, "there is a communicator");
      rank.meet();
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

TEST(Creation, GivesUpOnAStoreThatIsNotThere) {
  Job job;
  job.ranks = 1;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    const std::string store = "tcp://127.0.0.1:" + std::to_string(free_port());
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.timeout_ns = 1'000'000'000;
    const tutti_status got = tutti_comm_create_from_store(&comm, 2, 1, store.c_str(), &options);
    rank.check(got == TUTTI_PEER_LOST || got == TUTTI_TIMEOUT, std::string("it gave ") + tutti_status_name(got));
    rank.expect_text(tutti_last_error(), {store.substr(6)});
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Creation, RefusesTwoRanksWithOneNumber) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_CONNECT_TIMEOUT=" + seconds(10);
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.settings = rank.job().settings.c_str();
    const int claimed = rank.rank() == 2 ? 1 : rank.rank();
    rank.expect(TUTTI_INVALID, tutti_comm_create_from_store(&comm, 3, claimed, rank.store().c_str(), &options),
                "two ranks 1");
    rank.expect_text(tutti_last_error(), {"rank 1", "pid"});
    rank.meet();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Creation, RefusesRanksThatDisagreeOnSize) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_CONNECT_TIMEOUT=" + seconds(10);
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.settings = rank.job().settings.c_str();
    rank.expect(
        TUTTI_INVALID,
        tutti_comm_create_from_store(&comm, rank.rank() == 1 ? 4 : 3, rank.rank(), rank.store().c_str(), &options),
        "sizes 3 and 4");
    rank.expect_text(tutti_last_error(), {"3", "4", "size"});
    rank.meet();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Creation, RefusesRanksWithOtherSettings) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_CONNECT_TIMEOUT=" + seconds(10);
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    rank.expect(TUTTI_INVALID, rank.try_create(&comm, "dp0", rank.rank() == 1 ? "TUTTI_SEGMENT_BYTES=4096" : ""),
                "other settings");
    rank.expect_text(tutti_last_error(), {"rank", "TUTTI_SEGMENT_BYTES=4096", "TUTTI_SEGMENT_BYTES=0"});
    rank.meet();
    // The same ranks may agree afterwards, under another name.
    comm = rank.create("again");
    if (comm != nullptr) rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    rank.ok(tutti_comm_destroy(comm), "destroy");
    rank.meet();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Creation, KeepsOutWhoDoesNotKnowTheSecret) {
  Job job;
  job.meeting = Meeting::tcp;
  job.settings = "TUTTI_CONNECT_TIMEOUT=2s";
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* comm = nullptr;
    const tutti_status got = rank.try_create(
        &comm, "dp0", rank.rank() == 0 ? "TUTTI_SECRET=correct-horse" : "TUTTI_SECRET=battery-staple");
    rank.check(got != TUTTI_OK, "two secrets made one communicator");
    if (rank.rank() == 1) rank.expect_text(tutti_last_error(), {"secret"});
    rank.meet();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Shortage, OfDescriptorsIsToldByThatRankAndStopsTheOthers) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_CONNECT_TIMEOUT=" + seconds(15);
  const Outcome outcome = run_job(job, [](Rank& rank) {
    if (rank.rank() == 1) {
      const auto few = static_cast<rlim_t>(open_descriptors());
      const rlimit limit{few, few};
      setrlimit(RLIMIT_NOFILE, &limit);
    }
    const double began = now_seconds();
    tutti_comm* comm = nullptr;
    const tutti_status got = rank.try_create(&comm, "dp0");
    rank.check(got != TUTTI_OK && comm == nullptr, "a communicator was made without descriptors");
    if (rank.rank() == 1) {
      rank.expect(TUTTI_SYSTEM, got, "the creation without descriptors");
      rank.expect_text(tutti_last_error(), {"EMFILE"});
    }
    rank.check(now_seconds() - began < 14 * patience(), "the others waited to the end instead of being told");
    rank.meet();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Shortage, OfSharedMemoryIsToldAndTcpWorksWithout) {
  // A private /dev/shm of 64 KiB, for this rank only.
  Job job;
  job.ranks = 2;
  job.settings = "TUTTI_CONNECT_TIMEOUT=" + seconds(15);
  const Outcome outcome = run_job(job, [](Rank& rank) {
    const bool mounted = unshare(CLONE_NEWNS) == 0 &&
                         mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k") == 0;
    if (!mounted) {
      rank.shared().counters[60].store(1);
      return;
    }
    tutti_comm* comm = nullptr;
    const tutti_status got = rank.try_create(&comm, "dp0", "TUTTI_TRANSPORTS=shm");
    if (got == TUTTI_OK) {
      // Memory that is not in /dev/shm (memfd, say) is as good, as long as it works.
      std::vector<float> data(300000, 1);
      rank.ok(
          tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, nullptr),
          "all_reduce with a full /dev/shm");
      rank.check(data[299999] == 2, "the sum is wrong");
      rank.ok(tutti_comm_finalize(comm, 0), "finalize");
      rank.ok(tutti_comm_destroy(comm), "destroy");
    } else {
      rank.expect(TUTTI_SYSTEM, got, "shared memory without room");
      rank.expect_text(tutti_last_error(), {"shm"});
    }
    rank.meet();
    comm = rank.create("net", "TUTTI_TRANSPORTS=tcp");
    if (comm != nullptr) rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier over tcp");
    rank.ok(tutti_comm_destroy(comm), "destroy");
    rank.meet();
  });
  if (outcome.counters[60] == 1) GTEST_SKIP() << "a mount namespace of one's own is not permitted here";
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Forking, ChildrenAreRefusedAndTheParentGoesOn) {
#if defined(__SANITIZE_ADDRESS__)
  // Other threads of the parent (progress, the store) may hold its lock in the moment of the fork, for ever in the
  // child.
  GTEST_SKIP() << "the allocator of GCC 12's address sanitizer does not work in a child of a process with threads";
#endif
  for (const char* const transport : {"shm", "tcp"}) {
    Job job;
    job.settings = std::string("TUTTI_TIMEOUT=30s TUTTI_TRANSPORTS=") + transport;
    const Outcome outcome = run_job(job, [](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      std::vector<float> data(100000, 1);
      rank.ok(
          tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, nullptr),
          "all_reduce before the fork");
      tutti_request* request = nullptr;
      float pending = 0;
      rank.ok(tutti_receive(&pending, 1, TUTTI_FLOAT32, 1 - rank.rank(), comm, nullptr, &request), "receive");
      const pid_t child = fork();
      if (child == 0) {
        rank.note("is a forked child");
        rank.expect(TUTTI_INVALID, tutti_barrier(comm, nullptr, nullptr), "barrier of a child");
        rank.expect_text(tutti_last_error(), {"forked"});
        rank.expect(TUTTI_INVALID, tutti_request_wait(&request, 0), "wait of a child");
        rank.expect(TUTTI_INVALID, tutti_comm_abort(comm, "x"), "abort of a child");
        rank.expect(TUTTI_INVALID, tutti_comm_error(comm, nullptr, 0), "comm_error of a child");
        rank.expect(TUTTI_INVALID, tutti_comm_destroy(comm), "destroy of a child");
        tutti_comm* split = nullptr;
        rank.expect(TUTTI_INVALID, tutti_comm_split(comm, 0, 0, &split, nullptr), "split of a child");
#if defined(__SANITIZE_THREAD__)
        _exit(rank.has_failed() ? 1 : 0);  // it cannot follow threads that such a child starts
#endif
        tutti_comm* const own = rank.create("children");
        if (own != nullptr) {
          float x = 1;
          rank.ok(tutti_all_reduce(&x, &x, 1, TUTTI_FLOAT32, TUTTI_SUM, own, nullptr, nullptr),
                  "all_reduce of children");
          rank.check(x == 2, "the children's sum is wrong");
          rank.ok(tutti_comm_finalize(own, 0), "finalize of children");
          rank.ok(tutti_comm_destroy(own), "destroy of children");
        }
        _exit(rank.has_failed() ? 1 : 0);
      }
      const float sent = 5;
      rank.ok(tutti_send(&sent, 1, TUTTI_FLOAT32, 1 - rank.rank(), comm, nullptr, nullptr), "send after the fork");
      rank.ok(tutti_request_wait(&request, -1), "wait after the fork");
      rank.check(pending == 5, "the message is wrong");
      int status = -1;
      waitpid(child, &status, 0);
      rank.check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child failed or crashed");
      rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier after the child's end");
      rank.ok(tutti_comm_finalize(comm, 0), "finalize");
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << transport << "\n" << outcome.text();
  }
}

class Loss : public testing::TestWithParam<const char*> {};

// Every survivor is told within a few seconds, by a sentence that names rank 2.
void survive(Rank& rank, tutti_comm* comm, tutti_status got, double began) {
  if (rank.expect(TUTTI_PEER_LOST, got, "the operation of a survivor")) {
    rank.expect_text(tutti_last_error(), {"dp0", "rank 2"});
    const double took = now_seconds() - began;
    rank.check(took < 10 * patience(), "it took " + std::to_string(took) + " s");
  }
  rank.expect(TUTTI_PEER_LOST, tutti_barrier(comm, nullptr, nullptr), "a later call");
  rank.note("destroys after the loss");
  rank.ok(tutti_comm_destroy(comm), "destroy");
}

TEST_P(Loss, OfARankThatIsKilledInALargeAllReduceIsToldToAll) {
  Job job;
  job.ranks = 4;
  job.settings = std::string("TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=") + GetParam();
  const auto body = [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    std::vector<float> data(8 << 20, 1);
    rank.ok(tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_MAX, comm, nullptr, nullptr),
            "the first all_reduce");
    rank.meet();
    std::thread death;
    if (rank.rank() == 2) {
      death = std::thread([] {
        std::this_thread::sleep_for(milliseconds(15));
        kill(getpid(), SIGKILL);
      });
    }
    tutti_status got = TUTTI_OK;
    double began = now_seconds();
    rank.note("is in the all_reduces during which rank 2 dies");
    for (int i = 0; i < 1000 && got == TUTTI_OK; ++i) {
      began = now_seconds();
      got = tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_MAX, comm, nullptr, nullptr);
    }
    survive(rank, comm, got, began);
  };
  const Outcome outcome = run_job(job, body, {2});
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  EXPECT_TRUE(WIFSIGNALED(outcome.wait_status[2])) << "rank 2 was not killed";
}

TEST_P(Loss, OfARankThatExitsWithoutAWordIsToldToAll) {
  for (const std::size_t count : {std::size_t{4}, std::size_t{1000000}}) {
    Job job;
    job.ranks = 3;
    job.settings = std::string("TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=") + GetParam();
    const Outcome outcome = run_job(job, [&](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      std::vector<float> data(count, 1);
      rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
      rank.ok(tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, nullptr),
              "the first all_reduce");
      rank.meet();
      if (rank.rank() == 2) _exit(0);
      rank.note("calls an all_reduce without rank 2");
      const double began = now_seconds();
      survive(rank, comm,
              tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, nullptr),
              began);
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

TEST_P(Loss, OfARankThatIsKilledWhileOthersWaitInABarrierIsToldToAll) {
  Job job;
  job.ranks = 3;
  job.settings = std::string("TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=") + GetParam();
  const auto body = [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    rank.ok(tutti_barrier(comm, nullptr, nullptr), "the first barrier");
    rank.meet();
    if (rank.rank() == 2) {
      std::this_thread::sleep_for(milliseconds(100));
      kill(getpid(), SIGKILL);
    }
    const double began = now_seconds();
    rank.note("waits in a barrier");
    survive(rank, comm, tutti_barrier(comm, nullptr, nullptr), began);
  };
  const Outcome outcome = run_job(job, body, {2});
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

INSTANTIATE_TEST_SUITE_P(Over, Loss, testing::Values("shm", "tcp"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace tutti_test
