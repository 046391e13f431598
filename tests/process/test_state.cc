// Shared states between real processes: whoever lacks the content that counts gets it bit for bit, from several at
// once; drift is found, named or put right; who is killed in the middle costs only what had not arrived yet.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

constexpr std::size_t kMiB = 1 << 20;

unsigned char byte_at(std::size_t i, unsigned salt) {
  return static_cast<unsigned char>((i * 2654435761u >> 13) + i / kMiB + salt);
}

// A state of one model of this size, in memory of its own: a few large tensors, many small ones, one without
// elements.
class Model {
 public:
  Model(Rank& rank, std::size_t bytes, const char* name = "model", unsigned char* memory = nullptr)
      : rank_(rank),
        bytes_(bytes),
        own_(memory == nullptr ? bytes : 0),
        memory_(memory != nullptr ? memory : own_.data()) {
    rank.ok(tutti_state_create(&state_, name), "state_create");
    std::size_t at = 0;
    int number = 0;
    while (at < bytes) {
      const std::size_t wanted =
          number % 5 == 0 ? 5 * kMiB / 2 + 3 : 1000 + 37 * static_cast<std::size_t>(number % 7);
      const std::size_t taken = std::min(wanted, bytes - at);
      const std::string tensor = "layer" + std::to_string(number++);
      rank.ok(tutti_state_add(state_, tensor.c_str(), memory_ + at, taken, TUTTI_UINT8), "state_add");
      at += taken;
    }
    rank.ok(tutti_state_add(state_, "nothing", nullptr, 0, TUTTI_FLOAT64), "state_add of no elements");
  }
  ~Model() { tutti_state_destroy(state_); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  tutti_state* state() { return state_; }
  unsigned char* memory() { return memory_; }

  void fill(unsigned salt, std::uint64_t revision) {
    for (std::size_t i = 0; i < bytes_; ++i) memory_[i] = byte_at(i, salt);
    rank_.ok(tutti_state_set_revision(state_, revision), "set_revision");
  }
  std::uint64_t revision() const {
    std::uint64_t revision = 99;
    rank_.ok(tutti_state_revision(state_, &revision), "revision");
    return revision;
  }
  bool holds(unsigned salt) const {
    for (std::size_t i = 0; i < bytes_; ++i) {
      if (memory_[i] != byte_at(i, salt)) return false;
    }
    return true;
  }
  void expect(unsigned salt, std::uint64_t revision_wanted) {
    rank_.check(holds(salt), "the content is not that of salt " + std::to_string(salt));
    rank_.check(revision() == revision_wanted, "the revision is " + std::to_string(revision()));
  }
  tutti_status synchronize(tutti_comm* comm, bool strict = false) {
    tutti_state_options options = TUTTI_STATE_OPTIONS_INIT;
    options.strict = strict ? 1 : 0;
    report = TUTTI_STATE_REPORT_INIT;
    return tutti_state_synchronize(state_, comm, &options, &report);
  }

  tutti_state_report report = TUTTI_STATE_REPORT_INIT;

 private:
  Rank& rank_;
  const std::size_t bytes_;
  std::vector<unsigned char> own_;
  unsigned char* const memory_;
  tutti_state* state_ = nullptr;
};

// Memory that all ranks of a job see.
class CommonMemory {
 public:
  explicit CommonMemory(std::size_t bytes)
      : bytes_(bytes),
        memory_(static_cast<unsigned char*>(
            mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~CommonMemory() { munmap(memory_, bytes_); }
  CommonMemory(const CommonMemory&) = delete;
  CommonMemory& operator=(const CommonMemory&) = delete;
  unsigned char* get() { return memory_; }
  // It was 0 in the beginning.
  bool has_come(std::size_t offset) const { return *static_cast<volatile unsigned char*>(memory_ + offset) != 0; }

 private:
  const std::size_t bytes_;
  unsigned char* const memory_;
};

void finish(Rank& rank, tutti_comm* comm) {
  rank.ok(tutti_comm_finalize(comm, 0), "finalize");
  rank.ok(tutti_comm_destroy(comm), "destroy");
}

int size_of(tutti_comm* comm) {
  int size = 0;
  return tutti_comm_size(comm, &size) == TUTTI_OK ? size : -1;
}

TEST(State, JoinersGetTheModelBitForBitFromSeveralMembersAtTheNextRefresh) {
  for (const char* const transport : {"shm", "tcp"}) {
    Job job;
    job.ranks = 5;
    job.settings = std::string("TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=") + transport;
    const Outcome outcome = run_job(job, [](Rank& rank) {
      Model model(rank, 20 * kMiB + 17);
      tutti_comm* comm = nullptr;
      if (rank.rank() >= 2) {
        model.fill(7, 0);  // whatever a new process has
        if (!rank.ok(rank.try_join(&comm), "join")) return;
        rank.ok(model.synchronize(comm), "synchronize of who has joined");
      } else {
        model.fill(1, 41);
        comm = rank.create_of(2);
        if (comm == nullptr) return;
        int waiting = 0;
        while (rank.rank() == 0 && waiting < 3) rank.ok(tutti_comm_waiting(comm, &waiting), "waiting");
        rank.meet(2);
        tutti_refresh_options refresh = TUTTI_REFRESH_OPTIONS_INIT;
        refresh.state = model.state();
        rank.ok(tutti_comm_refresh(comm, &refresh), "refresh with a state");
      }
      rank.check(size_of(comm) == 5, "not all have joined");
      model.expect(1, 41);
      if (rank.rank() >= 2) {
        rank.check(model.report.senders == 2, "one member has sent all");
        rank.check(model.report.bytes_received == 20 * kMiB + 17, "it was not sent once");
        rank.check(model.report.receivers == 3 && model.report.revision == 41, "the report is wrong");
      }
      finish(rank, comm);
    });
    EXPECT_TRUE(outcome.is_clean()) << transport << ": " << outcome.text();
  }
}

TEST(State, OneFlippedBitIsNamedInStrictModeAndPutRightOtherwise) {
  for (const bool elastic : {false, true}) {
    Job job;
    job.ranks = 4;
    job.settings = elastic ? "TUTTI_ELASTIC=on" : "";
    const Outcome outcome = run_job(job, [](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      Model model(rank, 9 * kMiB);
      model.fill(3, 8);
      if (rank.rank() == 2) model.memory()[2 * kMiB] ^= 0x10;
      rank.expect(TUTTI_INVALID, model.synchronize(comm, true), "strict, with a flipped bit");
      rank.expect_text(tutti_last_error(), {"state model on dp0", "revision 8", "rank 2 (", "tensor layer0",
                                            "rank 0 (", "3 of 4 ranks", "no tensor was changed"});
      rank.check(model.holds(3) == (rank.rank() != 2), "strict mode changed something");
      rank.check(model.revision() == 8, "strict mode changed the revision");
      rank.ok(model.synchronize(comm), "synchronize");
      model.expect(3, 8);
      rank.check(model.report.receivers == 1, "more than one rank lacked something");
      rank.check(model.report.bytes_received == (rank.rank() == 2 ? kMiB / 2 + 3 : 0), "more was sent than differs");
      rank.ok(model.synchronize(comm, true), "strict, without drift");
      rank.check(model.report.receivers == 0, "something differs after the repair");
      finish(rank, comm);
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

TEST(State, NewestThenMajorityThenLowestRank) {
  struct Case {
    std::vector<std::pair<unsigned, std::uint64_t>> held;  // by rank: content and revision
    unsigned content;
    std::uint64_t revision;
  };
  const std::vector<Case> cases = {
      {{{1, 5}, {2, 5}, {2, 5}, {1, 5}, {2, 5}}, 2, 5},  // most
      {{{1, 5}, {2, 5}, {2, 5}, {1, 5}, {3, 5}}, 1, 5},  // two against two
      {{{1, 5}, {1, 5}, {1, 5}, {4, 6}, {1, 5}}, 4, 6},  // one that is newer
      {{{9, 0}, {8, 0}, {7, 0}, {8, 0}, {6, 0}}, 8, 0},  // nobody has said anything
      {{{9, 0}, {8, 3}, {7, 0}, {8, 2}, {8, 3}}, 8, 3},  // of the right content, but older
  };
  Job job;
  job.ranks = 5;
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    for (const Case& c : cases) {
      Model model(rank, 3 * kMiB + 5);
      const auto& [content, revision] = c.held[static_cast<std::size_t>(rank.rank())];
      model.fill(content, revision);
      rank.ok(model.synchronize(comm), "synchronize");
      model.expect(c.content, c.revision);
      const bool has_it = content == c.content && revision != 0;
      if (has_it) rank.check(model.report.bytes_received == 0, "what was there was sent");
    }
    finish(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

// Runs jobs until one has met its moment (it says so in counter 0), and judges each of them.
void until_met(const std::function<Outcome()>& attempt) {
  constexpr int kAttempts = 20;
  for (int i = 0; i < kAttempts; ++i) {
    const Outcome outcome = attempt();
    ASSERT_TRUE(outcome.is_clean()) << outcome.text();
    if (outcome.counters[0] > 0) return;
  }
  FAIL() << "in " << kAttempts << " attempts nobody was killed in the middle of a transfer";
}

// Ends this process when a byte has come to another one. The thread is left to itself: it goes with the process.
void die_when(const CommonMemory& memory, std::size_t offset) {
  std::thread([&memory, offset] {
    while (!memory.has_come(offset)) std::this_thread::yield();
    raise(SIGKILL);
  }).detach();
}

constexpr std::size_t kLarge = 64 * kMiB;

// A job whose last rank gets a large model from the others, and whose `victim` dies when a third of it has come.
// `act` is given everybody's model; what it counts in counters[0] says that the death came in time.
void die_in_the_middle(int ranks, int victim, const std::string& transports, bool all_hold_it,
                       const std::function<void(Rank&, tutti_comm*, Model&)>& act) {
  until_met([&] {
    Job job;
    job.ranks = ranks;
    job.settings = "TUTTI_ELASTIC=on TUTTI_TIMEOUT=60s TUTTI_TRANSPORTS=" + transports;
    CommonMemory received(kLarge);
    return run_job(job,
                   [&](Rank& rank) {
                     tutti_comm* const comm = rank.create("dp0");
                     if (comm == nullptr) return;
                     const bool is_last = rank.rank() == ranks - 1;
                     Model model(rank, kLarge, "model", is_last ? received.get() : nullptr);
                     if (all_hold_it ? !is_last : rank.rank() == victim) model.fill(5, 12);
                     if (rank.rank() == victim) die_when(received, kLarge / 3);
                     rank.meet();
                     act(rank, comm, model);
                     rank.ok(tutti_comm_destroy(comm), "destroy");
                   },
                   {victim});
  });
}

// The rest of its life: until die_when ends it.
void wait_for_the_end(const Rank& rank, int victim) {
  while (rank.rank() == victim) pause();
}

TEST(State, ASenderThatIsKilledInTheMiddleCostsOnlyWhatHadNotArrived) {
  for (const char* const transport : {"shm", "tcp"}) {
    die_in_the_middle(4, 1, transport, true, [](Rank& rank, tutti_comm* comm, Model& model) {
      const tutti_status got = model.synchronize(comm);
      const std::uint64_t before = model.report.bytes_received;
      wait_for_the_end(rank, 1);
      if (got == TUTTI_OK) return;  // it was over before the kill
      rank.expect(TUTTI_PEER_LOST, got, "synchronize without a member");
      rank.expect_text(tutti_last_error(), {"dp0", "rank 1 ("});
      rank.check(model.revision() == (rank.rank() == 3 ? 0 : 12), "the revision after an error");
      if (!rank.ok(tutti_comm_refresh(comm, nullptr), "refresh")) return;
      rank.ok(model.synchronize(comm), "synchronize again");
      model.expect(5, 12);
      if (rank.rank() != 3) return;
      rank.check(before > 0 && model.report.bytes_received < kLarge, "all was sent again");
      rank.check(before + model.report.bytes_received >= kLarge - kMiB * 17, "less was sent than was missing");
      rank.check(model.report.senders == 2, "not both that are left have sent");
      rank.shared().counters[0] = before > 0 ? 1 : 0;
    });
  }
}

TEST(State, ARefreshWithAStateGoesOnWithoutWhoDiesInTheMiddle) {
  die_in_the_middle(4, 1, "shm,tcp", true, [](Rank& rank, tutti_comm* comm, Model& model) {
    tutti_refresh_options refresh = TUTTI_REFRESH_OPTIONS_INIT;
    refresh.state = model.state();
    rank.ok(tutti_comm_refresh(comm, &refresh), "refresh");
    wait_for_the_end(rank, 1);
    model.expect(5, 12);
    if (rank.rank() == 3) rank.shared().counters[0] = size_of(comm) == 3 ? 1 : 0;
  });
}

TEST(State, ContentThatDiedWithItsOnlyHolderIsNotReplacedByHalfOfIt) {
  die_in_the_middle(3, 0, "tcp", false, [](Rank& rank, tutti_comm* comm, Model& model) {
    const tutti_status got = model.synchronize(comm);
    wait_for_the_end(rank, 0);
    if (got == TUTTI_OK) return;
    rank.expect(TUTTI_PEER_LOST, got, "synchronize without the holder");
    if (!rank.ok(tutti_comm_refresh(comm, nullptr), "refresh")) return;
    rank.expect(TUTTI_INVALID, model.synchronize(comm), "synchronize of what nobody has");
    rank.expect_text(tutti_last_error(),
                     {"state model on dp0", "no rank has a whole content", "tutti_state_set_revision"});
    model.fill(6, 3);  // from a checkpoint
    rank.ok(model.synchronize(comm, true), "synchronize after the checkpoint");
    model.expect(6, 3);
    rank.shared().counters[0] = 1;
  });
}

TEST(State, ATensorThatIsWrittenMeanwhileIsNoticedAndNamed) {
  until_met([] {
    Job job;
    job.ranks = 3;
    CommonMemory sent(kLarge);
    CommonMemory received(kLarge);
    return run_job(job, [&](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      tutti_comm* pair = nullptr;
      rank.ok(tutti_comm_split(comm, rank.rank() == 2 ? TUTTI_NO_COLOR : 0, 0, &pair, nullptr), "split");
      if (rank.rank() == 2) {  // writes to the sender's memory when the first chunk has come
        rank.meet();
        while (!received.has_come(kMiB) && !rank.has_failed()) std::this_thread::yield();
        sent.get()[kLarge - 1] ^= 1;
        rank.meet();
        return finish(rank, comm);
      }
      Model model(rank, kLarge, "model", rank.rank() == 0 ? sent.get() : received.get());
      if (rank.rank() == 0) model.fill(5, 12);
      rank.meet();
      const tutti_status got = model.synchronize(pair);
      if (got != TUTTI_OK) {
        rank.expect(TUTTI_INVALID, got, "synchronize of what is being written");
        rank.expect_text(tutti_last_error(), {"rank 0 (", "rank 1 (", "tensor layer", "not what it was"});
        rank.shared().counters[0] = 1;
        rank.check(model.revision() == (rank.rank() == 0 ? 12 : 0), "the revision after an error");
      }
      rank.meet();
      rank.ok(model.synchronize(pair), "synchronize again");
      rank.check(sent.get()[kLarge - 1] == received.get()[kLarge - 1], "a byte differs");
      rank.ok(tutti_comm_destroy(pair), "destroy of the pair");
      finish(rank, comm);
    });
  });
}

TEST(State, StatesThatDoNotMatchAreNamedAndTheCommunicatorWorksOn) {
  Job job;
  job.ranks = 3;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    std::vector<float> data(100, static_cast<float>(rank.rank()));
    const auto mismatch = [&](const char* what, const std::function<void(tutti_state*)>& differ,
                              std::initializer_list<std::string> parts, int strict = 0, const char* name = "model") {
      tutti_state* state = nullptr;
      rank.ok(tutti_state_create(&state, name), "state_create");
      rank.ok(tutti_state_add(state, "b", data.data(), 10, TUTTI_FLOAT32), "state_add");
      rank.ok(tutti_state_add(state, "d", data.data() + 10, 10, TUTTI_FLOAT32), "state_add");
      if (rank.rank() == 2) differ(state);
      tutti_state_options options = TUTTI_STATE_OPTIONS_INIT;
      options.strict = strict;
      rank.expect(TUTTI_INVALID, tutti_state_synchronize(state, comm, &options, nullptr), what);
      rank.expect_text(tutti_last_error(), parts);
      rank.ok(tutti_state_destroy(state), "state_destroy");
    };
    mismatch("a tensor more", [&](tutti_state* s) { tutti_state_add(s, "a", data.data() + 50, 1, TUTTI_FLOAT32); },
             {"rank 2 (", "has a tensor a,", "rank 0 ("});
    mismatch("a tensor less", [&](tutti_state* s) { tutti_state_remove(s, "d"); }, {"rank 2 (", "has no tensor d,"});
    mismatch("other counts",
             [&](tutti_state* s) {
               tutti_state_remove(s, "b");
               tutti_state_add(s, "b", data.data() + 20, 9, TUTTI_FLOAT32);
               tutti_state_remove(s, "d");
               tutti_state_add(s, "d", data.data() + 10, 10, TUTTI_INT32);
             },
             {"tensor b is 9 x float32 on rank 2 (", "10 x float32 on rank 0 (", "1 more difference"});
    mismatch(
        "another state", [](tutti_state*) {}, {"the state "}, 0, rank.rank() == 2 ? "optimizer" : "model");
    mismatch(
        "strict on one", [](tutti_state*) {}, {"rank 2 (", "strict"}, rank.rank() == 2 ? 1 : 0);
    rank.check(data[0] == static_cast<float>(rank.rank()), "something was changed");
    rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    finish(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(State, TenThousandTensorsAndASecondState) {
  Job job;
  job.ranks = 3;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    constexpr std::size_t kTensors = 10'000;
    constexpr std::size_t kCount = 60;
    std::vector<double> data(kTensors * kCount, rank.rank() == 1 ? 2.5 : 0);
    tutti_state* many = nullptr;
    rank.ok(tutti_state_create(&many, "many"), "state_create");
    for (std::size_t i = 0; i < kTensors; ++i) {  // each rank adds them in an order of its own
      const std::size_t t = (i * 7919 + static_cast<std::size_t>(rank.rank()) * 31) % kTensors;
      const std::string name = "blocks." + std::to_string(t) + ".weight";
      rank.ok(tutti_state_add(many, name.c_str(), data.data() + t * kCount, kCount, TUTTI_FLOAT64), "state_add");
    }
    if (rank.rank() == 1) rank.ok(tutti_state_set_revision(many, 1), "set_revision");
    Model model(rank, 2 * kMiB);
    model.fill(rank.rank() == 2 ? 4 : 5, rank.rank() == 2 ? 9 : 8);
    tutti_state_report report = TUTTI_STATE_REPORT_INIT;
    rank.ok(tutti_state_synchronize(many, comm, nullptr, &report), "synchronize of many tensors");
    rank.ok(model.synchronize(comm), "synchronize of the model");
    rank.check(std::all_of(data.begin(), data.end(), [](double x) { return x == 2.5; }), "a tensor was left out");
    rank.check(report.receivers == 2 && report.revision == 1, "the report is wrong");
    model.expect(4, 9);
    rank.ok(tutti_state_destroy(many), "state_destroy");
    finish(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(State, ATensorThatHasMovedIsReadAndWrittenWhereItIsNow) {
  Job job;
  job.ranks = 2;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    const int mine = rank.rank() + 1;
    std::vector<int> before(1000, -1);
    std::vector<int> after(1000, mine);
    tutti_state* state = nullptr;
    rank.ok(tutti_state_create(&state, nullptr), "state_create");
    rank.ok(tutti_state_add(state, "w", before.data(), before.size(), TUTTI_INT32), "state_add");
    rank.ok(tutti_state_move(state, "w", after.data()), "state_move");
    rank.ok(tutti_state_synchronize(state, comm, nullptr, nullptr), "synchronize");
    rank.check(after[999] == 1 && before[0] == -1, "it went to the wrong place");
    rank.ok(tutti_state_destroy(state), "state_destroy");
    finish(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(State, SomebodyWhoDoesNotCallItIsNamed) {
  Job job;
  job.ranks = 3;
  job.settings = "TUTTI_TIMEOUT=60s";
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    Model model(rank, 100);
    tutti_state_options options = TUTTI_STATE_OPTIONS_INIT;
    options.timeout_ns = 300'000'000;
    if (rank.rank() != 1) {
      rank.expect(TUTTI_TIMEOUT, tutti_state_synchronize(model.state(), comm, &options, nullptr), "synchronize");
      rank.expect_text(tutti_last_error(), {"rank 1 ("});
    }
    rank.meet();
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

}  // namespace
}  // namespace tutti_test
