// Calls that do not match: whatever it is that differs, and however the operation would have travelled, every rank
// ends, and is told INVALID with both calls named: in that call, or where nobody read the odd one's data in the next.
#include <gtest/gtest.h>

#include <algorithm>

#include "src/base/format.h"
#include "tests/engine/cluster.h"

namespace tutti {
namespace {

constexpr std::size_t kRoom = 1 << 18;

OperationRequest call(CallKind kind, std::uint64_t count, DataType type = DataType::int32,
                      ReduceOp op = ReduceOp::sum, Rank root = 0, std::string_view algorithm = {}) {
  OperationRequest request;
  request.kind = kind;
  request.count = count;
  request.type = type;
  request.op = op;
  request.root = root;
  request.algorithm = algorithm;
  return request;
}

OperationRequest with_tables(CallKind kind, std::vector<std::uint64_t> counts, bool input, bool output) {
  OperationRequest request = call(kind, counts[0]);
  BlockTable table;
  for (const std::uint64_t count : counts) {
    table.offsets.push_back(table.offsets.empty() ? 0 : table.offsets.back() + table.counts.back());
    table.counts.push_back(count);
  }
  if (input) request.input_table = table;
  if (output) request.output_table = table;
  return request;
}

// Rank 1 calls `odd`, the others `common`; afterwards everybody must know, and say what both called.
void expect_mismatch(const OperationRequest& common, const OperationRequest& odd, const std::string& common_text,
                     const std::string& odd_text, bool one_host, std::uint64_t seed) {
  SCOPED_TRACE(format("{} against {}, {}, seed {}", common_text, odd_text, one_host ? "boards" : "links", seed));
  ClusterOptions options;
  options.ranks = 3;
  options.one_host = one_host;
  Cluster cluster(seed, options);
  std::vector<std::vector<std::byte>> memory(6, std::vector<std::byte>(kRoom));
  std::vector<Operation*> operations(3, nullptr);
  ASSERT_TRUE(cluster.run([&] {
    bool all = true;
    for (int rank = 0; rank < 3; ++rank) {
      const auto r = static_cast<std::size_t>(rank);
      if (operations[r] == nullptr && cluster.random().chance(0.1)) {
        OperationRequest request = rank == 1 ? odd : common;
        if (request.kind == CallKind::all_gather_v) request.count = request.output_table.counts[r];
        if (request.kind == CallKind::reduce_scatter_v) request.count = request.input_table.counts[r];
        request.input = memory[r].data();
        request.output = memory[3 + r].data();
        operations[r] = cluster.start(rank, request);
        if (operations[r] == nullptr) {
          EXPECT_FALSE(cluster.node(rank).communicator->failure().is_ok());
          return true;  // was told before it called
        }
      }
      all &= operations[r] != nullptr && operations[r]->is_complete();
    }
    return all;
  }));
  cluster.run_for(std::chrono::seconds(1));
  // Whoever has not seen it in what it read is told by the next call, at the latest.
  std::vector<Operation*> barriers;
  for (int rank = 0; rank < 3; ++rank) {
    Operation* const barrier = cluster.start(rank, call(CallKind::barrier, 0));
    if (barrier != nullptr) barriers.push_back(barrier);
  }
  ASSERT_TRUE(cluster.run([&] {
    return std::all_of(barriers.begin(), barriers.end(),
                       [](const Operation* barrier) { return barrier->is_complete(); });
  }));
  cluster.run_for(std::chrono::seconds(1));
  for (int rank = 0; rank < 3; ++rank) {
    const Status& failure = cluster.node(rank).communicator->failure();
    EXPECT_EQ(failure.code(), Code::invalid) << "rank " << rank << ": " << failure.text();
    EXPECT_NE(failure.text().find(common_text), std::string::npos) << failure.text();
    EXPECT_NE(failure.text().find(odd_text), std::string::npos) << failure.text();
    EXPECT_NE(failure.text().find("rank 1 (host"), std::string::npos) << failure.text();
  }
}

void expect_mismatch(const OperationRequest& common, const OperationRequest& odd, const std::string& common_text,
                     const std::string& odd_text) {
  for (const bool one_host : {false, true}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed)
      expect_mismatch(common, odd, common_text, odd_text, one_host, seed);
  }
}

TEST(EngineMismatch, AnotherCollective) {
  expect_mismatch(call(CallKind::all_reduce, 60), call(CallKind::all_gather, 60), "all_reduce(count 60, int32, sum)",
                  "all_gather(count 60, int32)");
  expect_mismatch(call(CallKind::broadcast, 5000), call(CallKind::all_reduce, 5000),
                  "broadcast(count 5000, int32, root 0)", "all_reduce(count 5000, int32, sum)");
  expect_mismatch(call(CallKind::barrier, 0), call(CallKind::all_to_all, 7), "barrier()",
                  "all_to_all(count 7, int32)");
}

TEST(EngineMismatch, AnotherCount) {
  expect_mismatch(call(CallKind::all_reduce, 60), call(CallKind::all_reduce, 61), "count 60,", "count 61,");
  expect_mismatch(call(CallKind::broadcast, 5000), call(CallKind::broadcast, 5001), "count 5000,", "count 5001,");
  expect_mismatch(call(CallKind::reduce_scatter, 0), call(CallKind::reduce_scatter, 9), "count 0,", "count 9,");
}

TEST(EngineMismatch, OneRanksCallFitsItsBoardAndTheOthersDoNot) {
  expect_mismatch(call(CallKind::all_reduce, 60), call(CallKind::all_reduce, 6000), "count 60,", "count 6000,");
  expect_mismatch(call(CallKind::all_reduce, 6000), call(CallKind::all_reduce, 60), "count 6000,", "count 60,");
  expect_mismatch(call(CallKind::gather, 6000), call(CallKind::gather, 60), "count 6000,", "count 60,");
}

TEST(EngineMismatch, AnotherType) {
  expect_mismatch(call(CallKind::all_reduce, 60), call(CallKind::all_reduce, 60, DataType::float32), "int32",
                  "float32");
  expect_mismatch(call(CallKind::all_gather, 800), call(CallKind::all_gather, 400, DataType::int64), "int32",
                  "int64");
}

TEST(EngineMismatch, AnotherOperator) {
  expect_mismatch(call(CallKind::all_reduce, 60), call(CallKind::all_reduce, 60, DataType::int32, ReduceOp::max),
                  "sum", "max");
  expect_mismatch(call(CallKind::reduce, 2000), call(CallKind::reduce, 2000, DataType::int32, ReduceOp::max), "sum",
                  "max");
}

TEST(EngineMismatch, AnotherRoot) {
  for (const CallKind kind : {CallKind::broadcast, CallKind::reduce, CallKind::gather, CallKind::scatter}) {
    for (const std::uint64_t count : {30, 3000}) {
      expect_mismatch(call(kind, count), call(kind, count, DataType::int32, ReduceOp::sum, 1), "root 0", "root 1");
    }
  }
}

TEST(EngineMismatch, AnotherAlgorithm) {
  expect_mismatch(call(CallKind::all_reduce, 60),
                  call(CallKind::all_reduce, 60, DataType::int32, ReduceOp::sum, 0, "ring"),
                  "all_reduce(count 60, int32, sum)", "all_reduce(count 60, int32, sum, algorithm #");
  expect_mismatch(call(CallKind::all_reduce, 6000, DataType::int32, ReduceOp::sum, 0, "direct"),
                  call(CallKind::all_reduce, 6000, DataType::int32, ReduceOp::sum, 0, "ring"), "sum, algorithm #",
                  "algorithm #");
}

TEST(EngineMismatch, AnotherTable) {
  expect_mismatch(with_tables(CallKind::all_gather_v, {3, 4, 500}, false, true),
                  with_tables(CallKind::all_gather_v, {3, 5, 500}, false, true), "counts with hash",
                  "counts with hash");
  expect_mismatch(with_tables(CallKind::reduce_scatter_v, {3, 4, 500}, true, false),
                  with_tables(CallKind::reduce_scatter_v, {4, 4, 500}, true, false), "counts with hash",
                  "counts with hash");
}

TEST(EngineMismatch, AnotherSizeOfOneMessage) {
  expect_mismatch(with_tables(CallKind::all_to_all_v, {5, 5, 5}, true, true),
                  with_tables(CallKind::all_to_all_v, {5, 5, 6}, true, true), "message of 5,", "message of 6,");
  expect_mismatch(with_tables(CallKind::all_to_all_v, {5, 5, 5}, true, true),
                  with_tables(CallKind::all_to_all_v, {0, 5, 5}, true, true), "message of 5,", "message of 0,");
}

TEST(EngineMismatch, AMessageThatIsLongerThanItsReceiverExpects) {
  for (const std::uint64_t count : {4, 4000}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      ClusterOptions options;
      options.ranks = 2;
      Cluster cluster(seed, options);
      std::vector<std::byte> memory(kRoom);
      OperationRequest send = call(CallKind::point_to_point, count);
      send.sends = true;
      send.root = 1;
      send.input = memory.data();
      OperationRequest receive = call(CallKind::point_to_point, count + 1);
      receive.output = memory.data();
      Operation* const sender = cluster.start(0, send);
      Operation* const receiver = cluster.start(1, receive);
      ASSERT_TRUE(cluster.run([&] { return sender->is_complete() && receiver->is_complete(); }));
      EXPECT_EQ(receiver->result().code(), Code::invalid);
      EXPECT_NE(receiver->result().text().find(format("message of {},", count)), std::string::npos)
          << receiver->result().text();
      EXPECT_NE(receiver->result().text().find(format("message of {},", count + 1)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace tutti
