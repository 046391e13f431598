#include "src/schedule/verifier.h"

#include "src/base/format.h"
#include "src/schedule/atoms.h"
#include "src/schedule/conflicts.h"
#include "src/schedule/expressions.h"
#include "src/schedule/layout.h"
#include "src/schedule/print.h"
#include "src/schedule/reject.h"
#include "src/schedule/run.h"
#include "src/schedule/well_formed.h"

namespace tutti {
namespace {

std::uint32_t input_blocks_at_most(const Call& call) {
  Call at_root = call;
  at_root.rank = call.root;
  return Layout(at_root).input_blocks;
}

// What the memory of all ranks holds, atom by atom, while the schedule is played in one of its possible orders.
class Player {
 public:
  Player(const Schedule& schedule, const Atoms& atoms, const Run& run)
      : schedule_(schedule),
        atoms_(atoms),
        run_(run),
        call_(schedule.programs[0].call),
        expressions_(call_.ranks, input_blocks_at_most(call_)) {
    for (const Program& program : schedule.programs) begin(program);
  }

  Status play() {
    for (const StepRef ref : run_.order) {
      const Step& step = program(ref.rank).steps[ref.step];
      TUTTI_RETURN_IF_ERROR(step.kind == StepKind::reduce ? reduce(ref, step) : move(ref, step));
    }
    return Status();
  }

  Status check_results();

 private:
  const Program& program(Rank rank) const { return schedule_.programs[static_cast<std::size_t>(rank)]; }

  void begin(const Program& program) {
    const Layout& layout = layouts_.emplace_back(program.call);
    auto& memory = memory_.emplace_back();
    memory.assign((std::size_t{layout.scratch_base} + program.scratch.size()) * atoms_.size(),
                  Expressions::kUndefined);
    for (std::uint32_t block = 0; block < layout.input_blocks; ++block) {
      const auto first = memory.begin() + std::size_t{layout.input_base + block} * atoms_.size();
      std::fill(first, first + atoms_.size(), expressions_.leaf(program.call.rank, block));
    }
  }

  // Where a view's first block begins in its rank's memory.
  Expression* at(Rank rank, const View& view) {
    return memory_[static_cast<std::size_t>(rank)].data() +
           std::size_t{layouts_[static_cast<std::size_t>(rank)].number(view)} * atoms_.size();
  }

  // The step whose source an operand or message reads, and the rank where it is.
  struct Source {
    StepRef reader;
    const View* view;
  };

  Status undefined(const Source& source, std::uint32_t block, std::uint32_t atom) const {
    const View where = atoms_.view(source.view->buffer, source.view->block + block, atom);
    return reject(schedule_, source.reader.rank, source.reader.step,
                  format("reads {}, which nothing has written", print(where)));
  }

  Source source_of_message(StepRef ref, std::uint32_t slot) const {
    const StepRef sender = run_.senders[run_.first_sender[run_.index(ref)] + slot];
    return {sender, &program(sender.rank).steps[sender.step].source};
  }

  // A receive or a copy.
  Status move(StepRef ref, const Step& step) {
    const Source source = step.kind == StepKind::copy ? Source{ref, &step.source} : source_of_message(ref, 0);
    const Expression* from = at(source.reader.rank, *source.view);
    Expression* to = at(ref.rank, step.target);
    const Atoms::Span span = atoms_.of(program(ref.rank), step.target);
    for (std::uint32_t block = 0; block < step.target.blocks; ++block) {
      for (std::uint32_t atom = span.begin; atom < span.end; ++atom) {
        Expression value = from[atom];
        if (value == Expressions::kUndefined) return undefined(source, block, atom);
        if (step.finish) {
          if (expressions_.is_finished(value)) return finished_again(ref, step, block, atom);
          value = expressions_.finish(value, ref);
        }
        to[atom] = value;
      }
      from += atoms_.size();
      to += atoms_.size();
    }
    return Status();
  }

  Status reduce(StepRef ref, const Step& step) {
    sources_.clear();
    std::uint32_t slot = 0;
    for (const Operand& operand : program(ref.rank).operands_of(step)) {
      const Source source =
          operand.peer == Operand::kLocal ? Source{ref, &operand.view} : source_of_message(ref, slot++);
      sources_.push_back({source, at(source.reader.rank, *source.view)});
    }
    operands_.resize(sources_.size());
    Expression* to = at(ref.rank, step.target);
    const Atoms::Span span = atoms_.of(program(ref.rank), step.target);
    for (std::uint32_t block = 0; block < step.target.blocks; ++block) {
      for (std::uint32_t atom = span.begin; atom < span.end; ++atom) {
        const std::size_t place = std::size_t{block} * atoms_.size() + atom;
        for (std::size_t i = 0; i < sources_.size(); ++i) {
          operands_[i] = sources_[i].memory[place];
          if (operands_[i] == Expressions::kUndefined) return undefined(sources_[i].source, block, atom);
          if (expressions_.is_finished(operands_[i])) return finished_again(ref, step, block, atom);
        }
        Expression value = expressions_.fold(operands_, ref);
        if (step.finish) value = expressions_.finish(value, ref);
        to[place] = value;
      }
    }
    return Status();
  }

  Status finished_again(StepRef ref, const Step& step, std::uint32_t block, std::uint32_t atom) const {
    const View where = atoms_.view(step.target.buffer, step.target.block + block, atom);
    return reject(schedule_, ref.rank, ref.step,
                  format("makes {} of a result that is already finished", print(where)));
  }

  Status check_block(Rank rank, std::uint32_t block);
  Status check_sum(Rank rank, std::uint32_t block, std::uint32_t atom, Expression value, const Signature& wanted);
  Status wrong(Rank rank, std::uint32_t block, std::uint32_t atom, std::string_view what) const {
    return reject(schedule_, rank,
                  format("rank {} {} {}", rank, print(atoms_.view(Buffer::output, block, atom)), what));
  }
  Status wrong_sum(Rank rank, std::uint32_t block, std::uint32_t atom, Expression value,
                   std::uint32_t wanted_block) const;
  std::string blame(Expression value, std::uint32_t wanted_block) const;

  const Schedule& schedule_;
  const Atoms& atoms_;
  const Run& run_;
  Call call_;
  Expressions expressions_;
  std::vector<Layout> layouts_;
  std::vector<std::vector<Expression>> memory_;  // by rank: memory block by memory block, atom by atom

  struct Reading {
    Source source;
    const Expression* memory;
  };
  std::vector<Reading> sources_;
  std::vector<Expression> operands_;
};

// "rank 3", "ranks 0-7", "ranks 0, 2, 5-6".
std::string ranks_text(const std::vector<Rank>& ranks) {
  constexpr int kNamed = 6;
  std::string text = ranks.size() == 1 ? "rank" : "ranks";
  int named = 0;
  for (std::size_t i = 0; i < ranks.size(); ++named) {
    std::size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    if (named == kNamed) return text + ", ...";
    text += format("{} {}", named == 0 ? "" : ",", ranks[i]);
    if (last > i) text += format("-{}", ranks[last]);
    i = last + 1;
  }
  return text;
}

// What is wrong with a sum that should have every rank's block once: "ranks 0-7 twice", "without rank 3".
std::string difference(const Expressions& expressions, Expression value, std::uint32_t wanted_block, Rank ranks) {
  std::vector<std::uint64_t> times(static_cast<std::size_t>(ranks), 0);
  std::string foreign;
  for (const auto& [leaf, count] : expressions.leaves(value)) {
    const Expressions::Leaf of = expressions.leaf_of(leaf);
    if (of.block == wanted_block) {
      times[static_cast<std::size_t>(of.rank)] = count;
    } else if (foreign.empty()) {
      foreign = format("with rank {}'s block {}, which belongs elsewhere", of.rank, of.block);
    }
  }
  std::vector<Rank> missing, twice, more;
  for (Rank r = 0; r < ranks; ++r) {
    const std::uint64_t count = times[static_cast<std::size_t>(r)];
    if (count != 1) (count == 0 ? missing : count == 2 ? twice : more).push_back(r);
  }
  std::string text = foreign;
  const auto add = [&](const std::vector<Rank>& list, std::string_view before, std::string_view after) {
    if (!list.empty()) text += format("{}{}{}{}", text.empty() ? "" : " and ", before, ranks_text(list), after);
  };
  add(twice, "with ", " twice");
  add(more, "with ", " more than twice");
  add(missing, "without ", "");
  return text;
}

// The smallest part of the formula that has something twice or something foreign, by the step that made it.
std::string Player::blame(Expression value, std::uint32_t wanted_block) const {
  const auto is_wrong = [&](Expression e) {
    for (const auto& [leaf, count] : expressions_.leaves(e)) {
      if (count > 1 || expressions_.leaf_of(leaf).block != wanted_block) return true;
    }
    return false;
  };
  if (expressions_.is_leaf(value) || !is_wrong(value)) return "";
  for (bool deeper = true; deeper;) {
    deeper = false;
    for (const Expression operand : expressions_.operands(value)) {
      if (expressions_.is_leaf(operand) || !is_wrong(operand)) continue;
      value = operand;
      deeper = true;
      break;
    }
  }
  const StepRef maker = expressions_.maker(value);
  return format("; first wrong at {}", describe(schedule_, maker.rank, maker.step));
}

Status Player::wrong_sum(Rank rank, std::uint32_t block, std::uint32_t atom, Expression value,
                         std::uint32_t wanted_block) const {
  return wrong(
      rank, block, atom,
      format("ends {}{}", difference(expressions_, value, wanted_block, call_.ranks), blame(value, wanted_block)));
}

Status Player::check_sum(Rank rank, std::uint32_t block, std::uint32_t atom, Expression value,
                         const Signature& wanted) {
  const std::uint32_t wanted_block = call_.what == Collective::reduce_scatter ? static_cast<std::uint32_t>(rank) : 0;
  if (expressions_.signature(value) != wanted) return wrong_sum(rank, block, atom, value, wanted_block);
  if (!expressions_.is_finished(value)) return wrong(rank, block, atom, "ends with a result that is never finished");
  if (call_.what != Collective::all_reduce) return Status();
  const Expression first = memory_[0][std::size_t{layouts_[0].output_base} * atoms_.size() + atom];
  if (value == first) return Status();
  return wrong(rank, block, atom,
               "ends with the right sum in another order than on rank 0: their floating-point results would differ");
}

Status Player::check_block(Rank rank, std::uint32_t block) {
  const Expression* values = at(rank, {Buffer::output, block});
  if (is_reduction(call_.what)) {
    const std::uint32_t wanted_block =
        call_.what == Collective::reduce_scatter ? static_cast<std::uint32_t>(rank) : 0;
    Signature wanted;
    for (Rank r = 0; r < call_.ranks; ++r) wanted += expressions_.signature(expressions_.leaf(r, wanted_block));
    for (std::uint32_t atom = 0; atom < atoms_.size(); ++atom) {
      if (values[atom] == Expressions::kUndefined) return wrong(rank, block, atom, "ends with nothing written to it");
      TUTTI_RETURN_IF_ERROR(check_sum(rank, block, atom, values[atom], wanted));
    }
    return Status();
  }
  const auto self = static_cast<std::uint32_t>(rank);
  Expressions::Leaf wanted{call_.root, 0};
  if (call_.what == Collective::all_gather || call_.what == Collective::gather)
    wanted = {static_cast<Rank>(block), 0};
  if (call_.what == Collective::all_to_all) wanted = {static_cast<Rank>(block), self};
  if (call_.what == Collective::scatter) wanted = {call_.root, self};
  for (std::uint32_t atom = 0; atom < atoms_.size(); ++atom) {
    if (values[atom] == expressions_.leaf(wanted.rank, wanted.block)) continue;
    if (values[atom] == Expressions::kUndefined) return wrong(rank, block, atom, "ends with nothing written to it");
    if (!expressions_.is_leaf(values[atom])) {
      const StepRef maker = expressions_.maker(values[atom]);
      return wrong(rank, block, atom,
                   format("ends with a sum made at {}", describe(schedule_, maker.rank, maker.step)));
    }
    const Expressions::Leaf found = expressions_.leaf_of(values[atom]);
    return wrong(rank, block, atom,
                 format("ends with rank {}'s block {} instead of rank {}'s block {}", found.rank, found.block,
                        wanted.rank, wanted.block));
  }
  return Status();
}

Status Player::check_results() {
  for (Rank rank = 0; rank < call_.ranks; ++rank) {
    for (std::uint32_t block = 0; block < layouts_[static_cast<std::size_t>(rank)].output_blocks; ++block) {
      TUTTI_RETURN_IF_ERROR(check_block(rank, block));
    }
  }
  return Status();
}

}  // namespace

Status verify(const Schedule& schedule) {
  TUTTI_RETURN_IF_ERROR(check_well_formed(schedule));
  const Call& call = schedule.programs[0].call;
  if (std::uint64_t{input_blocks_at_most(call)} * schedule.programs.size() >= 1u << 31) {
    return Status(Code::unsupported, format("schedule {}/{} not verified: it has more than 2^31 input blocks",
                                            name(call.what), schedule.programs.size()));
  }
  const auto played = run(schedule);
  if (!played) return played.status();
  const Atoms atoms(schedule);
  TUTTI_RETURN_IF_ERROR(check_conflicts(schedule, atoms));
  Player player(schedule, atoms, *played);
  TUTTI_RETURN_IF_ERROR(player.play());
  return player.check_results();
}

}  // namespace tutti
