// Large operations over several lanes of every link at once.
#include <gtest/gtest.h>

#include "src/base/format.h"
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

}  // namespace
}  // namespace tutti
