// Members of elastic communicators that come and go on purpose, between real processes: verdicts by the step,
// leaving, growing, shrinking, slots, and how few may go on.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

int size_of(tutti_comm* comm) {
  int size = 0;
  return tutti_comm_size(comm, &size) == TUTTI_OK ? size : -1;
}

int rank_of(tutti_comm* comm) {
  int rank = -1;
  return tutti_comm_rank(comm, &rank) == TUTTI_OK ? rank : -1;
}

std::vector<int> slots_of(tutti_comm* comm) {
  int count = 0;
  std::vector<int> ranks(8, -2);
  if (tutti_comm_slots(comm, ranks.data(), 8, &count) != TUTTI_OK) return {};
  ranks.resize(static_cast<std::size_t>(count));
  return ranks;
}

// Adds this process's bit to those of the others.
tutti_status add(Rank& rank, tutti_comm* comm, std::int64_t& sum) {
  sum = std::int64_t{1} << rank.rank();
  return tutti_all_reduce(&sum, &sum, 1, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr);
}

bool sum_is(Rank& rank, tutti_comm* comm, std::int64_t expected) {
  std::int64_t sum = 0;
  return rank.ok(add(rank, comm, sum), "all_reduce") && rank.check(sum == expected, "a wrong sum");
}

// A step adds every element of the model's gradient in place, in several operations; it counts only once an agree has
// said so. Otherwise it is done again, from what it was computed from.
struct Training {
  static constexpr std::size_t kElements = 20'000;
  static constexpr int kOperations = 4;
  std::vector<std::int64_t> model = std::vector<std::int64_t>(kElements * kOperations, 0);
  std::vector<std::int64_t> gradient = std::vector<std::int64_t>(kElements * kOperations, 0);

  tutti_status step(Rank& rank, tutti_comm* comm, const std::function<void(int)>& before_operation) {
    for (std::size_t e = 0; e < gradient.size(); ++e)
      gradient[e] = (std::int64_t{1} << rank.rank()) + static_cast<std::int64_t>(e % 7);
    for (int i = 0; i < kOperations; ++i) {
      before_operation(i);
      std::int64_t* const part = gradient.data() + static_cast<std::size_t>(i) * kElements;
      const tutti_status got =
          tutti_all_reduce(part, part, kElements, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr);
      if (got != TUTTI_OK) return got;
    }
    before_operation(kOperations);
    const tutti_status agreed = tutti_comm_agree(comm, nullptr, nullptr);
    if (agreed != TUTTI_OK) return agreed;
    for (std::size_t e = 0; e < model.size(); ++e) model[e] += gradient[e];
    return TUTTI_OK;
  }
};

TEST(ElasticStep, AStepInWhichAMemberIsKilledIsDoneAgainByAllOrByNobody) {
  for (const char* const transport : {"shm", "tcp"}) {
    for (int moment = 0; moment <= Training::kOperations; ++moment) {
      Job job;
      job.ranks = 4;
      job.settings = std::string("TUTTI_ELASTIC=step TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=") + transport;
      const Outcome outcome = run_job(
          job,
          [moment](Rank& rank) {
            constexpr int kSteps = 12;
            constexpr int kKilledIn = 5;
            constexpr int kVictim = 2;
            tutti_comm* const comm = rank.create("dp0");
            if (comm == nullptr) return;
            Training training;
            std::vector<int> sizes;  // of the members, for each step that counted
            int failures = 0;
            while (sizes.size() < kSteps) {
              const bool last = rank.rank() == kVictim && sizes.size() == kKilledIn;
              const tutti_status got = training.step(rank, comm, [&](int i) {
                if (last && i == moment) raise(SIGKILL);
              });
              if (got == TUTTI_OK) {
                sizes.push_back(size_of(comm));
                continue;
              }
              ++failures;
              rank.expect(TUTTI_PEER_LOST, got, "a step without a member");
              const std::string sentence = tutti_last_error();
              rank.expect_text(sentence, {"dp0", "rank 2 ("});
              rank.shared().slots[0][rank.rank()] = std::hash<std::string>{}(sentence) | 1;
              if (!rank.ok(tutti_comm_refresh(comm, nullptr), "refresh")) return;
            }
            rank.check(failures == 1, "so many errors: " + std::to_string(failures));
            std::size_t wrong = 0;
            for (std::size_t e = 0; e < training.model.size(); ++e) {
              std::int64_t expected = 0;
              for (const int size : sizes)
                expected += (size == 4 ? 15 : 11) + size * static_cast<std::int64_t>(e % 7);
              wrong += training.model[e] != expected;
            }
            rank.check(wrong == 0, "wrong elements: " + std::to_string(wrong));
            // Where its part was done, the step may count: it was added by all that are left.
            rank.check(sizes[kKilledIn] == 3 || moment == Training::kOperations, "the step counted without its part");
            rank.shared().slots[1][rank.rank()] = static_cast<std::uint64_t>(sizes[kKilledIn]);
            rank.ok(tutti_comm_finalize(comm, 0), "finalize");
            rank.ok(tutti_comm_destroy(comm), "destroy");
          },
          {2});
      EXPECT_TRUE(outcome.is_clean()) << transport << ", killed before operation " << moment << ": "
                                      << outcome.text();
      EXPECT_EQ(outcome.slots[0], outcome.slots[1]);
      EXPECT_EQ(outcome.slots[0], outcome.slots[3]);
      for (const std::size_t rank : {1, 3})  // it counted for all or for nobody
        EXPECT_EQ(outcome.slots[SharedBlock::kRanksMax], outcome.slots[SharedBlock::kRanksMax + rank]);
    }
  }
}

TEST(ElasticMembers, WhoLeavesIsNotLostAndWhoJoinsTakesItsSlot) {
  for (const char* const elastic : {"on", "step"}) {
    Job job;
    job.ranks = 4;
    job.settings = std::string("TUTTI_ELASTIC_SLOTS=on TUTTI_TIMEOUT=60s TUTTI_ELASTIC=") + elastic;
    const Outcome outcome = run_job(job, [](Rank& rank) {
      if (rank.rank() == 3) {
        rank.meet();  // the others are three, and one has left
        tutti_comm* const comm = rank.join();
        if (comm == nullptr) return;
        rank.check(rank_of(comm) == 1, "who joins does not take the free slot");
        sum_is(rank, comm, 1 + 4 + 8);
        rank.check(slots_of(comm) == std::vector<int>({0, 1, 2}), "the slots are wrong at who joined");
        rank.ok(tutti_comm_destroy(comm), "destroy");
        return;
      }
      tutti_comm* const comm = rank.create_of(3);
      if (comm == nullptr) return;
      sum_is(rank, comm, 7);
      rank.ok(tutti_comm_agree(comm, nullptr, nullptr), "agree");
      if (rank.rank() == 1) {
        rank.ok(tutti_comm_leave(comm, 0), "leave");
        return rank.meet();
      }
      std::int64_t sum = 0;
      rank.expect(TUTTI_ABORTED, add(rank, comm, sum), "all_reduce when a member has left");
      rank.expect_text(tutti_last_error(), {"rank 1 (", "leaves the communicator", "tutti_comm_refresh"});
      rank.ok(tutti_comm_refresh(comm, nullptr), "refresh");
      rank.check(size_of(comm) == 2, "the size is wrong");
      rank.check(slots_of(comm) == std::vector<int>({0, -1, 1}), "the slots are wrong after one left");
      int slot = -1;
      rank.ok(tutti_comm_slot(comm, rank_of(comm), &slot), "slot");
      rank.check(slot == rank.rank(), "the slot has changed");
      sum_is(rank, comm, 5);
      rank.meet();
      while (size_of(comm) == 2) {  // the joiner's wish takes its time
        if (!sum_is(rank, comm, 5) || !rank.ok(tutti_comm_grow(comm, nullptr), "grow")) return;
      }
      sum_is(rank, comm, 1 + 4 + 8);
      rank.check(slots_of(comm) == std::vector<int>({0, 1, 2}), "the slots are wrong after one joined");
      rank.check(rank_of(comm) == rank.rank(), "ranks do not follow slots");
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << elastic << ": " << outcome.text();
  }
}

TEST(ElasticMembers, NobodyIsLetInWhereThereIsNoRoom) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s";
  const Outcome outcome = run_job(job, [](Rank& rank) {
    if (rank.rank() == 2) {
      tutti_comm* const comm = rank.join();
      if (comm == nullptr) return;
      rank.check(rank_of(comm) == 2, "who joins does not come last");
      sum_is(rank, comm, 7);
      rank.ok(tutti_comm_destroy(comm), "destroy");
      return;
    }
    tutti_comm* const comm = rank.create_of(2);
    if (comm == nullptr) return;
    int waiting = 0;
    while (waiting == 0) rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
    std::uint64_t epoch = 99;
    tutti_refresh_options options = TUTTI_REFRESH_OPTIONS_INIT;
    options.members_max = 2;
    rank.ok(tutti_comm_grow(comm, &options), "grow without room");
    rank.ok(tutti_comm_epoch(comm, &epoch), "epoch");
    rank.check(epoch == 0 && size_of(comm) == 2, "something has changed without room");
    rank.ok(tutti_comm_refresh(comm, &options), "refresh without room");
    rank.ok(tutti_comm_shrink(comm, nullptr), "shrink");
    rank.check(size_of(comm) == 2, "somebody was let in");
    options.members_max = 3;
    rank.ok(tutti_comm_grow(comm, &options), "grow");
    sum_is(rank, comm, 7);
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(ElasticMembers, OneAloneIsJoinedByOthers) {
  for (const Meeting meeting : {Meeting::file, Meeting::tcp}) {
    Job job;
    job.ranks = 3;
    job.meeting = meeting;
    job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s";
    const Outcome outcome = run_job(job, [](Rank& rank) {
      tutti_comm* comm = nullptr;
      if (rank.rank() == 0) {
        comm = rank.create_of(1);
        if (comm == nullptr) return;
        sum_is(rank, comm, 1);
        int waiting = 0;
        while (waiting < 2) rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
        rank.ok(tutti_comm_refresh(comm, nullptr), "refresh");
      } else {
        comm = rank.join();
        if (comm == nullptr) return;
      }
      rank.check(size_of(comm) == 3, "the size is wrong");
      sum_is(rank, comm, 7);
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

TEST(ElasticMembers, FewerThanTheMinimumStop) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s TUTTI_ELASTIC_MINIMUM=3";
  const Outcome outcome =
      run_job(job,
              [](Rank& rank) {
                tutti_comm* alone = nullptr;
                tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
                options.settings = rank.job().settings.c_str();
                rank.expect(TUTTI_INVALID, tutti_comm_create_from_store(&alone, 1, 0, rank.store().c_str(), &options),
                            "one alone");
                rank.expect_text(tutti_last_error(), {"TUTTI_ELASTIC_MINIMUM", "3"});
                tutti_comm* const comm = rank.create("dp0");
                if (comm == nullptr) return;
                sum_is(rank, comm, 7);
                rank.meet();
                if (rank.rank() == 2) raise(SIGKILL);
                std::int64_t sum = 0;
                rank.expect(TUTTI_PEER_LOST, add(rank, comm, sum), "all_reduce of too few");
                rank.expect_text(tutti_last_error(), {" of 3 members", "TUTTI_ELASTIC_MINIMUM"});
                rank.expect(TUTTI_PEER_LOST, tutti_comm_refresh(comm, nullptr), "refresh of too few");
                rank.expect_text(tutti_last_error(), {" of 3 members", "TUTTI_ELASTIC_MINIMUM"});
                rank.ok(tutti_comm_destroy(comm), "destroy");
              },
              {2});
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(ElasticMembers, MistakesAreToldInOneSentence) {
  Job job;
  job.ranks = 2;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    rank.expect(TUTTI_INVALID, tutti_comm_agree(comm, nullptr, nullptr), "agree on what is not elastic");
    rank.expect_text(tutti_last_error(), {"agree", "dp0", "TUTTI_ELASTIC=on or step"});
    rank.expect(TUTTI_INVALID, tutti_comm_shrink(comm, nullptr), "shrink of what is not elastic");
    rank.expect(TUTTI_INVALID, tutti_comm_grow(comm, nullptr), "grow of what is not elastic");
    rank.expect(TUTTI_INVALID, tutti_comm_leave(comm, 0), "leave of what is not elastic");
    rank.expect_text(tutti_last_error(), {"tutti_comm_leave", "dp0"});
    int slot = -1;
    rank.ok(tutti_comm_slot(comm, 1, &slot), "slot");
    rank.check(slot == 1, "a rank is its own slot");
    rank.expect(TUTTI_INVALID, tutti_comm_slot(comm, 2, &slot), "slot of nobody");
    rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

}  // namespace
}  // namespace tutti_test
