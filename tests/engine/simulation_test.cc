// The engine under seeded simulation: random collectives with random sizes, algorithms, roots and order, in flight
// together, over a network that delays and delivers in every form the contract allows. A failure prints its seed; to
// replay it: TUTTI_TEST_SEED=<seed> engine_simulation_test.
#include <gtest/gtest.h>

#include "tests/engine/cluster.h"
#include "tests/engine/reference.h"
#include "tests/simulation/seeds.h"

namespace tutti {
namespace {

constexpr CallKind kKinds[] = {CallKind::all_reduce, CallKind::reduce,         CallKind::broadcast,
                               CallKind::all_gather, CallKind::reduce_scatter, CallKind::all_to_all,
                               CallKind::gather,     CallKind::scatter};

// One collective on all ranks: its data, and the operations while they run.
struct Trial {
  CallKind kind{};
  std::size_t count = 0;
  Rank root = 0;
  bool in_place = false;
  std::string algorithm;
  std::vector<Ints> inputs;
  std::vector<Ints> given;  // inputs as the ranks hold them (or what holds input and output, in place)
  std::vector<Ints> outputs;
  std::vector<Operation*> operations;
};

Trial make_trial(Cluster& cluster) {
  Random& random = cluster.random();
  Trial trial;
  trial.kind = kKinds[random.below(std::size(kKinds))];
  const auto p = static_cast<std::size_t>(cluster.size());
  const std::size_t sizes[] = {0, 1, 3, 17, 64, 129, 1000, 5000};
  trial.count = sizes[random.below(std::size(sizes))];
  if (p > 4 && trial.count > 1000) trial.count = 700;
  trial.root = static_cast<Rank>(random.below(p));
  trial.in_place = random.chance(0.4) && (trial.kind == CallKind::all_reduce || trial.kind == CallKind::all_to_all ||
                                          trial.kind == CallKind::all_gather);
  if (random.chance(0.7)) {
    std::vector<const Algorithm*> fit;
    for (const Algorithm& algorithm : all_algorithms()) {
      if (algorithm.what == collective_of(trial.kind)) fit.push_back(&algorithm);
    }
    trial.algorithm = fit[random.below(fit.size())]->name;
  }
  for (std::size_t r = 0; r < p; ++r) {
    Ints input(input_elements(trial.kind, trial.count, p));
    for (auto& value : input) value = static_cast<std::int32_t>(random.next());
    trial.inputs.push_back(input);
    trial.outputs.emplace_back(output_elements(trial.kind, trial.count, p), -1);
    if (trial.in_place && trial.kind == CallKind::all_gather) {
      std::copy(input.begin(), input.end(), trial.outputs[r].begin() + static_cast<std::ptrdiff_t>(r * trial.count));
    } else if (trial.in_place) {
      trial.outputs[r] = input;
    }
  }
  trial.given = trial.inputs;
  trial.operations.assign(p, nullptr);
  return trial;
}

void start(Cluster& cluster, Trial& trial, int rank) {
  const auto r = static_cast<std::size_t>(rank);
  OperationRequest request;
  request.kind = trial.kind;
  request.count = trial.count;
  request.type = DataType::int32;
  request.root = is_rooted(collective_of(trial.kind)) ? trial.root : 0;
  request.algorithm = trial.algorithm;
  request.in_place = trial.in_place;
  request.output = reinterpret_cast<std::byte*>(trial.outputs[r].data());
  request.input = reinterpret_cast<const std::byte*>(trial.given[r].data());
  if (trial.in_place)
    request.input =
        request.output + (trial.kind == CallKind::all_gather ? r * trial.count * sizeof(std::int32_t) : 0);
  request.timeout = std::chrono::seconds(20);
  trial.operations[r] = cluster.start(rank, request);
}

void check(const Trial& trial, std::uint64_t seed) {
  const std::vector<Ints> expected = reference(trial.kind, trial.inputs, trial.count, trial.root);
  for (std::size_t r = 0; r < trial.inputs.size(); ++r) {
    ASSERT_TRUE(trial.operations[r]->result().is_ok())
        << "seed " << seed << ": " << trial.operations[r]->result().text();
    if (expected[r].empty()) continue;
    ASSERT_EQ(trial.outputs[r], expected[r])
        << "seed " << seed << ": " << name(trial.kind) << " by " << trial.algorithm << ", count " << trial.count
        << ", root " << trial.root << ", in place " << trial.in_place << ", rank " << r;
    if (!trial.in_place) {
      ASSERT_EQ(trial.given[r], trial.inputs[r]) << "seed " << seed << ": the input of rank " << r << " was changed";
    }
  }
}

ClusterOptions random_options(std::uint64_t seed) {
  Random random(seed ^ 0x5eed);
  ClusterOptions options;
  options.ranks = 1 + static_cast<int>(random.below(8));
  options.one_host = random.chance(0.5);
  options.segment_bytes = random.chance(0.5) ? 64 : 1024;
  options.eager_bytes = random.chance(0.5) ? 128 : 4096;
  options.network.again_probability = random.chance(0.3) ? 0.2 : 0;
  if (random.chance(0.3)) options.network.queue_frames = 4;
  if (seed % 2 == 0) options.network.lent_buffers = 1 + random.below(8);
  return options;
}

void run_seed(std::uint64_t seed) {
  Cluster cluster(seed, random_options(seed));
  constexpr int kTrials = 6;
  std::vector<Trial> trials;
  for (int t = 0; t < kTrials; ++t) trials.push_back(make_trial(cluster));
  // Every rank starts them in the same order, but whenever it likes.
  std::vector<std::size_t> next(static_cast<std::size_t>(cluster.size()), 0);
  const bool finished = cluster.run([&] {
    bool all = true;
    for (int rank = 0; rank < cluster.size(); ++rank) {
      auto& at = next[static_cast<std::size_t>(rank)];
      if (at < trials.size() && cluster.random().chance(0.2)) start(cluster, trials[at++], rank);
      all &= at == trials.size();
      for (std::size_t t = 0; t < at; ++t) {
        const Operation* operation = trials[t].operations[static_cast<std::size_t>(rank)];
        EXPECT_NE(operation, nullptr) << "seed " << seed
                                      << ": not started: " << cluster.node(rank).communicator->failure().text();
        if (operation == nullptr) return true;
        all &= operation->is_complete();
      }
    }
    return all;
  });
  ASSERT_TRUE(finished) << "seed " << seed << " hangs";
  for (const Trial& trial : trials) {
    check(trial, seed);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(EngineSimulation, RandomCollectivesGiveTheReferenceResult) { for_seeds(300, 20'000, run_seed); }

// 11: a board that counted what it had published as progress, for ever. 435: deliveries held for one operation filled
// the queue in which another's were to come.
TEST(EngineSimulation, SeedsThatOnceFailedPass) {
  for (const std::uint64_t seed : {11, 435}) run_seed(seed);
}

// A rank dies at a random moment: every other one ends every operation, the ones that fail all with the same culprit.
void run_crash_seed(std::uint64_t seed) {
  ClusterOptions options = random_options(seed);
  options.ranks = 2 + options.ranks % 6;
  Cluster cluster(seed, options);
  std::vector<Trial> trials;
  for (int t = 0; t < 4; ++t) trials.push_back(make_trial(cluster));
  const int victim = static_cast<int>(cluster.random().below(static_cast<std::uint64_t>(cluster.size())));
  const Instant death =
      cluster.network().now() + Nanoseconds(static_cast<std::int64_t>(cluster.random().below(600'000)));
  std::vector<std::size_t> next(static_cast<std::size_t>(cluster.size()), 0);
  const bool finished = cluster.run([&] {
    if (cluster.node(victim).alive && cluster.network().now() >= death) cluster.crash(victim);
    bool all = true;
    for (int rank = 0; rank < cluster.size(); ++rank) {
      if (!cluster.node(rank).alive) continue;
      auto& at = next[static_cast<std::size_t>(rank)];
      if (at < trials.size() && cluster.random().chance(0.2)) start(cluster, trials[at++], rank);
      all &= at == trials.size();
      for (std::size_t t = 0; t < at; ++t) {
        const Operation* operation = trials[t].operations[static_cast<std::size_t>(rank)];
        all &= operation == nullptr || operation->is_complete();
      }
    }
    return all;
  });
  ASSERT_TRUE(finished) << "seed " << seed << " hangs";
  for (int rank = 0; rank < cluster.size(); ++rank) {
    const Status& failure = cluster.node(rank).communicator->failure();
    if (rank == victim || failure.is_ok()) continue;
    EXPECT_EQ(failure.code(), Code::peer_lost) << "seed " << seed << ", rank " << rank << ": " << failure.text();
    EXPECT_EQ(failure.culprit(), victim) << "seed " << seed << ", rank " << rank << ": " << failure.text();
  }
}

TEST(EngineSimulation, ACrashEndsEveryOperationAndNamesTheCulprit) { for_seeds(300, 20'000, run_crash_seed); }

}  // namespace
}  // namespace tutti
