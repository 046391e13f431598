// The life of communicators: made, split, duplicated, finalized, aborted, destroyed at bad moments, and made again.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

std::int64_t sum_of_ranks(Rank& rank, tutti_comm* comm, const std::string& what) {
  int me = -1;
  rank.ok(tutti_comm_rank(comm, &me), "rank");
  const std::int64_t mine = me + 1;
  std::int64_t sum = -1;
  rank.ok(tutti_all_reduce(&mine, &sum, 1, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr), what);
  return sum;
}

std::string error_of(tutti_comm* comm) {
  char text[1024];
  tutti_comm_error(comm, text, sizeof text);
  return text;
}

class Communicators : public testing::TestWithParam<const char*> {
 protected:
  Job job(int ranks) const {
    Job job;
    job.ranks = ranks;
    const std::string layout = GetParam();
    if (layout == "threads") {
      job.processes = 1;
    } else {
      job.settings = "TUTTI_TRANSPORTS=" + layout;
    }
    job.settings += " TUTTI_TIMEOUT=" + std::to_string(20 * patience()) + "s";
    return job;
  }
};

TEST_P(Communicators, SplitByColourAndKey) {
  const Outcome outcome = run_job(job(5), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    // Colours 0: ranks 0 2 4 backwards; 1: ranks 1 3 by rank since the keys are equal.
    const int me = rank.rank();
    tutti_comm* split = nullptr;
    if (!rank.ok(tutti_comm_split(comm, me % 2, me % 2 == 0 ? -me : 9, &split, nullptr), "split")) return;
    int there = -1;
    int size = -1;
    rank.ok(tutti_comm_rank(split, &there), "rank");
    rank.ok(tutti_comm_size(split, &size), "size");
    rank.check(size == (me % 2 == 0 ? 3 : 2), "the split has " + std::to_string(size) + " ranks");
    rank.check(there == (me % 2 == 0 ? (4 - me) / 2 : me / 2), "rank in the split is " + std::to_string(there));
    rank.check(sum_of_ranks(rank, split, "all_reduce on the split") == (me % 2 == 0 ? 6 : 3), "the sum is wrong");

    tutti_comm* few = split;  // to see that it is set to NULL
    rank.ok(tutti_comm_split(comm, me == 1 ? TUTTI_NO_COLOR : 7, 0, &few, nullptr), "split without rank 1");
    rank.check((few == nullptr) == (me == 1), "NO_COLOR does not give NULL");
    if (few != nullptr) rank.check(sum_of_ranks(rank, few, "all_reduce on four") == 10, "the sum of four is wrong");

    tutti_comm* twin = nullptr;
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.name = "twin";
    rank.ok(tutti_comm_duplicate(comm, &twin, &options), "duplicate");
    rank.check(sum_of_ranks(rank, twin, "all_reduce on the twin") == 15, "the sum of the twin is wrong");

    rank.ok(tutti_comm_destroy(twin), "destroy");
    rank.ok(tutti_comm_destroy(few), "destroy");
    rank.check(sum_of_ranks(rank, comm, "all_reduce on the parent") == 15, "the parent's sum is wrong");
    rank.check(sum_of_ranks(rank, split, "all_reduce on the split") == (me % 2 == 0 ? 6 : 3), "the sum is wrong");
    rank.ok(tutti_comm_finalize(split, 0), "finalize of the split");
    rank.ok(tutti_comm_destroy(split), "destroy of the split");
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Communicators, RefuseABadColourOnEveryRankAndGoOn) {
  const Outcome outcome = run_job(job(3), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    tutti_comm* split = nullptr;
    rank.expect(TUTTI_INVALID, tutti_comm_split(comm, rank.rank() == 1 ? -5 : 0, 0, &split, nullptr), "split");
    rank.expect_text(tutti_last_error(), {"rank 1", "colour"});
    rank.check(split == nullptr, "a communicator came of a bad split");
    rank.check(sum_of_ranks(rank, comm, "all_reduce after the bad split") == 6, "the sum is wrong");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Communicators, LeaveNothingBehindAfterAThousandSplits) {
  const Outcome outcome = run_job(job(2), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    const int total = patience() > 1 ? 300 : 1000;
    int descriptors = 0;
    std::int64_t memory = 0;
    for (int i = 0; i < total; ++i) {
      rank.note("split " + std::to_string(i));
      tutti_comm* split = nullptr;
      if (!rank.ok(tutti_comm_split(comm, i % 3, rank.rank() * (i % 2 == 0 ? 1 : -1), &split, nullptr), "split"))
        return;
      if (!rank.check(sum_of_ranks(rank, split, "all_reduce") == 3, "the sum is wrong")) return;
      if (i % 5 == 0) rank.ok(tutti_comm_finalize(split, 0), "finalize");
      rank.ok(tutti_comm_destroy(split), "destroy");
      if (i == total / 5) {
        descriptors = open_descriptors();
        memory = memory_in_use();
      }
    }
    // Another thread may be counting too, with a descriptor of its own.
    rank.check(open_descriptors() <= descriptors + 2,
               "descriptors grew from " + std::to_string(descriptors) + " to " + std::to_string(open_descriptors()));
    const std::int64_t grown = memory_in_use() - memory;
    rank.check(grown < 4 << 20, "memory grew by " + std::to_string(grown) + " bytes");
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Communicators, CanBeMadeAgainAfterTheLastWasDestroyed) {
  const Outcome outcome = run_job(job(3), [](Rank& rank) {
    int descriptors = 0;
    for (int i = 0; i < 12; ++i) {
      tutti_comm* const comm = rank.create("world", i % 2 == 0 ? "" : "TUTTI_SEGMENT_BYTES=4096");
      if (comm == nullptr) return;
      rank.check(sum_of_ranks(rank, comm, "all_reduce") == 6, "the sum is wrong");
      std::vector<float> data(50000, 1.0f);
      rank.ok(
          tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, nullptr),
          "a large all_reduce");
      rank.check(data[0] == 3.0f && data[49999] == 3.0f, "the large sum is wrong");
      rank.ok(tutti_comm_finalize(comm, 0), "finalize");
      rank.ok(tutti_comm_destroy(comm), "destroy");
      if (rank.job().processes == 1) rank.meet();
      if (i == 2) descriptors = open_descriptors();
    }
    if (rank.job().processes == 0)
      rank.check(open_descriptors() <= descriptors, "descriptors grew from " + std::to_string(descriptors) + " to " +
                                                        std::to_string(open_descriptors()));
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Communicators, AreMadeByAUniqueId) {
  const Outcome outcome = run_job(job(4), [](Rank& rank) {
    auto* const id = reinterpret_cast<tutti_unique_id*>(rank.shared().data);
    if (rank.rank() == 2) rank.ok(tutti_unique_id_create(id), "unique_id_create");
    rank.meet();
    const tutti_unique_id mine = *id;
    tutti_comm* comm = nullptr;
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.settings = rank.job().settings.c_str();
    if (!rank.ok(tutti_comm_create(&comm, 4, &mine, rank.rank(), &options), "comm_create")) return;
    rank.check(sum_of_ranks(rank, comm, "all_reduce") == 10, "the sum is wrong");
    rank.ok(tutti_comm_destroy(comm), "destroy");
    rank.meet();  // the process with the rendezvous stays until all have come
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Communicators, AreDoneWithAfterFinalize) {
  const Outcome outcome = run_job(job(2), [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    std::vector<double> data(100000, 1);
    std::vector<double> sums(data.size());
    tutti_request* request = nullptr;
    rank.ok(
        tutti_all_reduce(data.data(), sums.data(), data.size(), TUTTI_FLOAT64, TUTTI_SUM, comm, nullptr, &request),
        "all_reduce");
    rank.ok(tutti_comm_finalize(comm, 0), "finalize with an operation in flight");
    rank.ok(tutti_request_wait(&request, 0), "the operation is complete after finalize");
    rank.check(sums[0] == 2 && sums.back() == 2, "the sum is wrong");
    rank.expect(TUTTI_INVALID, tutti_barrier(comm, nullptr, nullptr), "a barrier after finalize");
    rank.expect_text(tutti_last_error(), {"dp0", "finalized", "tutti_comm_destroy"});
    rank.expect(TUTTI_INVALID, tutti_comm_finalize(comm, 0), "a second finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Communicators, EndPendingOperationsWhenDestroyed) {
  const Outcome outcome = run_job(job(3), [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    sum_of_ranks(rank, comm, "all_reduce");
    rank.meet();
    std::vector<double> data(300000, 1);
    tutti_request* request = nullptr;
    if (rank.rank() == 1) {
      // Rank 2 never calls it, so it is pending when rank 1 destroys.
      rank.ok(
          tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT64, TUTTI_SUM, comm, nullptr, &request),
          "all_reduce");
      rank.note("destroys with an operation pending");
      rank.ok(tutti_comm_destroy(comm), "destroy with an operation pending");
      rank.note("waits for the aborted operation");
      rank.expect(TUTTI_ABORTED, tutti_request_wait(&request, -1), "the pending operation");
      rank.expect_text(tutti_last_error(), {"rank 1", "destroyed"});
      rank.meet();
      return;
    }
    if (rank.rank() == 0) {
      rank.note("is left alone in an all_reduce");
      const tutti_status got =
          tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT64, TUTTI_SUM, comm, nullptr, nullptr);
      rank.check(got == TUTTI_ABORTED || got == TUTTI_PEER_LOST, std::string("rank 0 got ") + tutti_status_name(got));
      rank.expect_text(tutti_last_error(), {"rank 1", "destroyed"});
      rank.expect(got, tutti_barrier(comm, nullptr, nullptr), "a later call");
      rank.check(error_of(comm) == tutti_last_error(), "comm_error has another sentence: " + error_of(comm));
    }
    rank.meet();
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Communicators, EndEverywhereWhenAborted) {
  const Outcome outcome = run_job(job(3), [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    sum_of_ranks(rank, comm, "all_reduce");
    rank.meet();
    // Rank 2 does not come; on rank 1 another thread loses patience.
    std::thread other;
    if (rank.rank() == 1) {
      other = std::thread([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        tutti_comm_abort(comm, "the loss is not a number");
      });
    }
    std::vector<double> data(100000, 1);
    if (rank.rank() < 2) {
      rank.expect(
          TUTTI_ABORTED,
          tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT64, TUTTI_SUM, comm, nullptr, nullptr),
          "all_reduce");
      rank.expect_text(tutti_last_error(), {"dp0", "rank 1", "the loss is not a number"});
    } else {
      // It learns of it without calling anything that waits.
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20) * patience();
      while (tutti_comm_error(comm, nullptr, 0) == TUTTI_OK && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      rank.expect(TUTTI_ABORTED, tutti_comm_error(comm, nullptr, 0), "comm_error of a rank outside");
    }
    if (other.joinable()) other.join();
    rank.expect(TUTTI_ABORTED, tutti_barrier(comm, nullptr, nullptr), "a later call");
    rank.expect_text(error_of(comm), {"rank 1", "the loss is not a number"});
    char little[8];
    rank.expect(TUTTI_ABORTED, tutti_comm_error(comm, little, sizeof little), "comm_error with little room");
    rank.check(std::strlen(little) == 7, "the text was not cut to the room");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Communicators, MayBeLeftByARootWhosePartIsDone) {
  // The root is done when it has sent, and destroys at once; what it sent must still arrive, also over several
  // connections, and also at a rank that is late.
  const Outcome outcome = run_job(job(4), [](Rank& rank) {
    for (int round = 0; round < 6; ++round) {
      tutti_comm* const comm = rank.create("round" + std::to_string(round));
      if (comm == nullptr) return;
      const std::size_t count = round % 2 == 0 ? 8 : 3'000'000;
      std::vector<std::uint8_t> data(count, rank.rank() == 0 ? 42 : 0);
      if (rank.rank() == 3) std::this_thread::sleep_for(std::chrono::milliseconds(30));
      rank.ok(tutti_broadcast(data.data(), data.data(), count, TUTTI_UINT8, 0, comm, nullptr, nullptr),
              "broadcast in round " + std::to_string(round));
      rank.check(data.front() == 42 && data.back() == 42, "the broadcast brought something else");
      if (rank.rank() == 0) rank.ok(tutti_comm_destroy(comm), "destroy");
      rank.meet();
      if (rank.rank() != 0) rank.ok(tutti_comm_destroy(comm), "destroy");
    }
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

INSTANTIATE_TEST_SUITE_P(Over, Communicators, testing::Values("shm", "tcp", "threads"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(Rendezvous, WorksOverAFileStoreAndATcpStore) {
  for (const Meeting meeting : {Meeting::file, Meeting::tcp}) {
    for (const int processes : {0, 2}) {
      Job job;
      job.ranks = 4;
      job.processes = processes;
      job.meeting = meeting;
      const Outcome outcome = run_job(job, [](Rank& rank) {
        tutti_comm* const first = rank.create("a");
        tutti_comm* const second = rank.create("b");
        if (first == nullptr || second == nullptr) return;
        rank.check(sum_of_ranks(rank, second, "all_reduce") == 10, "the sum of b is wrong");
        rank.check(sum_of_ranks(rank, first, "all_reduce") == 10, "the sum of a is wrong");
        rank.ok(tutti_comm_destroy(first), "destroy");
        rank.ok(tutti_comm_destroy(second), "destroy");
        rank.meet();
      });
      EXPECT_TRUE(outcome.is_clean()) << (processes == 0 ? "processes" : "threads") << "\n" << outcome.text();
    }
  }
}

}  // namespace
}  // namespace tutti_test
