// Elastic communicators over the simulated network: whatever is cut, crashed, aborted or destroyed at whatever
// moment, every operation ends the same way on all that survive, with the right result or with its input back, and
// they agree on who goes on. Checked from outside.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "src/base/format.h"
#include "src/engine/roll.h"
#include "tests/engine/script.h"

namespace tutti {
namespace {

std::uint64_t seeds(std::uint64_t few) { return std::getenv("TUTTI_TEST_LONG") != nullptr ? 20'000 : few; }

void for_seeds(std::uint64_t few, void (*run)(std::uint64_t)) {
  const char* const one = std::getenv("TUTTI_TEST_SEED");
  const std::uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const std::uint64_t last = one != nullptr ? first : seeds(few);
  for (std::uint64_t seed = first; seed <= last && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(format("seed {}: TUTTI_TEST_SEED={} engine_simulation_elastic_test", seed, seed));
    run(seed);
  }
}

ClusterOptions random_options(std::uint64_t seed) {
  Random random(seed ^ 0xe1a5);
  ClusterOptions options;
  options.elastic = true;
  options.ranks = 2 + static_cast<int>(random.below(6));
  options.one_host = random.chance(0.5);
  options.segment_bytes = random.chance(0.5) ? 64 : 1024;
  options.eager_bytes = random.chance(0.5) ? 128 : 4096;
  options.network.pending_probability = 0.5;
  options.network.rendezvous_probability = 0.5;
  return options;
}

// All-reduces of integers, in place and not, whose sums tell who has been added.
class Trial {
 public:
  static constexpr int kCalls = 8;

  Trial(std::uint64_t seed, const ClusterOptions& options) : cluster_(seed, options) {
    for (int i = 0; i < kCalls; ++i) {
      in_place_.push_back(cluster_.random().chance(0.5));
      counts_.push_back(1 + cluster_.random().below(cluster_.random().chance(0.5) ? 20 : 900));
    }
    const auto ranks = static_cast<std::size_t>(cluster_.size());
    buffers_.resize(ranks);
    outputs_.resize(ranks);
    operations_.assign(ranks, std::vector<Operation*>(kCalls, nullptr));
    next_.assign(ranks, 0);
    for (Rank rank = 0; rank < cluster_.size(); ++rank) {
      for (int i = 0; i < kCalls; ++i) {
        std::vector<std::int64_t> values(counts_[static_cast<std::size_t>(i)]);
        for (std::size_t e = 0; e < values.size(); ++e) values[e] = input(rank, i, e);
        buffers_[static_cast<std::size_t>(rank)].push_back(values);
        outputs_[static_cast<std::size_t>(rank)].push_back(std::vector<std::int64_t>(values.size(), -1));
      }
    }
  }

  Cluster& cluster() { return cluster_; }
  Rank random_rank() {
    return static_cast<Rank>(cluster_.random().below(static_cast<std::uint64_t>(cluster_.size())));
  }
  Instant random_instant(std::uint64_t within_ns = 400'000) {
    return cluster_.network().now() + Nanoseconds(cluster_.random().below(within_ns));
  }
  Communicator* communicator(Rank rank) { return cluster_.node(rank).communicator; }
  Engine& engine(Rank rank) { return *cluster_.node(rank).engine; }
  bool is_there(Rank rank) { return cluster_.node(rank).alive && communicator(rank) != nullptr; }
  void destroy(Rank rank) {
    engine(rank).destroy(communicator(rank), cluster_.network().now());
    cluster_.node(rank).communicator = nullptr;
  }

  // Events happen at their instants; false if some member has an operation that does not end.
  bool run(std::multimap<Instant, std::function<void()>> events) {
    return cluster_.run([&] {
      while (!events.empty() && events.begin()->first <= cluster_.network().now()) {
        events.begin()->second();
        events.erase(events.begin());
      }
      bool all = events.empty();
      for (Rank rank = 0; rank < cluster_.size(); ++rank) all &= turn(rank);
      return all;
    });
  }

  // Every operation that ended: everywhere alike, with the sum of all or with the input as it was.
  void check(const std::set<Rank>& survivors) {
    for (int i = 0; i < kCalls; ++i) {
      const Operation* first = nullptr;
      for (const Rank rank : survivors) {
        const Operation* const operation = operations_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(i)];
        if (operation == nullptr) continue;
        ASSERT_TRUE(operation->is_complete());
        if (first == nullptr) first = operation;
        EXPECT_EQ(operation->result().text(), first->result().text())
            << "call " << i << " of rank " << rank << " ends otherwise than elsewhere";
        EXPECT_EQ(operation->result().culprit(), first->result().culprit());
        check_values(rank, i, operation->result().is_ok());
      }
      for (const Rank rank : survivors) {  // what succeeded anywhere was called everywhere
        if (first != nullptr && first->result().is_ok()) {
          EXPECT_NE(operations_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(i)], nullptr);
        }
      }
    }
  }

  std::size_t completed(Rank rank) const {
    std::size_t good = 0;
    for (const Operation* operation : operations_[static_cast<std::size_t>(rank)])
      good += operation != nullptr && operation->is_complete() && operation->result().is_ok();
    return good;
  }

 private:
  static std::int64_t input(Rank rank, int call, std::size_t element) {
    return (std::int64_t{1} << (6 * rank)) + call * 7 + static_cast<std::int64_t>(element % 5);
  }

  void check_values(Rank rank, int call, bool succeeded) {
    const auto c = static_cast<std::size_t>(call);
    const auto& values = buffers_[static_cast<std::size_t>(rank)][c];
    const auto& output = in_place_[c] ? values : outputs_[static_cast<std::size_t>(rank)][c];
    for (std::size_t e = 0; e < values.size(); ++e) {
      std::int64_t sum = 0;
      for (Rank r = 0; r < cluster_.size(); ++r) sum += input(r, call, e);
      if (succeeded) {
        ASSERT_EQ(output[e], sum) << "call " << call << " of rank " << rank << ", element " << e;
      } else {
        ASSERT_EQ(values[e], input(rank, call, e)) << "call " << call << " of rank " << rank << " spoilt its input";
      }
    }
  }

  bool turn(Rank rank) {
    if (!is_there(rank)) return true;
    const auto r = static_cast<std::size_t>(rank);
    auto& next = next_[r];
    if (next < kCalls && cluster_.random().chance(0.2)) {
      const auto call = static_cast<std::size_t>(next);
      OperationRequest request;
      request.kind = CallKind::all_reduce;
      request.type = DataType::int64;
      request.op = ReduceOp::sum;
      request.count = counts_[call];
      request.input = reinterpret_cast<const std::byte*>(buffers_[r][call].data());
      request.output =
          reinterpret_cast<std::byte*>(in_place_[call] ? buffers_[r][call].data() : outputs_[r][call].data());
      request.in_place = in_place_[call];
      request.timeout = std::chrono::seconds(20);
      operations_[r][call] = cluster_.start(rank, request);
      ++next;
    }
    const Council& council = *communicator(rank)->council();
    bool all = council.stage != Council::Stage::frozen && (next == kCalls || council.is_over());
    for (const Operation* operation : operations_[r]) all &= operation == nullptr || operation->is_complete();
    return all;
  }

  Cluster cluster_;
  std::vector<bool> in_place_;
  std::vector<std::size_t> counts_;
  std::vector<std::vector<std::vector<std::int64_t>>> buffers_;  // by rank, by call
  std::vector<std::vector<std::vector<std::int64_t>>> outputs_;
  std::vector<std::vector<Operation*>> operations_;
  std::vector<int> next_;
};

std::set<Rank> those_alive(Trial& trial) {
  std::set<Rank> alive;
  for (Rank rank = 0; rank < trial.cluster().size(); ++rank) {
    if (trial.is_there(rank)) alive.insert(rank);
  }
  return alive;
}

// Those that have one verdict and are not left out by it. All that are alive must have the same.
std::set<Rank> survivors_by_verdict(Trial& trial) {
  std::set<Rank> survivors;
  const Verdict* verdict = nullptr;
  for (const Rank rank : those_alive(trial)) {
    const Council& council = *trial.communicator(rank)->council();
    if (council.stage != Council::Stage::judged) continue;
    if (verdict == nullptr) verdict = &council.verdict;
    EXPECT_EQ(council.verdict.lost, verdict->lost);
    EXPECT_EQ(council.verdict.complete, verdict->complete);
    EXPECT_EQ(council.verdict.why.text(), verdict->why.text());
    if (!verdict->has_lost(rank)) survivors.insert(rank);
  }
  return survivors;
}

// Everything had ended before anybody noticed, if there was anything to notice.
bool all_was_done(Trial& trial) {
  const std::set<Rank> alive = those_alive(trial);
  return std::all_of(alive.begin(), alive.end(), [&](Rank rank) {
    return trial.communicator(rank)->failure().is_ok() && trial.completed(rank) == std::size_t{Trial::kCalls};
  });
}

// The survivors call the roll: one list, in which all of them are that still live.
void check_roll(Trial& trial, const std::set<Rank>& survivors) {
  for (const Rank rank : survivors) {
    EXPECT_TRUE(trial.engine(rank)
                    .begin_next(trial.communicator(rank), format("rank {}", rank), trial.cluster().network().now())
                    .is_ok());
  }
  ASSERT_TRUE(trial.cluster().run([&] {
    return std::all_of(survivors.begin(), survivors.end(),
                       [&](Rank rank) { return trial.communicator(rank)->council()->next.has_value(); });
  })) << "the roll does not end";
  for (const Rank rank : survivors) {
    const Council& council = *trial.communicator(rank)->council();
    const auto roll = decode_roll(*council.next, council.survivors.size());
    ASSERT_TRUE(roll.is_ok()) << roll.status().text();
    for (std::size_t place = 0; place < council.survivors.size(); ++place) {
      const Rank each = council.survivors[place];  // some have died since the verdict
      const std::optional<std::string> name = format("rank {}", each);
      EXPECT_EQ((*roll)[place], survivors.contains(each) ? name : std::nullopt);
    }
  }
}

TEST(Elastic, WithoutTroubleEverythingCompletesEverywhere) {
  for_seeds(150, [](std::uint64_t seed) {
    Trial trial(seed, random_options(seed));
    ASSERT_TRUE(trial.run({})) << "hangs";
    trial.check(those_alive(trial));
    for (const Rank rank : those_alive(trial)) EXPECT_EQ(trial.completed(rank), std::size_t{Trial::kCalls});
    EXPECT_TRUE(trial.cluster().log().empty()) << trial.cluster().log()[0];
  });
}

TEST(Elastic, ACrashEndsEverythingAlikeAndTheSurvivorsGoOnTogether) {
  for_seeds(400, [](std::uint64_t seed) {
    Trial trial(seed, random_options(seed));
    const Rank victim = trial.random_rank();
    const bool may_stop = trial.cluster().size() == 2 && victim == 0;  // rank 1 alone is half without rank 0
    ASSERT_TRUE(trial.run({{trial.random_instant(), [&] { trial.cluster().crash(victim); }}})) << "hangs";
    if (all_was_done(trial)) return trial.check(those_alive(trial));
    const std::set<Rank> survivors = survivors_by_verdict(trial);
    if (survivors.empty() && may_stop) return;
    EXPECT_EQ(survivors, those_alive(trial));
    trial.check(survivors);
    for (const Rank rank : survivors) {
      EXPECT_EQ(trial.communicator(rank)->council()->verdict.lost, std::vector<Rank>{victim});
      EXPECT_EQ(trial.communicator(rank)->failure().culprit(), victim) << trial.communicator(rank)->failure().text();
    }
    check_roll(trial, survivors);
  });
}

TEST(Elastic, OnOneHostAllButOneMayDieAtAnyMoment) {
  for_seeds(300, [](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    options.one_host = true;
    Trial trial(seed, options);
    const Rank last = trial.random_rank();
    std::multimap<Instant, std::function<void()>> events;
    for (Rank rank = 0; rank < trial.cluster().size(); ++rank) {
      if (rank != last) events.emplace(trial.random_instant(), [&trial, rank] { trial.cluster().crash(rank); });
    }
    ASSERT_TRUE(trial.run(std::move(events))) << "hangs";
    if (all_was_done(trial)) return trial.check({last});
    const std::set<Rank> survivors = survivors_by_verdict(trial);
    EXPECT_EQ(survivors, std::set<Rank>{last});
    trial.check(survivors);
    check_roll(trial, survivors);
  });
}

// The others go on without it, and have ended when it wakes: it must not take their deaths for a licence to go on
// alone.
TEST(Elastic, WhoHasSleptThroughAVerdictStopsWhateverHasBecomeOfTheOthers) {
  for_seeds(150, [](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    options.one_host = true;
    options.ranks = 3 + static_cast<int>(seed % 4);
    Trial trial(seed, options);
    const Rank sleeper = trial.random_rank();
    Cluster& cluster = trial.cluster();
    cluster.run_for(Nanoseconds(cluster.random().below(200'000)));
    cluster.stop(sleeper);
    const Rank caller = (sleeper + 1) % cluster.size();
    trial.engine(caller).revoke(trial.communicator(caller), Status(Code::aborted, "a refresh", caller),
                                cluster.network().now());
    const auto all_but_it = [&](auto&& holds) {
      bool all = true;
      for (Rank rank = 0; rank < cluster.size(); ++rank) all &= rank == sleeper || holds(rank);
      return all;
    };
    ASSERT_TRUE(cluster.run([&] {
      return all_but_it([&](Rank rank) { return trial.communicator(rank)->council()->is_over(); });
    })) << "hangs";
    for (Rank rank = 0; rank < cluster.size(); ++rank) {
      if (rank == sleeper) continue;
      EXPECT_EQ(trial.communicator(rank)->council()->verdict.lost, std::vector<Rank>{sleeper});
      EXPECT_EQ(trial.communicator(rank)->failure().culprit(), sleeper);
      cluster.crash(rank);
    }
    cluster.resume(sleeper);
    ASSERT_TRUE(cluster.run([&] { return trial.communicator(sleeper)->council()->is_over(); })) << "hangs";
    const Communicator& left_behind = *trial.communicator(sleeper);  // it may have heard of the verdict
    EXPECT_TRUE(left_behind.council()->stage == Council::Stage::stopped || left_behind.verdict_excludes_self())
        << "it went on alone";
  });
}

TEST(Elastic, ARevocationFindsTheOthersInTheMiddleAndLosesNobody) {
  for_seeds(200, [](std::uint64_t seed) {
    Trial trial(seed, random_options(seed));
    const Rank who = trial.random_rank();
    ASSERT_TRUE(trial.run({{trial.random_instant(),
                            [&] {
                              trial.engine(who).revoke(trial.communicator(who),
                                                       Status(Code::aborted, "somebody wants to join", who),
                                                       trial.cluster().network().now());
                            }}}))
        << "hangs";
    const std::set<Rank> survivors = survivors_by_verdict(trial);
    EXPECT_EQ(survivors.size(), static_cast<std::size_t>(trial.cluster().size()));
    trial.check(survivors);
    for (const Rank rank : survivors) EXPECT_EQ(trial.communicator(rank)->failure().text(), "somebody wants to join");
    check_roll(trial, survivors);
  });
}

TEST(Elastic, WhoDestroysItsEndIsMissedOnlyWhereItIsNeeded) {
  for_seeds(200, [](std::uint64_t seed) {
    Trial trial(seed, random_options(seed));
    const Rank who = trial.random_rank();
    ASSERT_TRUE(trial.run({{trial.random_instant(), [&] { trial.destroy(who); }}})) << "hangs";
    if (all_was_done(trial)) return trial.check(those_alive(trial));
    const std::set<Rank> survivors = survivors_by_verdict(trial);
    trial.check(survivors);
    EXPECT_EQ(survivors, those_alive(trial));
  });
}

}  // namespace
}  // namespace tutti
