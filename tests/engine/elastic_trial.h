// ElasticTrial: a simulated cluster with an elastic communicator, whose ranks add integers, in place and not, while a
// test crashes, revokes and destroys at random moments; and what has to hold afterwards, seen from outside.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/engine/cluster.h"

namespace tutti {

constexpr std::uint64_t kManySeeds = 20'000;  // with TUTTI_TEST_LONG=1

ClusterOptions random_options(std::uint64_t seed);

// Sums tell who has been added. By step (ClusterOptions), every third call is an agree.
class ElasticTrial {
 public:
  static constexpr int kCalls = 9;

  ElasticTrial(std::uint64_t seed, const ClusterOptions& options);

  Cluster& cluster() { return cluster_; }
  Rank random_rank();
  Instant random_instant(std::uint64_t within_ns = 400'000);
  Communicator* communicator(Rank rank) { return cluster_.node(rank).communicator; }
  Engine& engine(Rank rank) { return *cluster_.node(rank).engine; }
  bool is_there(Rank rank) { return cluster_.node(rank).alive && communicator(rank) != nullptr; }
  void destroy(Rank rank);
  void leave(Rank rank);
  void revoke(Rank rank, const std::string& why);
  void stop_calling(Rank rank) { next_[static_cast<std::size_t>(rank)] = kCalls; }

  // Events happen at their instants; false if some member has an operation that does not end.
  bool run(std::multimap<Instant, std::function<void()>> events);

  // The same, with one that somebody revokes the communicator.
  bool run_with_a_revocation();

  // All but this one have come to the end of their council; false: they do not.
  bool run_until_others_are_over(Rank one);
  // Then: they have lost it, and end. It must have learnt so, or stop.
  void check_goes_not_on_alone(Rank one, const std::function<void()>& when_others_ended);

  // Every operation that ended: everywhere alike, with the sum of all or with the input as it was.
  void check(const std::set<Rank>& survivors);
  // By step: every agree ended everywhere alike, and well only where all before it were complete everywhere; every
  // sum that was reported is right.
  void check_steps(const std::set<Rank>& survivors);

  std::size_t completed(Rank rank) const;
  bool is_agree(int call) const { return by_step_ && call % 3 == 2; }
  const Operation* operation(Rank rank, int call) const {
    return operations_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(call)];
  }

  std::set<Rank> those_alive();
  // Those that have one verdict and are not left out by it. All that are alive must have the same.
  std::set<Rank> survivors_by_verdict();
  // Everything had ended before anybody noticed, if there was anything to notice.
  bool all_was_done();
  // What a rank contributes to the roll.
  static std::string roll_call(Rank rank) { return "rank " + std::to_string(rank); }
  // The survivors call the roll: one list, in which all of them are that still live.
  void check_roll(const std::set<Rank>& survivors);

 private:
  static std::int64_t input(Rank rank, int call, std::size_t element);
  void check_values(Rank rank, int call, bool succeeded);
  bool turn(Rank rank);

  Cluster cluster_;
  const bool by_step_;
  std::vector<bool> in_place_;
  std::vector<std::size_t> counts_;
  std::vector<std::vector<std::vector<std::int64_t>>> buffers_;  // by rank, by call
  std::vector<std::vector<std::vector<std::int64_t>>> outputs_;
  std::vector<std::vector<Operation*>> operations_;
  std::vector<int> next_;
};

}  // namespace tutti
