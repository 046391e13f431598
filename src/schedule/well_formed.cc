#include "src/schedule/well_formed.h"

#include <algorithm>
#include <limits>

#include "src/base/format.h"
#include "src/schedule/layout.h"
#include "src/schedule/print.h"
#include "src/schedule/reject.h"

namespace tutti {
namespace {

template <typename T>
bool inside(const Range& range, const std::vector<T>& vector) {
  return std::uint64_t{range.begin} + range.count <= vector.size();
}

// Checks one program. Each function returns the end of a sentence that begins with the step, or an empty string.
class Checker {
 public:
  Checker(const Schedule& schedule, const Program& program)
      : schedule_(schedule), program_(program), layout_(program.call), named_by_(schedule.programs.size(), kNobody) {}

  Status check() {
    for (std::size_t i = 0; i < program_.scratch.size(); ++i) {
      const View& shape = program_.scratch[i];
      const std::string wrong =
          shape.buffer == Buffer::scratch ? "is not a view of input or output" : view_error(shape);
      if (!wrong.empty() || shape.blocks != 1) {
        return reject(schedule_, program_.call.rank,
                      format("rank {} scratch block {} is like {}, which {}", program_.call.rank, i, print(shape),
                             wrong.empty() ? "is more than one block" : wrong));
      }
    }
    for (StepId id = 0; id < program_.steps.size(); ++id) {
      const Step& step = program_.steps[id];
      if (!inside(step.peers, program_.peers) || !inside(step.operands, program_.operands) ||
          !inside(step.after, program_.after) || step.kind > StepKind::copy) {
        return reject(schedule_, program_.call.rank,
                      format("rank {} step {} has a range outside its program", program_.call.rank, id));
      }
      const std::string wrong = step_error(id, step);
      if (!wrong.empty()) return reject(schedule_, program_.call.rank, id, wrong);
    }
    return Status();
  }

 private:
  static constexpr StepId kNobody = std::numeric_limits<StepId>::max();

  std::string view_error(const View& view) const {
    if (view.buffer > Buffer::scratch) return "is in no buffer";
    if (view.den == 0 || view.lo >= view.hi || view.hi > view.den) return "is not a part of its block";
    if (view.blocks == 0 || (view.blocks > 1 && !view.whole())) return "is not a run of whole blocks";
    const std::uint64_t there =
        view.buffer == Buffer::scratch ? program_.scratch.size() : layout_.blocks(view.buffer);
    if (std::uint64_t{view.block} + view.blocks > there) {
      return format("is outside its buffer, which has {} blocks", there);
    }
    if (view.buffer != Buffer::scratch || (view.whole() && view.blocks == 1)) return "";
    for (std::uint32_t i = 0; i < view.blocks; ++i) {
      if (!program_.scratch[view.block + i].whole()) return "is a part or a run of scratch blocks like a part";
    }
    return "";
  }

  std::string used_view_error(std::string_view act, const View& view) const {
    const std::string wrong = view_error(view);
    return wrong.empty() ? wrong : format("{} {}, which {}", act, print(view), wrong);
  }

  std::string peer_error(Rank peer, StepId id, bool once) {
    if (peer < 0 || peer >= program_.call.ranks) return format("names rank {}, which does not exist", peer);
    if (peer == program_.call.rank) return "names its own rank as a peer";
    if (once && named_by_[static_cast<std::size_t>(peer)] == id) return format("names rank {} twice", peer);
    named_by_[static_cast<std::size_t>(peer)] = id;
    return "";
  }

  std::string length_error(const View& target, const View& source) const {
    if (equally_long(coverage(program_, target), coverage(program_, source))) return "";
    return format("has {} and {}, which are not equally long", print(target), print(source));
  }

  std::string target_error(const View& target) const {
    if (target.buffer == Buffer::input) return format("writes to {}: inputs are only read", print(target));
    return used_view_error("writes", target);
  }

  std::string step_error(StepId id, const Step& step) {
    for (const StepId earlier : program_.after_of(step)) {
      if (earlier >= id) return format("is after step {}, which is not earlier", earlier);
    }
    if (step.finish && step.kind != StepKind::reduce && step.kind != StepKind::copy) {
      return "cannot finish: only a reduce or a copy can";
    }
    if (step.finish && !is_reduction(program_.call.what)) {
      return format("finishes, but {} reduces nothing", name(program_.call.what));
    }
    switch (step.kind) {
      case StepKind::send:
        return send_error(id, step);
      case StepKind::receive:
        return receive_error(id, step);
      case StepKind::reduce:
        return reduce_error(id, step);
      case StepKind::copy:
        return copy_error(step);
    }
    return "";
  }

  std::string send_error(StepId id, const Step& step) {
    if (step.peers.count == 0) return "sends to nobody";
    for (const Rank peer : program_.peers_of(step)) {
      if (auto wrong = peer_error(peer, id, true); !wrong.empty()) return wrong;
    }
    return used_view_error("reads", step.source);
  }

  std::string receive_error(StepId id, const Step& step) {
    if (step.peers.count != 1)
      return format("receives from {} ranks at once; it takes a reduce to do that", step.peers.count);
    if (auto wrong = peer_error(program_.peers_of(step)[0], id, true); !wrong.empty()) return wrong;
    return target_error(step.target);
  }

  std::string reduce_error(StepId id, const Step& step) {
    if (step.operands.count < 2) return format("has {} operands; there must be two or more", step.operands.count);
    if (auto wrong = target_error(step.target); !wrong.empty()) return wrong;
    for (const Operand& operand : program_.operands_of(step)) {
      if (operand.peer != Operand::kLocal) {
        if (auto wrong = peer_error(operand.peer, id, false); !wrong.empty()) return wrong;
        continue;
      }
      if (auto wrong = used_view_error("reads", operand.view); !wrong.empty()) return wrong;
      if (auto wrong = length_error(step.target, operand.view); !wrong.empty()) return wrong;
      if (layout_.overlap(step.target, operand.view) && !layout_.same(step.target, operand.view)) {
        return format("reads {} and writes {}, which overlap but are not the same", print(operand.view),
                      print(step.target));
      }
    }
    return "";
  }

  std::string copy_error(const Step& step) {
    if (auto wrong = target_error(step.target); !wrong.empty()) return wrong;
    if (auto wrong = used_view_error("reads", step.source); !wrong.empty()) return wrong;
    if (auto wrong = length_error(step.target, step.source); !wrong.empty()) return wrong;
    if (!layout_.overlap(step.target, step.source)) return "";
    if (layout_.same(step.target, step.source) && step.finish) return "";
    return format("copies {} to {}, which overlap", print(step.source), print(step.target));
  }

  const Schedule& schedule_;
  const Program& program_;
  Layout layout_;
  std::vector<StepId> named_by_;  // by rank: the last step that named it
};

Status check_calls(const Schedule& schedule) {
  const auto ranks = schedule.programs.size();
  if (ranks == 0 || ranks > static_cast<std::size_t>(std::numeric_limits<Rank>::max())) {
    return Status(Code::invalid, format("schedule rejected: it has {} programs, one per rank are needed", ranks));
  }
  const Call& first = schedule.programs[0].call;
  if (first.what > Collective::scatter) return reject(schedule, 0, "rank 0 is in a collective that does not exist");
  for (std::size_t i = 0; i < ranks; ++i) {
    const Call& call = schedule.programs[i].call;
    const auto rank = static_cast<Rank>(i);
    if (call.rank != rank || call.ranks != static_cast<Rank>(ranks)) {
      return reject(schedule, rank, format("rank {} has the program of rank {} of {}", rank, call.rank, call.ranks));
    }
    if (call.what != first.what || call.root != first.root) {
      return reject(schedule, rank,
                    format("rank {} is in {} with root {}, rank 0 in {} with root {}", rank, name(call.what),
                           call.root, name(first.what), first.root));
    }
  }
  if (first.root < 0 || first.root >= first.ranks || (!is_rooted(first.what) && first.root != 0)) {
    return reject(schedule, 0, format("rank 0 names rank {} as root", first.root));
  }
  return Status();
}

}  // namespace

View coverage(const Program& program, const View& view) {
  if (view.buffer != Buffer::scratch || !view.whole() || view.blocks != 1) return view;
  const View& shape = program.scratch[view.block];
  View part = view;
  part.lo = shape.lo, part.hi = shape.hi, part.den = shape.den;
  return part;
}

Status check_well_formed(const Schedule& schedule) {
  TUTTI_RETURN_IF_ERROR(check_calls(schedule));
  for (const Program& program : schedule.programs) TUTTI_RETURN_IF_ERROR(Checker(schedule, program).check());
  return Status();
}

}  // namespace tutti
