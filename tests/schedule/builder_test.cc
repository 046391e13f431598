// The builder: which dependencies it infers, and what it leaves out.
#include "src/schedule/builder.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

std::vector<StepId> after(const Program& program, StepId step) {
  const auto list = program.after_of(program.steps[step]);
  return {list.begin(), list.end()};
}

Builder all_reduce_builder(bool in_place) { return Builder({Collective::all_reduce, 4, 1, 0, in_place}); }

using Ids = std::vector<StepId>;

TEST(Builder, IndependentStepsHaveNoDependencies) {
  Builder b = all_reduce_builder(false);
  const auto in = b.input().split(4);
  const auto out = b.output().split(4);
  b.send(2, in[0]);
  b.send(3, in[0]);
  b.receive(2, out[0]);
  b.receive(3, out[1]);
  const Program program = std::move(b).take();
  EXPECT_TRUE(program.after.empty());
}

TEST(Builder, AReadWaitsForTheWriteOfWhatItReads) {
  Builder b = all_reduce_builder(false);
  b.receive(2, b.output().split(4)[1]);
  b.receive(2, b.output().split(4)[3]);
  b.send(3, b.output().split(2)[0]);
  EXPECT_EQ(after(std::move(b).take(), 2), Ids({0}));
}

TEST(Builder, AWriteWaitsForTheSendThatStillReads) {
  Builder b = all_reduce_builder(false);
  b.receive(2, b.output());
  b.send(3, b.output());
  b.receive(2, b.output());
  const Program program = std::move(b).take();
  EXPECT_EQ(after(program, 2), Ids({1})) << "the send already waits for the first receive";
}

TEST(Builder, AWriteWaitsForTheWriteBefore) {
  Builder b = all_reduce_builder(false);
  b.receive(2, b.output());
  b.receive(3, b.output());
  EXPECT_EQ(after(std::move(b).take(), 1), Ids({0}));
}

TEST(Builder, AWriteWaitsForAllReadersSinceTheLastWrite) {
  Builder b = all_reduce_builder(false);
  b.send(0, b.output().split(2)[0]);
  b.send(2, b.output().split(2)[1]);
  b.send(3, b.output());
  b.receive(0, b.output());
  b.receive(2, b.output());
  const Program program = std::move(b).take();
  EXPECT_EQ(after(program, 3), Ids({0, 1, 2}));
  EXPECT_EQ(after(program, 4), Ids({3}));
}

TEST(Builder, InPlaceInputAndOutputAreOneMemory) {
  for (const bool in_place : {false, true}) {
    Builder b = all_reduce_builder(in_place);
    b.send(2, b.input());
    b.receive(2, b.output());
    EXPECT_EQ(after(std::move(b).take(), 1), in_place ? Ids({0}) : Ids());
  }
}

TEST(Builder, AnInPlaceAllGathersInputIsItsOwnOutputBlock) {
  Builder b({Collective::all_gather, 4, 1, 0, true});
  b.send(2, b.input());
  b.receive(2, b.output(0));
  b.receive(3, b.output(1));
  const Program program = std::move(b).take();
  EXPECT_EQ(after(program, 1), Ids());
  EXPECT_EQ(after(program, 2), Ids({0}));
}

TEST(Builder, AnInPlaceReduceScattersOutputIsItsOwnInputBlock) {
  Builder b({Collective::reduce_scatter, 4, 1, 0, true});
  b.send(0, b.input(0));
  b.send(2, b.inputs().run(1, 2));
  b.receive(2, b.output());
  EXPECT_EQ(after(std::move(b).take(), 2), Ids({1}));
}

TEST(Builder, InPlaceSaysNothingAwayFromTheRoot) {
  Builder b({Collective::reduce, 4, 1, 0, true});
  EXPECT_EQ(b.outputs().blocks, 0u);
  const View sum = b.scratch_like(b.input());
  b.send(0, b.input());
  b.receive(2, sum);
  EXPECT_EQ(after(std::move(b).take(), 1), Ids());
}

TEST(Builder, AReduceMayWriteWhatItReads) {
  Builder b = all_reduce_builder(true);
  b.reduce(b.output(), {peer(0), local(b.input())});
  b.reduce(b.output(), {local(b.output()), peer(2)});
  const Program program = std::move(b).take();
  EXPECT_EQ(after(program, 0), Ids());
  EXPECT_EQ(after(program, 1), Ids({0}));
}

TEST(Builder, BoundariesOfDifferentSplitsAreComparedExactly) {
  Builder b = all_reduce_builder(false);
  b.receive(0, b.output().split(3)[0]);                  // [0, 1/3)
  b.send(2, b.output().split(2)[1]);                     // [1/2, 1): apart
  b.send(2, b.output().split(7).run(2, 2));              // [2/7, 4/7): overlaps by 1/21
  b.send(2, b.output().split(3)[1].split(5).run(0, 1));  // [1/3, 2/5): meets, apart
  const Program program = std::move(b).take();
  EXPECT_EQ(after(program, 1), Ids());
  EXPECT_EQ(after(program, 2), Ids({0}));
  EXPECT_EQ(after(program, 3), Ids());
}

TEST(Builder, FarTooFineBoundariesCostAtMostExtraDependencies) {
  Builder b = all_reduce_builder(false);
  b.receive(0, b.output().split(4'000'037)[0]);
  b.receive(2, b.output().split(4'000'039)[0]);  // overlaps, and has no common grid with the first
  b.send(3, b.output().split(4'000'039)[0]);
  b.receive(2, b.output());
  const Program program = std::move(b).take();
  EXPECT_EQ(after(program, 1), Ids({0}));
  EXPECT_EQ(after(program, 2), Ids({1}));
  EXPECT_EQ(after(program, 3), Ids({2}));
}

TEST(Builder, RunsOfBlocksOverlapBlockByBlock) {
  Builder b({Collective::all_gather, 8, 1, 0, false});
  b.receive(0, b.outputs().run(0, 3));
  b.receive(2, b.outputs().run(3, 3));
  b.send(3, b.outputs().run(2, 2));
  b.send(3, b.output(6));
  const Program program = std::move(b).take();
  EXPECT_EQ(after(program, 2), Ids({0, 1}));
  EXPECT_EQ(after(program, 3), Ids());
}

TEST(Builder, AStepCanBeMadeToWait) {
  Builder b = all_reduce_builder(false);
  const StepId first = b.send(0, b.input());
  b.wait_for(first);
  b.send(2, b.input());
  b.send(3, b.input());
  const Program program = std::move(b).take();
  EXPECT_EQ(after(program, 1), Ids({0}));
  EXPECT_EQ(after(program, 2), Ids());
}

TEST(Builder, ACopyOntoItselfIsAStepOnlyToFinish) {
  Builder b = all_reduce_builder(true);
  b.copy(b.output(), b.input());
  EXPECT_EQ(std::move(b).take().steps.size(), 0u);
  Builder finishing = all_reduce_builder(true);
  finishing.copy(finishing.output(), finishing.input(), true);
  EXPECT_EQ(std::move(finishing).take().steps.size(), 1u);
}

TEST(Builder, ScratchIsToldInTermsOfInputAndOutput) {
  Builder b = all_reduce_builder(false);
  const View part = b.scratch_like(b.input().split(4)[2]);
  EXPECT_EQ(part, (View{Buffer::scratch, 0}));
  const View again = b.scratch_like(part);
  const View run = b.scratch_blocks(3);
  EXPECT_EQ(run, (View{Buffer::scratch, 2, 3}));
  const View half_of_whole = b.scratch_like(run.run(1).split(2)[1]);
  const Program program = std::move(b).take();
  EXPECT_EQ(program.scratch[part.block], (View{Buffer::input, 0, 1, 2, 3, 4}));
  EXPECT_EQ(program.scratch[again.block], program.scratch[part.block]);
  EXPECT_EQ(program.scratch[run.block], (View{Buffer::input, 0}));
  EXPECT_EQ(program.scratch[half_of_whole.block], (View{Buffer::input, 0, 1, 1, 2, 2}));
}

TEST(View, ChunksMeetExactlyWhateverTheLength) {
  for (const std::uint64_t n : {0u, 1u, 7u, 64u, 1000003u}) {
    const View whole;
    const auto chunks = whole.split(13);
    std::uint64_t at = 0;
    for (std::uint32_t i = 0; i < 13; ++i) {
      const auto parts = chunks[i].split(3);
      for (std::uint32_t j = 0; j < 3; ++j) {
        EXPECT_EQ(boundary(n, parts[j].lo, parts[j].den), at);
        at = boundary(n, parts[j].hi, parts[j].den);
      }
      EXPECT_EQ(at, boundary(n, chunks[i].hi, chunks[i].den));
    }
    EXPECT_EQ(at, n);
  }
}

TEST(Group, GoesRound) {
  const Group group = everybody({Collective::broadcast, 5, 1, 3, false}, 3);
  EXPECT_EQ(group.members, std::vector<Rank>({3, 4, 0, 1, 2}));
  EXPECT_EQ(group.self(), 1);
  EXPECT_EQ(group.next(), 2);
  EXPECT_EQ(group.previous(), 0);
  EXPECT_EQ(group.before(4), 4u);
  EXPECT_EQ(group.after(2), 0u);
}

}  // namespace
}  // namespace tutti
