// Large operations over several lanes of every link at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "src/base/format.h"
#include "src/diagnosis/recorder_reader.h"
#include "tests/engine/script.h"

namespace tutti {
namespace {

OperationRequest all_reduce_of(const std::vector<std::int32_t>& input, std::vector<std::int32_t>& output,
                               std::string_view algorithm) {
  OperationRequest request;
  request.kind = CallKind::all_reduce;
  request.type = DataType::int32;
  request.count = input.size();
  request.input = reinterpret_cast<const std::byte*>(input.data());
  request.output = reinterpret_cast<std::byte*>(output.data());
  request.algorithm = algorithm;
  return request;
}

TEST(EngineLanes, EveryAllReduceSharesALargeMessageOverLanesAndIsRight) {
  for (const Algorithm& algorithm : all_algorithms()) {
    if (algorithm.what != Collective::all_reduce) continue;
    SCOPED_TRACE(algorithm.name);
    ClusterOptions options;
    options.ranks = 3;
    options.segment_bytes = 64 << 10;
    options.network.lanes_max = 3;
    Cluster cluster(5, options);
    const std::size_t count = (3 << 20) / sizeof(std::int32_t) + 17;
    std::vector<std::vector<std::int32_t>> inputs(3, std::vector<std::int32_t>(count));
    std::vector<std::vector<std::int32_t>> outputs(3, std::vector<std::int32_t>(count));
    std::vector<std::int32_t> expected(count, 0);
    for (auto& input : inputs) {
      for (std::size_t i = 0; i < count; ++i) {
        input[i] = static_cast<std::int32_t>(cluster.random().below(1 << 20));
        expected[i] += input[i];
      }
    }
    const OperationRequest sample = all_reduce_of(inputs[0], outputs[0], algorithm.name);
    const Result<std::string> why = cluster.node(0).engine->explain(cluster.node(0).communicator, sample);
    ASSERT_TRUE(why.is_ok());
    EXPECT_NE(why->find("over 3 lanes"), std::string::npos) << *why;
    Script script(cluster);
    for (std::size_t rank = 0; rank < 3; ++rank) {
      script.add(static_cast<int>(rank), "all_reduce", [&, rank] {
        return cluster.start(static_cast<int>(rank), all_reduce_of(inputs[rank], outputs[rank], algorithm.name));
      });
    }
    ASSERT_TRUE(script.run());
    for (const Operation* operation : script.operations())
      ASSERT_TRUE(operation->result().is_ok()) << operation->result().text();
    for (const auto& output : outputs) EXPECT_TRUE(output == expected);
  }
}

// A survivor that has told the others whom it lost may leave at once. Its lanes end in any order, and the one that
// brings the word may end last.
TEST(EngineLanes, TheWordOfASurvivorThatLeavesComesBeforeItsEnd) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    ClusterOptions options;
    options.ranks = 4;
    options.segment_bytes = 64 << 10;
    options.network.lanes_max = 3;
    options.network.crash_notice_min = options.network.crash_notice_max = Nanoseconds(0);
    Cluster cluster(seed, options);
    const std::size_t count = (3 << 20) / sizeof(std::int32_t);
    std::vector<std::vector<std::int32_t>> data(4, std::vector<std::int32_t>(count));
    std::vector<Operation*> operations(4, nullptr);
    for (const bool is_first : {true, false}) {
      for (int rank = 0; rank < 4; ++rank) {
        if (!is_first && rank == 2) continue;
        auto& mine = data[static_cast<std::size_t>(rank)];
        operations[static_cast<std::size_t>(rank)] = cluster.start(rank, all_reduce_of(mine, mine, "ring"));
      }
      if (!is_first) continue;
      for (const Operation* operation : operations)
        ASSERT_TRUE(cluster.run([&] { return operation->is_complete(); }));
    }
    cluster.run_for(std::chrono::microseconds(50));
    cluster.crash(2);
    ASSERT_TRUE(cluster.run([&] { return operations[1]->is_complete() || operations[3]->is_complete(); }));
    const int first = operations[1]->is_complete() ? 1 : 3;
    cluster.crash(first);
    const std::vector<int> others = first == 1 ? std::vector<int>{0, 3} : std::vector<int>{0, 1};
    for (const int rank : others) {
      const Operation& operation = *operations[static_cast<std::size_t>(rank)];
      ASSERT_TRUE(cluster.run([&] { return operation.is_complete(); }));
      EXPECT_EQ(operation.result().code(), Code::peer_lost);
      EXPECT_EQ(operation.result().culprit(), 2) << "rank " << rank << ": " << operation.result().text();
    }
  }
}

// Connections of all lanes but one end at any moment, some of them noticed much later by one side, and are made
// again: nobody sees anything of it but the right sums.
TEST(EngineLanes, OperationsCompleteWithTheRightSumsWhateverLanesAreCutAsLongAsOneLives) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    ClusterOptions options;
    options.ranks = 2 + static_cast<int>(seed % 3);
    options.elastic = seed % 2 == 0;
    options.segment_bytes = 64 << 10;
    options.network.lanes_max = 2 + static_cast<std::uint32_t>(seed % 3);
    options.failover = true;
    Cluster cluster(seed, options);
    const auto ranks = static_cast<std::size_t>(options.ranks);
    for (const std::size_t bytes :
         {std::size_t{5} << 20, std::size_t{400}, std::size_t{9} << 20, std::size_t{70'000}}) {
      const std::size_t count = bytes / sizeof(std::int32_t) + seed;
      std::vector<std::vector<std::int32_t>> inputs(ranks, std::vector<std::int32_t>(count));
      std::vector<std::vector<std::int32_t>> outputs(ranks, std::vector<std::int32_t>(count));
      std::vector<std::int32_t> expected(count, 0);
      std::vector<Operation*> operations;
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        for (std::size_t i = 0; i < count; ++i) {
          inputs[rank][i] = static_cast<std::int32_t>(cluster.random().below(1 << 20));
          expected[i] += inputs[rank][i];
        }
        operations.push_back(
            cluster.start(static_cast<int>(rank), all_reduce_of(inputs[rank], outputs[rank], "ring")));
      }
      const auto safe = static_cast<std::uint32_t>(cluster.random().below(options.network.lanes_max));
      const bool is_first = cluster.network().now() == Instant{};
      ASSERT_TRUE(cluster.run([&] {
        const auto lane = static_cast<std::uint32_t>(cluster.random().below(options.network.lanes_max));
        const int a = static_cast<int>(cluster.random().below(ranks));
        const int b = (a + 1) % options.ranks;  // a ring: others are joined by lane 0 at most
        if (lane != safe && !is_first && cluster.random().chance(0.02)) {
          cluster.network().cut_lane(cluster.node(a).id, cluster.node(b).id, lane, std::chrono::milliseconds(2));
        }
        return std::all_of(operations.begin(), operations.end(), [](const Operation* o) { return o->is_complete(); });
      })) << "an operation of "
          << bytes << " bytes hangs";
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        ASSERT_TRUE(operations[rank]->result().is_ok())
            << operations[rank]->result().text() << "; logged: " << (cluster.log().empty() ? "" : cluster.log()[0]);
        ASSERT_TRUE(outputs[rank] == expected) << "rank " << rank << ", " << bytes << " bytes";
        cluster.node(static_cast<int>(rank)).engine->release(operations[rank]);
      }
      cluster.run_for(std::chrono::seconds(8));  // all lanes are connected again
    }
    EXPECT_TRUE(cluster.log().empty()) << cluster.log()[0];
  }
}

// Nothing fails, so nothing but the record tells of it afterwards.
TEST(EngineLanes, ALaneThatIsLostAndIsBackIsOnRecordOnBothSides) {
  std::string directory = (std::filesystem::temp_directory_path() / "tutti-lanes-test-XXXXXX").string();
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  {
    ClusterOptions options;
    options.segment_bytes = 64 << 10;
    options.network.lanes_max = 2;
    options.failover = true;
    options.record_in = directory;
    Cluster cluster(1, options);
    std::vector<std::vector<std::int32_t>> data(2, std::vector<std::int32_t>(2 << 20));
    std::vector<Operation*> operations;
    for (const bool is_cut : {false, true}) {
      for (int rank = 0; rank < 2; ++rank) {
        auto& mine = data[static_cast<std::size_t>(rank)];
        operations.push_back(cluster.start(rank, all_reduce_of(mine, mine, "ring")));
      }
      cluster.run_for(std::chrono::microseconds(300));
      if (is_cut) cluster.network().cut_lane(cluster.node(0).id, cluster.node(1).id, 1, Nanoseconds(0));
      for (const Operation* const each : operations) ASSERT_TRUE(cluster.run([&] { return each->is_complete(); }));
    }
    cluster.run_for(std::chrono::seconds(8));
    for (const Operation* const each : operations) EXPECT_TRUE(each->result().is_ok()) << each->result().text();
    for (int rank = 0; rank < 2; ++rank) {
      const Result<RecorderSnapshot> snapshot = read_recorder(cluster.record(rank));
      ASSERT_TRUE(snapshot.is_ok()) << snapshot.status().text();
      ASSERT_EQ(snapshot->lanes.size(), 2u);
      for (const LaneRecord& lane : snapshot->lanes) {
        EXPECT_EQ(lane.lane, 1);
        EXPECT_EQ(lane.host, format("host{}", 1 - rank));
        EXPECT_EQ(lane.pid, 101u - static_cast<std::uint32_t>(rank));
        EXPECT_EQ(snapshot->transports[lane.transport].name, "sim");
      }
      EXPECT_EQ(snapshot->lanes[0].change, LaneChange::lost);
      EXPECT_NE(snapshot->lanes[0].text.find("goes over its 1 other lane"), std::string::npos)
          << snapshot->lanes[0].text;
      EXPECT_EQ(snapshot->lanes[1].change, LaneChange::back);
      EXPECT_NE(snapshot->lanes[1].text.find("is back after"), std::string::npos) << snapshot->lanes[1].text;
      EXPECT_GT(snapshot->lanes[1].at_ns, snapshot->lanes[0].at_ns);
    }
  }
  std::filesystem::remove_all(directory);
}

// Of three, two are cut off from each other at any moment, one time after the other, and reach each other again. An
// elastic communicator decides about every operation over what is relayed.
TEST(EngineLanes, OperationsCompleteWithTheRightSumsWhileAThirdStandsInForALink) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    ClusterOptions options;
    options.ranks = 3;
    options.elastic = seed % 2 == 0;
    options.segment_bytes = 64 << 10;
    options.network.lanes_max = 1 + static_cast<std::uint32_t>(seed / 2 % 2);
    options.failover = options.relays = true;
    Cluster cluster(seed, options);
    for (int round = 0; round < 4; ++round) {
      const std::size_t count = (1 << 20) + seed;
      std::vector<std::vector<std::int32_t>> inputs(3, std::vector<std::int32_t>(count));
      std::vector<std::vector<std::int32_t>> outputs(3, std::vector<std::int32_t>(count));
      std::vector<std::int32_t> expected(count, 0);
      std::vector<Operation*> operations;
      for (std::size_t rank = 0; rank < 3; ++rank) {
        for (std::size_t i = 0; i < count; ++i) {
          inputs[rank][i] = static_cast<std::int32_t>(cluster.random().below(1 << 20));
          expected[i] += inputs[rank][i];
        }
        operations.push_back(
            cluster.start(static_cast<int>(rank), all_reduce_of(inputs[rank], outputs[rank], "ring")));
      }
      const int a = static_cast<int>(cluster.random().below(3));
      const ProcessId one = cluster.node(a).id;
      const ProcessId other = cluster.node((a + 1) % 3).id;
      if (round > 0) {
        cluster.run_for(std::chrono::microseconds(cluster.random().below(1500)));
        cluster.network().sever(one, other, std::chrono::milliseconds(5));
      }
      ASSERT_TRUE(cluster.run([&] {
        return std::all_of(operations.begin(), operations.end(), [](const Operation* o) { return o->is_complete(); });
      })) << "round "
          << round << " hangs";
      for (std::size_t rank = 0; rank < 3; ++rank) {
        ASSERT_TRUE(operations[rank]->result().is_ok()) << operations[rank]->result().text();
        ASSERT_TRUE(outputs[rank] == expected) << "rank " << rank << ", round " << round;
        cluster.node(static_cast<int>(rank)).engine->release(operations[rank]);
      }
      if (round % 2 == 0) cluster.network().heal_all();
      cluster.run_for(std::chrono::seconds(round % 2 == 0 ? 8 : 1));
      if (round % 2 == 1) cluster.network().heal_all();
      cluster.run_for(std::chrono::seconds(8));
    }
    EXPECT_TRUE(cluster.log().empty()) << cluster.log()[0];
  }
}

// The whole process is gone when all its lanes are: who is lost is named as without fail-over, and as soon.
TEST(EngineLanes, ACrashIsNoticedAsSoonAsWithoutFailOver) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Nanoseconds took[2] = {};
    for (const bool failover : {false, true}) {
      ClusterOptions options;
      options.ranks = 3;
      options.segment_bytes = 64 << 10;
      options.network.lanes_max = 3;
      options.network.crash_notice_min = options.network.crash_notice_max = std::chrono::milliseconds(1);
      options.network.bytes_per_second_min = options.network.bytes_per_second_max = 1e9;
      options.failover = failover;
      Cluster cluster(seed, options);
      std::vector<std::vector<std::int32_t>> data(3, std::vector<std::int32_t>((6 << 20) / sizeof(std::int32_t)));
      std::vector<Operation*> operations;
      for (int rank = 0; rank < 3; ++rank) {
        auto& mine = data[static_cast<std::size_t>(rank)];
        operations.push_back(cluster.start(rank, all_reduce_of(mine, mine, "ring")));
      }
      cluster.run_for(std::chrono::microseconds(600));
      const Instant crashed = cluster.network().now();
      cluster.crash(1);
      ASSERT_TRUE(cluster.run([&] { return operations[0]->is_complete() && operations[2]->is_complete(); }));
      took[failover ? 1 : 0] = cluster.network().now() - crashed;
      for (const int rank : {0, 2}) {
        EXPECT_EQ(operations[static_cast<std::size_t>(rank)]->result().code(), Code::peer_lost);
        EXPECT_EQ(operations[static_cast<std::size_t>(rank)]->result().culprit(), 1);
      }
    }
    EXPECT_LE(took[1], took[0] + std::chrono::milliseconds(1));
  }
}

}  // namespace
}  // namespace tutti
