// Ranks that are stopped or late, at any moment of any collective: every rank that waits says whose fault it is
// within the bound, all name the same, nobody who merely waits himself is named, and nothing is ended by it. To
// replay a failure: TUTTI_TEST_SEED=<seed> engine_simulation_stragglers_test.
#include <gtest/gtest.h>

#include <cstdlib>

#include "src/base/format.h"
#include "tests/engine/script.h"

namespace tutti {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::vector<std::uint64_t> seeds(std::uint64_t count) {
  if (const char* const one = std::getenv("TUTTI_TEST_SEED")) return {std::strtoull(one, nullptr, 10)};
  if (std::getenv("TUTTI_TEST_LONG") != nullptr) count *= 50;
  std::vector<std::uint64_t> all;
  for (std::uint64_t seed = 1; seed <= count; ++seed) all.push_back(seed);
  return all;
}

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
  for (const std::uint64_t seed : seeds(300)) {
    SCOPED_TRACE(format("seed {}", seed));
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
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(reports, seeds(300).size()) << "hardly anybody has waited";
}

TEST(Stragglers, AMemberThatComputesForLongIsNamedAsTheOneWhoHasNotCalled) {
  std::size_t reports = 0;
  for (const std::uint64_t seed : seeds(300)) {
    SCOPED_TRACE(format("seed {}", seed));
    Trial trial(seed);
    trial.run_until_trouble(milliseconds(2));
    trial.silence_culprit(false);
    trial.run_for(milliseconds(2100));
    trial.check_reports("has not called it");
    reports += trial.reports();
    trial.silence_culprit(true);
    trial.expect_a_good_end();
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(reports, seeds(300).size()) << "hardly anybody has waited";
}

}  // namespace
}  // namespace tutti
