// What compile() makes of every algorithm: segments, message numbers that are the same at both ends, needs that are
// sufficient under any order, for uniform blocks, tables with gaps, shares of lanes, in place and not.
#include <gtest/gtest.h>

#include <cstdlib>

#include "src/base/format.h"
#include "src/planning/planner.h"
#include "src/schedule/builder.h"
#include "tests/engine/call_data.h"
#include "tests/engine/compiled_machine.h"

namespace tutti {
namespace {

class Trial {
 public:
  Trial(const Algorithm& algorithm, const CallShape& shape, std::uint32_t lanes, Random& random)
      : algorithm_(algorithm),
        lanes_(lanes),
        segment_bytes_(random.chance(0.5) ? 64 : 128),
        random_(random),
        data_(shape, random) {}

  void run() {
    for (Rank rank = 0; rank < data_.shape().ranks; ++rank) ASSERT_NO_FATAL_FAILURE(compile_one(rank));
    for (const CompiledMachine::Node& node : nodes_) {
      for (const CompiledLane& lane : node.lanes) {
        check_steps(lane);
        ASSERT_NO_FATAL_FAILURE(check_groups(lane));
      }
    }
    for (std::size_t from = 0; from < nodes_.size(); ++from) {
      for (std::size_t to = 0; to < nodes_.size(); ++to) check_messages(from, to);
    }
    CompiledMachine machine(nodes_, random_);
    ASSERT_EQ(machine.run(), "") << describe();
    for (Rank rank = 0; rank < data_.shape().ranks; ++rank) ASSERT_EQ(data_.check(rank), "") << describe();
  }

 private:
  std::string describe() const {
    return format("{}, by {}, {} lanes, segments of {}", data_.shape().describe(), algorithm_.name, lanes_,
                  segment_bytes_);
  }

  void compile_one(Rank rank) {
    const CallShape& shape = data_.shape();
    const Program program = make_program(algorithm_, {shape.what, shape.ranks, rank, shape.root, shape.in_place});
    nodes_.push_back({{}, data_.rank(rank).input_at(), data_.rank(rank).output_at()});
    for (std::uint32_t lane = 0; lane < lanes_; ++lane) {
      CompileOptions options;
      options.element_bytes = sizeof(std::int32_t);
      options.segment_bytes = segment_bytes_;
      options.share = {lane * Share::kWhole / lanes_, (lane + 1) * Share::kWhole / lanes_};
      options.send_empty = shape.blocks == BlockSizes::own_only;
      Result<CompiledLane> compiled = compile(program, data_.extents(rank), options);
      ASSERT_TRUE(compiled.is_ok()) << compiled.status().text() << ": " << describe();
      nodes_.back().lanes.push_back(std::move(*compiled));
    }
  }

  void check_steps(const CompiledLane& lane) const {
    for (const CompiledStep& step : lane.steps) {
      const std::uint64_t whole = (step.bytes + lane.segment_bytes - 1) / lane.segment_bytes;
      EXPECT_EQ(step.segments, std::max<std::uint64_t>(whole, 1)) << describe();
    }
  }

  // Each group is of equal sends, and each send is in at most one.
  void check_groups(const CompiledLane& lane) const {
    std::vector<std::uint32_t> group_of(lane.steps.size(), CompiledStep::kAlone);
    for (std::uint32_t g = 0; g < lane.groups.size(); ++g) {
      const Range members = lane.groups[g];
      ASSERT_GE(members.count, 2u) << describe();
      const CompiledStep& first = lane.steps[lane.group_members[members.begin]];
      for (std::uint32_t i = members.begin; i < members.begin + members.count; ++i) {
        const CompiledStep& step = lane.steps[lane.group_members[i]];
        EXPECT_EQ(step.kind, StepKind::send) << describe();
        EXPECT_EQ(step.source.buffer, first.source.buffer) << describe();
        EXPECT_EQ(step.source.offset, first.source.offset) << describe();
        EXPECT_EQ(step.bytes, first.bytes) << describe();
        EXPECT_EQ(group_of[lane.group_members[i]], CompiledStep::kAlone) << describe();
        group_of[lane.group_members[i]] = g;
      }
    }
    for (std::size_t s = 0; s < lane.steps.size(); ++s) EXPECT_EQ(lane.steps[s].group, group_of[s]) << describe();
  }

  using Messages = std::vector<std::uint64_t>;  // their bytes, in order

  static Messages outbound(const CompiledLane& lane, std::size_t to) {
    Messages bytes;
    const int peer = lane.find_peer(static_cast<Rank>(to));
    if (peer < 0) return bytes;
    const CompiledPeer& found = lane.peers[static_cast<std::size_t>(peer)];
    for (std::uint32_t m = 0; m < found.outbound.count; ++m) {
      const CompiledStep& step = lane.steps[lane.outbound[found.outbound.begin + m]];
      EXPECT_EQ(step.kind, StepKind::send);
      EXPECT_EQ(step.message, m);
      bytes.push_back(step.bytes);
    }
    return bytes;
  }

  static Messages inbound(const CompiledLane& lane, std::size_t from) {
    Messages bytes;
    const int peer = lane.find_peer(static_cast<Rank>(from));
    if (peer < 0) return bytes;
    const CompiledPeer& found = lane.peers[static_cast<std::size_t>(peer)];
    for (std::uint32_t m = 0; m < found.inbound.count; ++m) {
      const Inbound& message = lane.inbound[found.inbound.begin + m];
      EXPECT_EQ(message.message, m);
      EXPECT_EQ(message.peer, static_cast<std::uint32_t>(peer));
      bytes.push_back(lane.steps[message.step].bytes);
    }
    return bytes;
  }

  void check_messages(std::size_t from, std::size_t to) const {
    for (std::size_t lane = 0; lane < lanes_; ++lane) {
      EXPECT_EQ(outbound(nodes_[from].lanes[lane], to), inbound(nodes_[to].lanes[lane], from))
          << "messages from rank " << from << " to rank " << to << ": " << describe();
    }
  }

  const Algorithm& algorithm_;
  const std::uint32_t lanes_;
  const std::uint32_t segment_bytes_;
  Random& random_;
  CallData data_;
  std::vector<CompiledMachine::Node> nodes_;
};

int rounds() { return std::getenv("TUTTI_TEST_LONG") != nullptr ? 200 : 3; }

Planner planner_for(Rank ranks, std::uint32_t network_lanes) {
  Shape shape;
  shape.ranks = ranks;
  shape.network_lanes = network_lanes;
  for (Rank r = 0; r < ranks; ++r) shape.host.push_back(static_cast<std::uint32_t>(r));
  shape.hosts = static_cast<std::uint32_t>(ranks);
  return *Planner::make(all_algorithms(), shape, "");
}

TEST(Compile, UniformBlocksRunRightInAnyOrderOfReadySegments) {
  Random random(1);
  for (const Algorithm& algorithm : all_algorithms()) {
    for (Rank ranks = 1; ranks <= 9; ++ranks) {
      for (int round = 0; round < 2 * rounds(); ++round) {
        Trial(algorithm, CallShape::random(algorithm.what, ranks, BlockSizes::uniform, random), 1, random).run();
        if (HasFailure()) return;
      }
    }
  }
}

// Whatever lanes the planner gives an algorithm, every rank can compile them, and together they do the whole call.
TEST(Compile, TheLanesOfAPlanShareTheBlocksWithoutGapOrOverlap) {
  Random random(2);
  int shared = 0;
  for (const Algorithm& algorithm : all_algorithms()) {
    for (Rank ranks = 2; ranks <= 9; ++ranks) {
      const Planner planner = planner_for(ranks, 4);
      for (int round = 0; round < rounds(); ++round) {
        PlanQuery query;
        query.what = algorithm.what;
        query.block_bytes = std::uint64_t{1} << (20 + random.below(8));
        query.element_bytes = 4;
        const Result<Plan> plan = planner.plan(query, algorithm.name);
        ASSERT_TRUE(plan.is_ok()) << plan.status().text();
        const auto lanes = static_cast<std::uint32_t>(plan->lanes.size());
        shared += lanes > 1;
        Trial(algorithm, CallShape::random(algorithm.what, ranks, BlockSizes::uniform, random), lanes, random).run();
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_GT(shared, 100);
}

// Runs every algorithm that the planner offers for such blocks. How many trials there were.
int run_all_offered(BlockSizes blocks, BlockKnowledge knowledge, std::initializer_list<Collective> collectives) {
  Random random(3);
  int trials = 0;
  for (const Algorithm& algorithm : all_algorithms()) {
    if (std::find(collectives.begin(), collectives.end(), algorithm.what) == collectives.end()) continue;
    for (Rank ranks = 1; ranks <= 9; ++ranks) {
      PlanQuery query;
      query.what = algorithm.what;
      query.blocks = knowledge;
      query.block_bytes = knowledge == BlockKnowledge::own_only ? 0 : 1000;
      if (!planner_for(ranks, 4).plan(query, algorithm.name)) continue;
      for (int round = 0; round < 3 * rounds(); ++round, ++trials) {
        Trial(algorithm, CallShape::random(algorithm.what, ranks, blocks, random), 1, random).run();
        if (::testing::Test::HasFailure()) return trials;
      }
    }
  }
  return trials;
}

TEST(Compile, TablesWithGapsRunRightByEveryAlgorithmThatThePlannerOffers) {
  EXPECT_GT(
      run_all_offered(BlockSizes::table, BlockKnowledge::table, {Collective::all_gather, Collective::reduce_scatter}),
      100);
}

TEST(Compile, BlocksThatOnlyTheirEndsKnowRunRightAndEmptyMessagesTravel) {
  EXPECT_GT(run_all_offered(BlockSizes::own_only, BlockKnowledge::own_only,
                            {Collective::all_to_all, Collective::gather, Collective::scatter}),
            100);
}

CompiledLane compile_for(std::string_view algorithm, Collective what, Rank ranks, Rank rank, bool in_place) {
  for (const Algorithm& each : all_algorithms()) {
    if (each.name != algorithm || each.what != what) continue;
    Extents extents;
    extents.input.count = extents.output.count = 1000 * static_cast<std::uint64_t>(ranks);
    extents.in_place = in_place;
    return *compile(make_program(each, {what, ranks, rank, 0, in_place}), extents, {});
  }
  ADD_FAILURE() << "no algorithm " << algorithm;
  return {};
}

TEST(Compile, SendsOfOneBlockToManyAreAGroup) {
  for (const bool in_place : {false, true}) {
    for (const Rank ranks : {3, 4, 8, 1024}) {
      const auto peers = static_cast<std::uint32_t>(ranks - 1);
      const CompiledLane gather = compile_for("direct", Collective::all_gather, ranks, 1, in_place);
      ASSERT_EQ(gather.groups.size(), 1u);
      EXPECT_EQ(gather.groups[0].count, peers);
      // The pieces that are summed are different ones; the sum goes to all.
      const CompiledLane reduce = compile_for("two_shot", Collective::all_reduce, ranks, 1, in_place);
      ASSERT_EQ(reduce.groups.size(), 1u);
      EXPECT_EQ(reduce.groups[0].count, peers);
      EXPECT_TRUE(compile_for("pairwise", Collective::all_to_all, ranks, 1, in_place).groups.empty());
    }
  }
}

// Twice to two peers, and in between the place is written: by a step that another one follows, so that the needs of
// the later sends name only the last writer.
TEST(Compile, SendsOfAPlaceThatIsWrittenInBetweenAreTwoGroups) {
  Builder b({Collective::all_reduce, 4, 0, 0, false});
  b.send(1, b.output());
  b.send(2, b.output());
  b.receive(3, b.output());
  b.copy(b.output(), b.input());
  b.send(1, b.output());
  b.send(3, b.output());
  b.send(2, b.input());
  const Program program = std::move(b).take();
  Extents extents;
  extents.input.count = extents.output.count = 1000;
  const Result<CompiledLane> lane = compile(program, extents, {});
  ASSERT_TRUE(lane.is_ok()) << lane.status().text();
  ASSERT_EQ(lane->groups.size(), 2u);
  EXPECT_EQ(lane->group_members, (std::vector<std::uint32_t>{0, 1, 4, 5}));
  EXPECT_EQ(lane->steps[6].group, CompiledStep::kAlone);
}

TEST(Compile, ARunOfBlocksThatIsNotContiguousIsRefused) {
  Program program;
  program.call = {Collective::all_gather, 2, 0, 0, false};
  program.peers.push_back(1);
  Step step;
  step.kind = StepKind::send;
  step.peers = {0, 1};
  step.source = View{Buffer::output, 0, 2};
  program.steps.push_back(step);
  Extents extents;
  extents.output.counts = {3, 4};
  extents.output.offsets = {0, 3};
  CompileOptions options;
  EXPECT_TRUE(compile(program, extents, options).is_ok());
  options.share = {0, Share::kWhole / 2};
  EXPECT_EQ(compile(program, extents, options).status().code(), Code::unsupported);
  options.share = {};
  extents.output.offsets = {0, 4};
  EXPECT_EQ(compile(program, extents, options).status().code(), Code::unsupported);
}

}  // namespace
}  // namespace tutti
