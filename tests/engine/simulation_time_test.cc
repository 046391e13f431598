// Ranks that come late or never, networks that part and meet again: deadlines name who is missing, and what one
// operation's receiver leaves lying holds up nothing else and is bounded.
#include <gtest/gtest.h>

#include <algorithm>

#include "src/base/format.h"
#include "tests/engine/script.h"

namespace tutti {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Rank `absent` never calls; the others start at moments of their own. Everybody else must learn who it was.
TEST(EngineTime, ARankThatNeverCallsIsNamedByAllOthersAtTheDeadline) {
  for (const Algorithm& algorithm : all_algorithms()) {
    if (is_rooted(algorithm.what)) continue;  // there, others may well be done without it
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(format("{} by {}, seed {}", name(algorithm.what), algorithm.name, seed));
      ClusterOptions options;
      options.ranks = 5;
      Cluster cluster(seed, options);
      CollectiveCall call(static_cast<CallKind>(algorithm.what), 5, cluster.random());
      call.set_algorithm(algorithm.name);
      if (call.data().shape().sizes[0][0] < 5) continue;
      const int absent = static_cast<int>(cluster.random().below(5));
      Script script(cluster);
      for (int rank = 0; rank < 5; ++rank) {
        if (rank == absent) continue;
        script.add(rank, "call", [&, rank] {
          OperationRequest request = call.request(rank);
          request.timeout = seconds(3);
          return cluster.start(rank, request);
        });
      }
      ASSERT_TRUE(script.run());
      for (int rank = 0; rank < 5; ++rank) {
        if (rank == absent) continue;
        const Status& failure = cluster.node(rank).communicator->failure();
        EXPECT_EQ(failure.code(), Code::timeout) << failure.text();
        EXPECT_TRUE(contains(failure.text(), format("rank {} (host", absent))) << failure.text();
        EXPECT_TRUE(contains(failure.text(), "has not called it")) << failure.text();
        EXPECT_TRUE(contains(failure.text(), "within 3.0")) << failure.text();
        EXPECT_EQ(failure.culprit(), absent) << failure.text();
      }
    }
  }
}

TEST(EngineTime, ARankThatIsNotReachedInTimeIsNamed) {
  ClusterOptions options;
  options.ranks = 2;
  Cluster cluster(1, options);
  cluster.network().partition_both_ways(cluster.node(0).id, cluster.node(1).id);
  CollectiveCall call(CallKind::all_reduce, 2, cluster.random());
  OperationRequest request = call.request(0);
  request.count = 1;
  request.in_place = false;
  std::int32_t in = 1;
  std::int32_t out = 0;
  request.input = reinterpret_cast<const std::byte*>(&in);
  request.output = reinterpret_cast<std::byte*>(&out);
  request.timeout = seconds(2);
  Operation* const operation = cluster.start(0, request);
  ASSERT_TRUE(cluster.run([&] { return operation->is_complete(); }));
  EXPECT_EQ(operation->result().code(), Code::timeout);
  EXPECT_TRUE(contains(operation->result().text(), "rank 1 (host1 pid 101), not connected yet"))
      << operation->result().text();
}

// The window: what a receiver that is away has to keep is bounded, and another communicator goes on meanwhile.
void flood(std::uint64_t seed, std::size_t count, int calls) {
  SCOPED_TRACE(format("{} elements, seed {}", count, seed));
  ClusterOptions options;
  options.ranks = 2;
  options.segment_bytes = 4096;
  options.eager_bytes = 64 << 10;
  Cluster cluster(seed, options);
  std::vector<Communicator*> other;
  for (int rank = 0; rank < 2; ++rank) {
    const Rank members[] = {0, 1};
    const std::uint64_t boards[] = {kNoBoard, kNoBoard};
    other.push_back(*cluster.node(rank).engine->create_from(*cluster.node(rank).communicator, 78, "other", members,
                                                            boards, cluster.network().now()));
  }
  std::vector<std::vector<std::int32_t>> sent;
  std::vector<std::vector<std::int32_t>> received;
  std::vector<Operation*> sends;
  for (int i = 0; i < calls; ++i) {
    sent.emplace_back(count, i);
    received.emplace_back(count, -1);
  }
  const auto broadcast = [&](int rank, std::size_t i) {
    OperationRequest request;
    request.kind = CallKind::broadcast;
    request.type = DataType::int32;
    request.count = count;
    request.algorithm = "direct";
    request.input = reinterpret_cast<const std::byte*>(sent[i].data());
    request.output = reinterpret_cast<std::byte*>(rank == 0 ? sent[i].data() : received[i].data());
    request.in_place = rank == 0;
    return cluster.start(rank, request);
  };
  for (std::size_t i = 0; i < sent.size(); ++i) sends.push_back(broadcast(0, i));
  cluster.run_for(milliseconds(50));
  std::uint64_t done = 0;
  for (const Operation* send : sends) done += send->is_complete() ? count * sizeof(std::int32_t) + kFrameCost : 0;
  EXPECT_LE(done, kWindowBytes) << "more is under way than the window allows";
  EXPECT_GT(done, kWindowBytes / 4) << "the flood is too small to fill the window";
  // The other communicator, over the same link.
  std::vector<Operation*> meanwhile;
  std::vector<std::int32_t> values{1, 2, 0, 0};
  for (int rank = 0; rank < 2; ++rank) {
    OperationRequest request;
    request.kind = CallKind::all_reduce;
    request.type = DataType::int32;
    request.count = 1;
    request.input = reinterpret_cast<const std::byte*>(&values[static_cast<std::size_t>(rank)]);
    request.output = reinterpret_cast<std::byte*>(&values[2 + static_cast<std::size_t>(rank)]);
    meanwhile.push_back(
        *cluster.node(rank).engine->start(other[static_cast<std::size_t>(rank)], request, cluster.network().now()));
  }
  ASSERT_TRUE(cluster.run([&] { return meanwhile[0]->is_complete() && meanwhile[1]->is_complete(); }, seconds(5)))
      << "the late receiver blocks the other communicator";
  EXPECT_EQ(values[2], 3);
  EXPECT_EQ(values[3], 3);
  // The late rank comes.
  std::vector<Operation*> all(sends);
  for (std::size_t i = 0; i < sent.size(); ++i) all.push_back(broadcast(1, i));
  ASSERT_TRUE(cluster.run([&] {
    return std::all_of(all.begin(), all.end(), [](const Operation* operation) { return operation->is_complete(); });
  }));
  for (const Operation* operation : all) ASSERT_TRUE(operation->result().is_ok()) << operation->result().text();
  EXPECT_EQ(sent, received);
}

TEST(EngineTime, AFloodToALateRankIsBoundedAndBlocksNobodyElse) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    flood(seed, 1000, 600);
    flood(seed, 5000, 200);
    flood(seed, 1, 5'000);
  }
}

// Two halves do not see each other for a while; everything ends well once they do.
TEST(EngineTime, APartitionThatHealsCostsOnlyTime) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(seed);
    ClusterOptions options;
    options.ranks = 4;
    options.one_host = seed % 2 == 0;
    Cluster cluster(seed, options);
    Script script(cluster);
    std::vector<std::unique_ptr<CollectiveCall>> calls;
    for (int i = 0; i < 4; ++i) {
      calls.push_back(
          std::make_unique<CollectiveCall>(CollectiveCall::random_kind(cluster.random(), true), 4, cluster.random()));
      CollectiveCall& call = *calls.back();
      for (int rank = 0; rank < 4; ++rank)
        script.add(rank, "calls", [&cluster, &call, rank] { return cluster.start(rank, call.request(rank)); });
    }
    const Instant parted = cluster.network().now() + Nanoseconds(cluster.random().below(300'000));
    const Instant healed = parted + milliseconds(cluster.random().below(3000));
    enum { before, during, after } state = before;
    ASSERT_TRUE(cluster.run([&] {
      if (state == before && cluster.network().now() >= parted) {
        for (const int a : {0, 1}) {
          for (const int b : {2, 3}) cluster.network().partition_both_ways(cluster.node(a).id, cluster.node(b).id);
        }
        state = during;
      } else if (state == during && cluster.network().now() >= healed) {
        cluster.network().heal_all();
        state = after;
      }
      return script.turn() && state == after;
    }));
    for (const Operation* operation : script.operations())
      ASSERT_TRUE(operation->result().is_ok()) << operation->result().text();
    for (const auto& call : calls) {
      for (Rank rank = 0; rank < 4; ++rank) ASSERT_EQ(call->data().check(rank), "");
    }
  }
}

}  // namespace
}  // namespace tutti
