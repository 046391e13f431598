// Ranks that are stopped or late, at any moment of any collective: every rank that waits says whose fault it is
// within the bound, all name the same, nobody who merely waits himself is named, and nothing is ended by it. To
// replay a failure: TUTTI_TEST_SEED=<seed> engine_simulation_stragglers_test.
#include <gtest/gtest.h>

#include "src/base/format.h"
#include "tests/engine/script.h"
#include "tests/simulation/seeds.h"

namespace tutti {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

constexpr int kCalls = 5;

// A few collectives of random kinds on all ranks, one of which is stopped, or does not call any more, at some moment.
class Trial {
 public:
  explicit Trial(std::uint64_t seed) : cluster_(seed, options(seed)), script_(cluster_) {
    const int ranks = cluster_.size();
    culprit_ = static_cast<int>(cluster_.random().below(static_cast<std::uint64_t>(ranks)));
    waits_for_each_ = cluster_.random().chance(0.5);
    last_.assign(static_cast<std::size_t>(ranks), nullptr);
    for (int i = 0; i < kCalls; ++i) {
      calls_.push_back(std::make_unique<CollectiveCall>(CollectiveCall::random_kind(cluster_.random(), true), ranks,
                                                        cluster_.random()));
      for (int rank = 0; rank < ranks; ++rank) {
        script_.add(rank, "calls", [this, rank, call = calls_.back().get()] { return start(rank, *call); });
      }
    }
  }

  static ClusterOptions options(std::uint64_t seed) {
    Random random(seed * 31);
    ClusterOptions options;
    options.ranks = static_cast<int>(2 + random.below(7));
    options.one_host = random.chance(0.5);
    options.elastic = random.chance(0.5);
    options.timeout = seconds(300);
    return options;
  }

  // Somewhere between the first connection and after the last call.
  void run_until_trouble(Nanoseconds most) {
    const Instant trouble =
        cluster_.network().now() + Nanoseconds(cluster_.random().below(static_cast<std::uint64_t>(most.count())));
    cluster_.run([&] { return script_.turn() || cluster_.network().now() >= trouble; });
    since_ = cluster_.network().now();
  }

  void run_for(Nanoseconds time) {
    cluster_.run([&] { return script_.turn() && false; }, time);
  }

  // `text`: what must be said of the culprit. Every rank that has waited from the beginning has said so, in time.
  void check_reports(const std::string& text) {
    const std::string name = format("rank {} (host", culprit_);
    std::vector<bool> said(static_cast<std::size_t>(cluster_.size()));
    for (const Cluster::Line& line : cluster_.lines()) {
      EXPECT_TRUE(contains(line.text, name)) << "another is named: " << line.text;
      EXPECT_TRUE(contains(line.text, text)) << line.text;
      EXPECT_LE(line.at - since_, seconds(2)) << "late: " << line.text;
      said[static_cast<std::size_t>(line.process)] = true;
    }
    for (int rank = 0; rank < cluster_.size(); ++rank) {
      const auto reports =
          cluster_.node(rank).engine->stragglers(cluster_.node(rank).communicator, cluster_.network().now());
      const bool waits = rank != culprit_ && cluster_.node(rank).communicator->pending() > 0;
      EXPECT_EQ(said[static_cast<std::size_t>(rank)], waits) << "rank " << rank;
      ASSERT_EQ(reports.size(), waits ? 1 : 0) << "rank " << rank;
      for (const StragglerReport& report : reports) EXPECT_EQ(report.who.rank, culprit_);
      EXPECT_TRUE(cluster_.node(rank).communicator->failure().is_ok());
    }
    lines_checked_ = cluster_.lines().size();
  }

  void expect_a_good_end() {
    ASSERT_TRUE(script_.run());
    for (const Operation* operation : script_.operations())
      ASSERT_TRUE(operation->result().is_ok()) << operation->result().text();
    for (const auto& call : calls_) {
      for (Rank rank = 0; rank < cluster_.size(); ++rank) ASSERT_EQ(call->data().check(rank), "");
    }
    for (std::size_t i = lines_checked_; i < cluster_.lines().size(); ++i) {
      const std::string& text = cluster_.lines()[i].text;
      EXPECT_TRUE(contains(text, format("rank {} (host", culprit_)) && contains(text, "came after all")) << text;
    }
    for (int rank = 0; rank < cluster_.size(); ++rank) {
      EXPECT_TRUE(
          cluster_.node(rank).engine->stragglers(cluster_.node(rank).communicator, cluster_.network().now()).empty());
    }
  }

  Cluster& cluster() { return cluster_; }
  int culprit() const { return culprit_; }
  void silence_culprit(bool calls) { culprit_calls_ = calls; }
  std::size_t reports() const { return lines_checked_; }

 private:
  Operation* start(int rank, CollectiveCall& call) {
    Operation*& last = last_[static_cast<std::size_t>(rank)];
    if (rank == culprit_ && !culprit_calls_) return nullptr;
    if (waits_for_each_ && last != nullptr && !last->is_complete()) return nullptr;
    return last = cluster_.start(rank, call.request(rank));
  }

  Cluster cluster_;
  Script script_;
  std::vector<std::unique_ptr<CollectiveCall>> calls_;
  std::vector<Operation*> last_;  // by rank
  int culprit_ = 0;
  bool waits_for_each_ = false;
  bool culprit_calls_ = true;
  Instant since_{};
  std::size_t lines_checked_ = 0;
};

TEST(Stragglers, AStoppedMemberAndNobodyElseIsNamedByAllWhoWait) {
  std::size_t reports = 0;
  std::size_t trials = 0;
  for_seeds(300, 15'000, [&](std::uint64_t seed) {
    ++trials;
    Trial trial(seed);
    trial.run_until_trouble(milliseconds(2));
    trial.cluster().stop(trial.culprit());
    trial.silence_culprit(false);
    trial.run_for(milliseconds(2100));
    trial.check_reports(Trial::options(seed).one_host ? "is stopped (state T)" : "does not answer");
    reports += trial.reports();
    trial.run_for(seconds(3));
    trial.cluster().resume(trial.culprit());
    trial.silence_culprit(true);
    trial.expect_a_good_end();
  });
  if (trials > 1) {
    EXPECT_GT(reports, trials) << "hardly anybody has waited";
  }
}

TEST(Stragglers, AMemberThatComputesForLongIsNamedAsTheOneWhoHasNotCalled) {
  std::size_t reports = 0;
  std::size_t trials = 0;
  for_seeds(300, 15'000, [&](std::uint64_t seed) {
    ++trials;
    Trial trial(seed);
    trial.run_until_trouble(milliseconds(2));
    trial.silence_culprit(false);
    trial.run_for(milliseconds(2100));
    trial.check_reports("has not called it");
    reports += trial.reports();
    trial.silence_culprit(true);
    trial.expect_a_good_end();
  });
  if (trials > 1) {
    EXPECT_GT(reports, trials) << "hardly anybody has waited";
  }
}

// Elastic, by the policy: after the limit all others end with one story, and the late one learns it.
TEST(Stragglers, UnderThePolicyOfExclusionAllOthersGoOnWithout) {
  for_seeds(200, 10'000, [](std::uint64_t seed) {
    ClusterOptions options;
    Random random(seed);
    options.ranks = static_cast<int>(3 + random.below(6));
    options.one_host = random.chance(0.5);
    options.elastic = true;
    options.stragglers.excludes = true;
    options.stragglers.limit = seconds(4);
    const bool stops = random.chance(0.5);
    Cluster cluster(seed, options);
    const int late = static_cast<int>(random.below(static_cast<std::uint64_t>(options.ranks)));
    Script script(cluster);
    CollectiveCall call(CallKind::all_reduce, options.ranks, cluster.random());
    for (int rank = 0; rank < options.ranks; ++rank) {
      if (rank == late) continue;
      script.add(rank, "calls", [&, rank] { return cluster.start(rank, call.request(rank)); });
    }
    const Instant began = cluster.network().now();
    if (stops) cluster.stop(late);
    ASSERT_TRUE(script.run());
    const Nanoseconds took = cluster.network().now() - began;
    EXPECT_GE(took, seconds(4));
    EXPECT_LE(took, stops ? milliseconds(4000 + 5000 + 700) : milliseconds(4700));
    const Status& first = cluster.node(late == 0 ? 1 : 0).communicator->failure();
    EXPECT_EQ(first.code(), Code::peer_lost);
    EXPECT_EQ(first.culprit(), late) << first.text();
    EXPECT_TRUE(contains(first.text(), "Excluded by TUTTI_STRAGGLER_POLICY")) << first.text();
    for (int rank = 0; rank < options.ranks; ++rank) {
      if (rank == late) continue;
      EXPECT_EQ(cluster.node(rank).communicator->failure().text(), first.text());
    }
    // Without elements there is nothing that the late one could have brought.
    const bool is_empty = call.request(0).count == 0;
    for (const Operation* operation : script.operations())
      EXPECT_EQ(operation->result().text(), is_empty ? "" : first.text());
    if (stops) cluster.resume(late);
    const Communicator& theirs = *cluster.node(late).communicator;
    ASSERT_TRUE(cluster.run([&] { return !theirs.failure().is_ok() && theirs.council()->is_over(); }, seconds(30)));
    EXPECT_EQ(theirs.failure().code(), Code::peer_lost) << theirs.failure().text();
  });
}

}  // namespace
}  // namespace tutti
