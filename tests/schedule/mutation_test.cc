// Mutations: a valid schedule with one thing changed at random. The verifier must reject it, or the schedule must
// still be right: then it is run element by element in many random orders by the shaker, who shares no code with the
// verifier.
#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "src/base/random.h"
#include "src/schedule/print.h"
#include "src/schedule/verifier.h"
#include "tests/schedule/cases.h"
#include "tests/schedule/shaker.h"

namespace tutti {
namespace {

enum class Mutation {
  delete_step,
  drop_dependency,
  swap_operands,
  drop_operand,
  repeat_operand,
  toggle_finish,
  other_peer,
  other_block,
  other_part,
  other_buffer,
  receive_for_reduce,
  reduce_for_receive,
  repeat_step,
  swap_neighbours,
};
constexpr int kMutations = 14;

template <typename T>
T& any(std::span<T> list, Random& random) {
  return list[random.below(list.size())];
}

void delete_step(Program& program, StepId gone) {
  std::vector<StepId> after;
  program.steps.erase(program.steps.begin() + gone);
  for (Step& step : program.steps) {
    Range kept{static_cast<std::uint32_t>(after.size()), 0};
    for (const StepId earlier : program.after_of(step)) {
      if (earlier != gone) after.push_back(earlier > gone ? earlier - 1 : earlier), ++kept.count;
    }
    step.after = kept;
  }
  program.after = after;
}

// A view of the step, to be changed.
View& any_view(Program& program, Step& step, Random& random) {
  if (step.kind == StepKind::send) return step.source;
  if (step.kind == StepKind::copy && random.chance(0.5)) return step.source;
  if (step.kind == StepKind::reduce && random.chance(0.5)) {
    Operand& operand = any(std::span(program.operands).subspan(step.operands.begin, step.operands.count), random);
    if (operand.peer == Operand::kLocal) return operand.view;
  }
  return step.target;
}

void change_operands(Program& program, Step& step, const std::vector<Operand>& operands) {
  step.operands = append(program.operands, std::span<const Operand>(operands));
}

// Applies the mutation to one step. False where it does not apply.
bool mutate(Program& program, StepId id, Mutation mutation, Random& random) {
  Step& step = program.steps[id];
  const auto listed = program.operands_of(step);
  std::vector<Operand> operands(listed.begin(), listed.end());
  switch (mutation) {
    case Mutation::delete_step:
      delete_step(program, id);
      return true;
    case Mutation::drop_dependency: {
      if (step.after.count == 0) return false;
      const auto list = std::span(program.after).subspan(step.after.begin, step.after.count);
      std::swap(any(list, random), list.back());
      --step.after.count;
      return true;
    }
    case Mutation::swap_operands:
      if (operands.size() < 2) return false;
      std::swap(operands[0], operands[1 + random.below(operands.size() - 1)]);
      change_operands(program, step, operands);
      return true;
    case Mutation::drop_operand:
      if (operands.size() < 2) return false;
      operands.erase(operands.begin() + static_cast<std::ptrdiff_t>(random.below(operands.size())));
      change_operands(program, step, operands);
      return true;
    case Mutation::repeat_operand:
      if (operands.empty()) return false;
      operands.push_back(any(std::span(operands), random));
      change_operands(program, step, operands);
      return true;
    case Mutation::toggle_finish:
      if (step.kind != StepKind::reduce && step.kind != StepKind::copy) return false;
      step.finish = !step.finish;
      return true;
    case Mutation::other_peer: {
      if (step.peers.count == 0) return false;
      Rank& peer = any(std::span(program.peers).subspan(step.peers.begin, step.peers.count), random);
      const Rank before = peer;
      peer = static_cast<Rank>(random.below(static_cast<std::uint64_t>(program.call.ranks)));
      return peer != before;
    }
    case Mutation::other_block: {
      View& view = any_view(program, step, random);
      const std::uint32_t before = view.block;
      view.block = static_cast<std::uint32_t>(random.below(static_cast<std::uint64_t>(program.call.ranks)));
      return view.block != before;
    }
    case Mutation::other_part: {
      View& view = any_view(program, step, random);
      const View before = view;
      if (view.den > 1 && random.chance(0.5)) {
        const std::uint32_t width = view.hi - view.lo;
        view.lo = static_cast<std::uint32_t>(random.below(view.den - width + 1));
        view.hi = view.lo + width;
      } else {
        view = view.run(0).split(2)[static_cast<std::uint32_t>(random.below(2))];
      }
      return view != before;
    }
    case Mutation::other_buffer: {
      View& view = any_view(program, step, random);
      const Buffer before = view.buffer;
      view.buffer = static_cast<Buffer>(random.below(3));
      return view.buffer != before;
    }
    case Mutation::receive_for_reduce:
      if (step.kind != StepKind::reduce) return false;
      for (const Operand& operand : operands) {
        if (operand.peer == Operand::kLocal) continue;
        step.kind = StepKind::receive;
        step.finish = false;
        step.peers = append(program.peers, std::span<const Rank>(&operand.peer, 1));
        return true;
      }
      return false;
    case Mutation::reduce_for_receive:
      if (step.kind != StepKind::receive) return false;
      change_operands(program, step, {peer(program.peers_of(step)[0]), local(step.target)});
      step.kind = StepKind::reduce;
      return true;
    case Mutation::repeat_step: {
      const Step again = step;
      program.steps.push_back(again);
      return true;
    }
    case Mutation::swap_neighbours:
      if (id + 1 >= program.steps.size()) return false;
      std::swap(program.steps[id], program.steps[id + 1]);
      return program.steps[id] != program.steps[id + 1];
  }
  return false;
}

// A schedule with one change, and what it was.
struct Mutant {
  Schedule schedule;
  Mutation mutation;
  std::string story;
};

std::optional<Mutant> make_mutant(std::uint64_t seed) {
  Random random(seed);
  const Algorithm& algorithm = all_algorithms()[random.below(all_algorithms().size())];
  const auto ranks = static_cast<Rank>(2 + random.below(6));
  const Rank root =
      is_rooted(algorithm.what) ? static_cast<Rank>(random.below(static_cast<std::uint64_t>(ranks))) : 0;
  const Call call{algorithm.what, ranks, 0, root, random.chance(0.5)};
  Mutant mutant{make_schedule(algorithm, call), static_cast<Mutation>(random.below(kMutations)), ""};
  Program& program = any(std::span(mutant.schedule.programs), random);
  if (program.steps.empty()) return std::nullopt;
  const auto step = static_cast<StepId>(random.below(program.steps.size()));
  mutant.story = format("seed {}: {}, mutation {} at rank {} step {}", seed, describe(algorithm, call),
                        static_cast<int>(mutant.mutation), program.call.rank, step);
  if (!mutate(program, step, mutant.mutation, random)) return std::nullopt;
  return mutant;
}

TEST(Mutation, EveryMutantIsRejectedOrStillRight) {
  const std::uint64_t seeds = long_run() ? 300'000 : 10'000;
  std::array<int, kMutations> made{}, accepted{};
  Random random(1);
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const auto mutant = make_mutant(seed);
    if (!mutant) continue;
    ++made[static_cast<std::size_t>(mutant->mutation)];
    const Status status = verify(mutant->schedule);
    if (!status) {
      EXPECT_EQ(status.code(), Code::invalid) << mutant->story;
      EXPECT_NE(status.text().find("rank "), std::string::npos) << mutant->story << ": " << status.text();
      continue;
    }
    ++accepted[static_cast<std::size_t>(mutant->mutation)];
    for (int order = 0; order < 12; ++order) {
      for (const std::uint64_t elements : {1u, 7u, 12u}) {
        ASSERT_EQ(shake(mutant->schedule, elements, random), "")
            << mutant->story << ", " << elements << " elements, accepted though:\n"
            << print(mutant->schedule);
      }
    }
  }
  for (std::size_t i = 0; i < kMutations; ++i) {
    std::printf("  mutation %2zu: %5d made, %4d accepted and right in all orders tried\n", i, made[i], accepted[i]);
    EXPECT_GT(made[i], 20) << "mutation " << i;
  }
  // No schedule has a step, a finish or a contribution to spare.
  for (const Mutation never : {Mutation::delete_step, Mutation::toggle_finish, Mutation::drop_operand,
                               Mutation::repeat_operand, Mutation::receive_for_reduce}) {
    EXPECT_EQ(accepted[static_cast<std::size_t>(never)], 0) << static_cast<int>(never);
  }
}

// Algorithms do nothing needless: without any one of its steps, a schedule is wrong.
TEST(Mutation, NoAlgorithmHasAStepToSpare) {
  for (const Algorithm& algorithm : all_algorithms()) {
    for (Rank ranks = 1; ranks <= (long_run() ? 12 : 6); ++ranks) {
      for_each_call(algorithm.what, ranks, 1, [&](const Call& call) {
        const Schedule schedule = make_schedule(algorithm, call);
        for (std::size_t rank = 0; rank < schedule.programs.size(); ++rank) {
          const Program& program = schedule.programs[rank];
          for (StepId id = 0; id < program.steps.size(); ++id) {
            Schedule without = schedule;
            delete_step(without.programs[rank], id);
            EXPECT_FALSE(verify(without).is_ok()) << describe(algorithm, call) << ": rank " << rank
                                                  << " could do without " << print(program, program.steps[id]);
          }
        }
      });
    }
  }
}

// The other way round: where the shaker finds an order that goes wrong, the verifier must have rejected the schedule
// for a reason of its own, which shows that the shaker can tell.
TEST(Mutation, TheShakerFindsFaultsToo) {
  Random random(2);
  int found = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const auto mutant = make_mutant(seed);
    if (!mutant || mutant->mutation != Mutation::drop_dependency) continue;
    for (int order = 0; order < 12; ++order) {
      if (shake(mutant->schedule, 7, random).empty()) continue;
      ++found;
      EXPECT_FALSE(verify(mutant->schedule).is_ok()) << mutant->story;
      break;
    }
  }
  EXPECT_GT(found, 10);
}

}  // namespace
}  // namespace tutti
