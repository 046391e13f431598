// How things end: aborted, destroyed, crashed, cut, while transports hold the callers' memory. Every operation ends,
// all members name the same cause, and memory is nobody's business once its operation has ended (it is freed at once
// here, for a sanitizer to see).
#include <gtest/gtest.h>

#include "src/base/format.h"
#include "tests/engine/script.h"
#include "tests/simulation/seeds.h"

namespace tutti {
namespace {

constexpr std::uint64_t kManySeeds = 5'000;  // with TUTTI_TEST_LONG=1

ClusterOptions random_options(std::uint64_t seed) {
  Random random(seed ^ 0xe9d);
  ClusterOptions options;
  options.ranks = 2 + static_cast<int>(random.below(5));
  options.one_host = random.chance(0.4);
  options.segment_bytes = random.chance(0.5) ? 64 : 1024;
  options.eager_bytes = random.chance(0.5) ? 128 : 4096;
  options.network.pending_probability = 0.9;
  options.network.rendezvous_probability = 0.7;
  return options;
}

// Random collectives on all ranks; what happens to them happens at `when`.
class Trial {
 public:
  Trial(std::uint64_t seed, const ClusterOptions& options) : cluster_(seed, options) {
    for (int i = 0; i < 5; ++i) {
      calls_.push_back(std::make_unique<CollectiveCall>(CollectiveCall::random_kind(cluster_.random(), true),
                                                        cluster_.size(), cluster_.random()));
    }
    operations_.assign(static_cast<std::size_t>(cluster_.size()), std::vector<Operation*>(calls_.size(), nullptr));
    next_.assign(static_cast<std::size_t>(cluster_.size()), 0);
  }

  Cluster& cluster() { return cluster_; }
  Rank random_rank() {
    return static_cast<Rank>(cluster_.random().below(static_cast<std::uint64_t>(cluster_.size())));
  }

  // False if it hangs.
  bool run(const std::function<void()>& event) {
    const Instant when = cluster_.network().now() + Nanoseconds(cluster_.random().below(400'000));
    bool happened = false;
    return cluster_.run([&] {
      if (!happened && cluster_.network().now() >= when) {
        event();
        happened = true;
      }
      bool all = happened;
      for (Rank rank = 0; rank < cluster_.size(); ++rank) all &= turn(rank);
      return all;
    });
  }

  void destroy(Rank rank) {
    cluster_.node(rank).engine->destroy(cluster_.node(rank).communicator, cluster_.network().now());
    cluster_.node(rank).communicator = nullptr;
  }

  // The results of a rank's operations, in order; those that it never started are missing.
  std::vector<Status> results(Rank rank) const {
    std::vector<Status> all;
    for (const Operation* operation : operations_[static_cast<std::size_t>(rank)]) {
      if (operation != nullptr) all.push_back(operation->result());
    }
    return all;
  }

  // Whatever ended well has the right result.
  void check_results() {
    for (Rank rank = 0; rank < cluster_.size(); ++rank) {
      for (std::size_t i = 0; i < calls_.size(); ++i) {
        const Operation* const operation = operations_[static_cast<std::size_t>(rank)][i];
        if (operation != nullptr && cluster_.node(rank).alive && operation->result().is_ok()) {
          EXPECT_EQ(calls_[i]->data().check(rank), "");
        }
      }
    }
  }

 private:
  // Starts the rank's next call, perhaps, and frees what has failed. True when the rank has nothing left.
  bool turn(Rank rank) {
    Cluster::Node& node = cluster_.node(rank);
    if (!node.alive) return true;
    auto& mine = operations_[static_cast<std::size_t>(rank)];
    auto& next = next_[static_cast<std::size_t>(rank)];
    const bool can_go_on = node.communicator != nullptr && node.communicator->failure().is_ok();
    if (can_go_on && next < calls_.size() && cluster_.random().chance(0.2)) {
      mine[next] = cluster_.start(rank, calls_[next]->request(rank));
      ++next;
    }
    bool all = !can_go_on || next == calls_.size();
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (mine[i] == nullptr) continue;
      all &= mine[i]->is_complete();
      if (mine[i]->is_complete() && !mine[i]->result().is_ok()) calls_[i]->free(rank);
    }
    return all;
  }

  Cluster cluster_;
  std::vector<std::unique_ptr<CollectiveCall>> calls_;
  std::vector<std::vector<Operation*>> operations_;  // by rank, by call
  std::vector<std::size_t> next_;
};

TEST(EngineEnd, AnAbortEndsEverythingOnAllRanksWithItsReason) {
  for_seeds(150, kManySeeds, [](std::uint64_t seed) {
    Trial trial(seed, random_options(seed));
    const Rank who = trial.random_rank();
    ASSERT_TRUE(trial.run([&] {
      Cluster::Node& node = trial.cluster().node(who);
      node.engine->abort(node.communicator, Status(Code::aborted, "the user pressed the red button", who),
                         trial.cluster().network().now());
    })) << "hangs";
    for (Rank rank = 0; rank < trial.cluster().size(); ++rank) {
      for (const Status& result : trial.results(rank)) {
        if (result.is_ok()) continue;
        EXPECT_EQ(result.code(), Code::aborted) << result.text();
        EXPECT_EQ(result.culprit(), who) << result.text();
        EXPECT_NE(result.text().find("red button"), std::string::npos) << result.text();
      }
    }
    trial.check_results();
  });
}

TEST(EngineEnd, DestroyingInTheMiddleEndsTheOthersAndNamesWhoLeft) {
  for_seeds(150, kManySeeds, [](std::uint64_t seed) {
    Trial trial(seed, random_options(seed));
    const Rank who = trial.random_rank();
    ASSERT_TRUE(trial.run([&] { trial.destroy(who); })) << "hangs";
    for (Rank rank = 0; rank < trial.cluster().size(); ++rank) {
      for (const Status& result : trial.results(rank)) {
        if (result.is_ok()) continue;
        EXPECT_TRUE(result.code() == Code::peer_lost || result.code() == Code::aborted) << result.text();
        EXPECT_EQ(result.culprit(), who) << result.text();
      }
    }
    trial.check_results();
  });
}

// Everybody leaves as soon as its own part is done; nobody who still needs something may miss it.
TEST(EngineEnd, LeavingAfterTheLastResultTakesNothingFromTheOthers) {
  for_seeds(150, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    Cluster cluster(seed, options);
    CollectiveCall call(CollectiveCall::random_kind(cluster.random(), true), cluster.size(), cluster.random());
    std::vector<Operation*> operations(static_cast<std::size_t>(cluster.size()), nullptr);
    ASSERT_TRUE(cluster.run([&] {
      bool all = true;
      for (Rank rank = 0; rank < cluster.size(); ++rank) {
        Operation*& mine = operations[static_cast<std::size_t>(rank)];
        Cluster::Node& node = cluster.node(rank);
        if (mine == nullptr && cluster.random().chance(0.02)) {
          mine = cluster.start(rank, call.request(rank));
          EXPECT_NE(mine, nullptr) << node.communicator->failure().text();
          if (mine == nullptr) return true;
        }
        if (mine != nullptr && mine->is_complete() && node.communicator != nullptr) {
          EXPECT_TRUE(mine->result().is_ok()) << mine->result().text();
          node.engine->destroy(node.communicator, cluster.network().now());
          node.communicator = nullptr;
        }
        all &= node.communicator == nullptr;
      }
      return all;
    })) << "hangs";
    for (Rank rank = 0; rank < cluster.size(); ++rank) ASSERT_EQ(call.data().check(rank), "");
  });
}

TEST(EngineEnd, ACutLinkEndsWhatNeedsItAndNamesTheOtherSide) {
  for_seeds(150, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    options.one_host = false;
    Trial trial(seed, options);
    const Rank a = trial.random_rank();
    const Rank b = static_cast<Rank>((a + 1) % trial.cluster().size());
    ASSERT_TRUE(trial.run([&] {
      trial.cluster().network().cut(trial.cluster().node(a).id, trial.cluster().node(b).id);
    })) << "hangs";
    for (Rank rank = 0; rank < trial.cluster().size(); ++rank) {
      for (const Status& result : trial.results(rank)) {
        if (result.is_ok()) continue;
        EXPECT_EQ(result.code(), Code::peer_lost) << result.text();
        EXPECT_TRUE(result.culprit() == a || result.culprit() == b) << result.text();
        const bool says_how = result.text().find("was cut by the simulation") != std::string::npos ||
                              result.text().find("closed the link") != std::string::npos;  // where one saw it first
        EXPECT_TRUE(says_how) << result.text();
      }
    }
    trial.check_results();
  });
}

// Found by benchmark_recovery: by TCP, whoever had not been connected to the victim was a second late to leave.
TEST(EngineEnd, NobodyWaitsToSaySomethingToAProcessThatHasEnded) {
  ClusterOptions options;
  options.one_host = true;
  options.elastic = true;
  Cluster cluster(1, options);
  Cluster::Node& node = cluster.node(0);
  cluster.network().partition_both_ways(node.id, cluster.node(1).id);  // to connect has no answer
  OperationRequest agree;
  agree.kind = CallKind::agree;
  agree.timeout = std::chrono::seconds(2);
  cluster.start(0, agree);
  cluster.run_for(std::chrono::milliseconds(1));
  node.engine->destroy(node.communicator, cluster.network().now());
  EXPECT_FALSE(node.engine->is_drained()) << "the other is to hear that this one is gone";
  cluster.crash(1);
  EXPECT_TRUE(node.engine->is_drained());
}

// Links that fail by chance, all the time: whatever the result, every operation ends and nothing wrong counts as
// right.
TEST(EngineEnd, WithLinksThatBreakByChanceEveryOperationEnds) {
  for_seeds(150, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    options.one_host = false;
    options.fault = FaultOptions{};
    options.fault->cut_probability = 0.01;
    options.fault->delay_probability = 0.1;
    options.fault->delay_max = std::chrono::microseconds(300);
    options.fault->again_probability = 0.1;
    Trial trial(seed, options);
    ASSERT_TRUE(trial.run([] {})) << "hangs";
    trial.check_results();
  });
}

}  // namespace
}  // namespace tutti
