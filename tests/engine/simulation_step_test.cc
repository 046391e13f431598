// The cheap mode of elastic communicators, and members that leave, over the simulated network: operations end when
// their rank is done, and whatever happens, an agree says the same to all survivors, and never too much.
#include <gtest/gtest.h>

#include "tests/engine/elastic_trial.h"
#include "tests/simulation/seeds.h"

namespace tutti {
namespace {

ClusterOptions by_step(std::uint64_t seed) {
  ClusterOptions options = random_options(seed);
  options.by_step = true;
  return options;
}

OperationRequest call(CallKind kind) {
  OperationRequest request;
  request.kind = kind;
  request.timeout = std::chrono::seconds(2);
  return request;
}

OperationRequest broadcast_of(std::int32_t& value) {
  OperationRequest request = call(CallKind::broadcast);
  request.type = DataType::int32;
  request.count = 1;
  request.input = request.output = reinterpret_cast<std::byte*>(&value);
  request.in_place = true;
  return request;
}

bool are_complete(const std::vector<const Operation*>& operations) {
  return std::all_of(operations.begin(), operations.end(), [](const Operation* each) { return each->is_complete(); });
}

TEST(ElasticStep, WithoutTroubleEveryStepEndsWell) {
  for_seeds(150, kManySeeds, [](std::uint64_t seed) {
    ElasticTrial trial(seed, by_step(seed));
    ASSERT_TRUE(trial.run({})) << "hangs";
    trial.check_steps(trial.those_alive());
    for (const Rank rank : trial.those_alive()) EXPECT_EQ(trial.completed(rank), std::size_t{ElasticTrial::kCalls});
    EXPECT_TRUE(trial.cluster().log().empty()) << trial.cluster().log()[0];
  });
}

TEST(ElasticStep, AnOperationWaitsForNobodyButAnAgreeForAll) {
  for_seeds(60, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = by_step(seed);
    options.ranks = 3;
    Cluster cluster(seed, options);
    std::int32_t value = 7;
    const Operation* const sent = cluster.start(0, broadcast_of(value));
    const Operation* const agree = cluster.start(0, call(CallKind::agree));
    ASSERT_TRUE(cluster.run([&] { return sent->is_complete(); }, std::chrono::seconds(1)));
    EXPECT_TRUE(sent->result().is_ok()) << "nobody has called it but the root, which needs nobody";
    cluster.run_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(agree->is_complete());
    std::int32_t received[2] = {};
    std::vector<const Operation*> agrees = {agree};
    for (const int rank : {1, 2}) {
      cluster.start(rank, broadcast_of(received[rank - 1]));
      agrees.push_back(cluster.start(rank, call(CallKind::agree)));
    }
    ASSERT_TRUE(cluster.run([&] { return are_complete(agrees); }));
    for (const Operation* each : agrees) EXPECT_TRUE(each->result().is_ok()) << each->result().text();
    EXPECT_EQ(received[0], 7);
    EXPECT_EQ(received[1], 7);
  });
}

TEST(ElasticStep, ACrashIsToldToAllSurvivorsAlike) {
  for_seeds(400, kManySeeds, [](std::uint64_t seed) {
    ElasticTrial trial(seed, by_step(seed));
    const Rank victim = trial.random_rank();
    const bool may_stop = trial.cluster().size() == 2 && victim == 0;  // rank 1 alone is half without rank 0
    ASSERT_TRUE(trial.run({{trial.random_instant(), [&] { trial.cluster().crash(victim); }}})) << "hangs";
    if (trial.all_was_done()) return trial.check_steps(trial.those_alive());
    const std::set<Rank> survivors = trial.survivors_by_verdict();
    if (survivors.empty() && may_stop) return;
    EXPECT_EQ(survivors, trial.those_alive());
    trial.check_steps(survivors);
    for (const Rank rank : survivors) EXPECT_EQ(trial.communicator(rank)->failure().culprit(), victim);
    trial.check_roll(survivors);
  });
}

TEST(ElasticStep, OnOneHostAllButOneMayDieAtAnyMoment) {
  for_seeds(300, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = by_step(seed);
    options.one_host = true;
    ElasticTrial trial(seed, options);
    const std::set<Rank> last = {trial.random_rank(), trial.random_rank()};  // or two
    std::multimap<Instant, std::function<void()>> events;
    for (Rank rank = 0; rank < trial.cluster().size(); ++rank) {
      if (!last.contains(rank))
        events.emplace(trial.random_instant(), [&trial, rank] { trial.cluster().crash(rank); });
    }
    ASSERT_TRUE(trial.run(std::move(events))) << "hangs";
    if (trial.all_was_done()) return trial.check_steps(last);
    const std::set<Rank> survivors = trial.survivors_by_verdict();
    EXPECT_EQ(survivors, last);
    trial.check_steps(survivors);
    trial.check_roll(survivors);
  });
}

TEST(ElasticStep, ARevocationUndoesTheStepOfAllOrOfNobody) {
  for_seeds(200, kManySeeds, [](std::uint64_t seed) {
    ElasticTrial trial(seed, by_step(seed));
    ASSERT_TRUE(trial.run_with_a_revocation()) << "hangs";
    const std::set<Rank> survivors = trial.survivors_by_verdict();
    EXPECT_EQ(survivors.size(), static_cast<std::size_t>(trial.cluster().size()));
    trial.check_steps(survivors);
    trial.check_roll(survivors);
  });
}

TEST(ElasticStep, WhoDoesNotCallTheAgreeIsNamed) {
  for_seeds(60, kManySeeds, [](std::uint64_t seed) {
    ElasticTrial trial(seed, by_step(seed));
    Cluster& cluster = trial.cluster();
    const Rank absent = trial.random_rank();
    std::vector<const Operation*> agrees;
    for (Rank rank = 0; rank < cluster.size(); ++rank) {
      if (rank != absent) agrees.push_back(cluster.start(rank, call(CallKind::agree)));
    }
    ASSERT_TRUE(cluster.run([&] { return are_complete(agrees); })) << "hangs";
    for (const Operation* agree : agrees) {
      EXPECT_EQ(agree->result().code(), Code::timeout);
      EXPECT_EQ(agree->result().culprit(), absent) << agree->result().text();
    }
  });
}

TEST(ElasticStep, AnAgreeThatOthersTakeForSomethingElseNamesBothCalls) {
  for_seeds(60, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = by_step(seed);
    Cluster cluster(seed, options);
    std::vector<const Operation*> operations;
    for (Rank rank = 0; rank < cluster.size(); ++rank)
      operations.push_back(cluster.start(rank, call(rank == 1 ? CallKind::barrier : CallKind::agree)));
    ASSERT_TRUE(cluster.run([&] { return are_complete(operations); })) << "hangs";
    for (const Operation* operation : operations) {
      EXPECT_EQ(operation->result().code(), Code::invalid) << operation->result().text();
      EXPECT_NE(operation->result().text().find("agree()"), std::string::npos) << operation->result().text();
      EXPECT_NE(operation->result().text().find("barrier()"), std::string::npos) << operation->result().text();
    }
  });
}

// With on and by step alike.
TEST(ElasticLeave, WhoLeavesIsNotLostAndTheOthersGoOn) {
  for_seeds(300, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    options.by_step = seed % 2 == 0;
    ElasticTrial trial(seed, options);
    const Rank who = trial.random_rank();
    ASSERT_TRUE(trial.run({{trial.random_instant(), [&] { trial.leave(who); }}})) << "hangs";
    options.by_step ? trial.check_steps(trial.those_alive()) : trial.check(trial.those_alive());
    if (trial.all_was_done()) return;
    const std::set<Rank> survivors = trial.survivors_by_verdict();
    EXPECT_EQ(survivors, trial.those_alive());
    for (const Rank rank : survivors) {
      const Status& why = trial.communicator(rank)->failure();
      EXPECT_EQ(why.code(), Code::aborted) << why.text();
      EXPECT_EQ(why.culprit(), who);
      EXPECT_NE(why.text().find("leaves the communicator"), std::string::npos) << why.text();
      EXPECT_EQ(trial.communicator(rank)->council()->verdict.lost, std::vector<Rank>{who});
    }
    EXPECT_TRUE(trial.cluster().log().empty()) << trial.cluster().log()[0];
    trial.check_roll(survivors);
  });
}

// Its own part is over at once, so that nothing but the outcome is waited for.
TEST(ElasticLeave, AnOperationThatBeginsWhenAMemberHasGoneEndsAtOnce) {
  for_seeds(40, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    options.ranks = 3;
    options.one_host = false;
    options.by_step = seed % 2 == 0;
    ElasticTrial trial(seed, options);
    Cluster& cluster = trial.cluster();
    std::vector<const Operation*> first;
    for (Rank rank = 0; rank < 3; ++rank) first.push_back(cluster.start(rank, call(CallKind::agree)));
    ASSERT_TRUE(cluster.run([&] { return are_complete(first); }));
    trial.destroy(2);
    cluster.run_for(std::chrono::milliseconds(10));
    std::int32_t value = 7;
    const Operation* const sent = cluster.start(0, options.by_step ? call(CallKind::agree) : broadcast_of(value));
    const Instant started = cluster.network().now();
    ASSERT_TRUE(cluster.run([&] { return sent->is_complete(); }));
    EXPECT_LT(cluster.network().now() - started, Nanoseconds(std::chrono::seconds(1)));
    EXPECT_EQ(sent->result().code(), Code::peer_lost) << sent->result().text();
    EXPECT_EQ(sent->result().culprit(), 2);
  });
}

TEST(ElasticMinimum, FewerThanAllowedNeverGoOnAndSaySo) {
  for_seeds(60, kManySeeds, [](std::uint64_t seed) {
    ClusterOptions options = random_options(seed);
    options.one_host = true;  // else half of them may be too few, whatever is allowed
    options.ranks = 4;
    options.minimum = 3;
    options.by_step = seed % 2 == 0;
    ElasticTrial trial(seed, options);
    const Rank victim = trial.random_rank();
    const bool too_few = seed % 3 != 0;
    std::multimap<Instant, std::function<void()>> events;
    events.emplace(trial.random_instant(), [&] { trial.cluster().crash(victim); });
    if (too_few) events.emplace(trial.random_instant(), [&] { trial.cluster().crash((victim + 1) % 4); });
    ASSERT_TRUE(trial.run(std::move(events))) << "hangs";
    if (trial.all_was_done()) return;
    for (const Rank rank : trial.those_alive()) {
      const Council& council = *trial.communicator(rank)->council();
      if (too_few && council.stage == Council::Stage::judged)
        continue;  // decided before the second was known to be lost
      EXPECT_EQ(council.stage == Council::Stage::stopped, too_few);
      if (too_few) {
        EXPECT_NE(trial.communicator(rank)->failure().text().find("TUTTI_ELASTIC_MINIMUM"), std::string::npos)
            << trial.communicator(rank)->failure().text();
      }
    }
  });
}

}  // namespace
}  // namespace tutti
