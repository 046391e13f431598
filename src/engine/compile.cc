#include "src/engine/compile.h"

#include <algorithm>
#include <tuple>

#include "src/schedule/dependencies.h"
#include "src/schedule/layout.h"

namespace tutti {

namespace {

struct Placed {
  Place place;
  std::uint64_t bytes = 0;
};

class Compiler {
 public:
  Compiler(const Program& program, const Extents& extents, const CompileOptions& options)
      : program_(program),
        extents_(extents),
        options_(options),
        blocks_(program.call),
        dependencies_(Dependencies::Keep::all) {}

  Result<CompiledLane> run() {
    lane_.segment_bytes = options_.segment_bytes;
    TUTTI_RETURN_IF_ERROR(place_scratch());
    collect_peers();
    for (StepId id = 0; id < program_.steps.size(); ++id) TUTTI_RETURN_IF_ERROR(add(program_.steps[id]));
    link_messages();
    link_unlocks();
    find_groups();
    return std::move(lane_);
  }

 private:
  // Elements [first, last) of a block of n that belong to this lane.
  std::uint64_t share_begin(std::uint64_t n) const { return boundary(n, options_.share.begin, Share::kWhole); }
  std::uint64_t share_length(std::uint64_t n) const {
    return boundary(n, options_.share.end, Share::kWhole) - share_begin(n);
  }
  bool whole_share() const { return options_.share == Share{}; }

  Result<Placed> place(const View& view) const {
    if (view.buffer == Buffer::scratch) return place_in_scratch(view);
    const BlockTable& blocks = extents_.blocks(view.buffer);
    if (view.blocks > 1) {
      if (!whole_share() || !blocks.contiguous(view.block, view.blocks)) {
        return Status(Code::unsupported, "a run of blocks is not contiguous in this call");
      }
      std::uint64_t elements = 0;
      for (std::uint32_t b = view.block; b < view.block + view.blocks; ++b) elements += blocks.length(b);
      return placed(view.buffer, blocks.offset(view.block), elements);
    }
    const std::uint64_t n = blocks.length(view.block);
    const std::uint64_t length = share_length(n);
    const std::uint64_t begin = boundary(length, view.lo, view.den);
    return placed(view.buffer, blocks.offset(view.block) + share_begin(n) + begin,
                  boundary(length, view.hi, view.den) - begin);
  }

  Placed placed(Buffer buffer, std::uint64_t offset, std::uint64_t elements) const {
    return {{buffer, offset * options_.element_bytes}, elements * options_.element_bytes};
  }

  Result<Placed> place_in_scratch(const View& view) const {
    const std::uint64_t begin = scratch_offsets_[view.block];
    if (view.blocks > 1) return placed(Buffer::scratch, begin, scratch_offsets_[view.block + view.blocks] - begin);
    const std::uint64_t length = scratch_offsets_[view.block + 1] - begin;
    const std::uint64_t lo = boundary(length, view.lo, view.den);
    return placed(Buffer::scratch, begin + lo, boundary(length, view.hi, view.den) - lo);
  }

  Status place_scratch() {
    scratch_offsets_.assign(1, 0);
    for (const View& shape : program_.scratch) {
      const Result<Placed> like = place(shape);
      if (!like) return like.status();
      scratch_offsets_.push_back(scratch_offsets_.back() + like->bytes / options_.element_bytes);
    }
    lane_.scratch_bytes = scratch_offsets_.back() * options_.element_bytes;
    return {};
  }

  void collect_peers() {
    std::vector<Rank> ranks(program_.peers);
    for (const Operand& operand : program_.operands) {
      if (operand.peer != Operand::kLocal) ranks.push_back(operand.peer);
    }
    std::sort(ranks.begin(), ranks.end());
    ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
    for (const Rank rank : ranks) lane_.peers.push_back({rank, {}, {}});
    messages_in_.assign(ranks.size(), 0);
    messages_out_.assign(ranks.size(), 0);
  }

  // A step without bytes does nothing, unless it is a message that must travel all the same; it is left out, and its
  // message numbers are not counted, on both sides alike.
  bool left_out(StepKind kind, std::uint64_t bytes) const {
    return bytes == 0 && !(options_.send_empty && (kind == StepKind::send || kind == StepKind::receive));
  }

  Status add(const Step& step) {
    const std::uint32_t first = static_cast<std::uint32_t>(lane_.steps.size());
    find_waits(step);
    const Result<Placed> target = place(step.kind == StepKind::send ? step.source : step.target);
    if (!target) return target.status();
    CompiledStep compiled;
    compiled.kind = step.kind;
    compiled.finish = step.finish;
    compiled.bytes = target->bytes;
    compiled.segments = static_cast<std::uint32_t>(
        std::max<std::uint64_t>(1, (target->bytes + options_.segment_bytes - 1) / options_.segment_bytes));
    compiled.target = target->place;
    if (!left_out(step.kind, target->bytes)) {
      if (step.kind == StepKind::send) {
        compiled.source = target->place;
        for (const Rank rank : program_.peers_of(step)) {
          compiled.peer = static_cast<std::uint32_t>(lane_.find_peer(rank));
          compiled.message = messages_out_[compiled.peer]++;
          push(compiled);
        }
      } else {
        if (step.kind == StepKind::receive) add_inbound(program_.peers_of(step)[0], compiled);
        if (step.kind == StepKind::reduce) TUTTI_RETURN_IF_ERROR(add_operands(step, compiled));
        if (step.kind == StepKind::copy) {
          const Result<Placed> source = place(step.source);
          if (!source) return source.status();
          compiled.source = source->place;
        }
        push(compiled);
      }
    }
    compiled_.push_back({first, static_cast<std::uint32_t>(lane_.steps.size()) - first});
    return {};
  }

  void add_inbound(Rank rank, CompiledStep& compiled) {
    compiled.peer = static_cast<std::uint32_t>(lane_.find_peer(rank));
    compiled.inbound = static_cast<std::uint32_t>(lane_.inbound.size());
    lane_.inbound.push_back(
        {compiled.peer, messages_in_[compiled.peer]++, static_cast<std::uint32_t>(lane_.steps.size())});
  }

  Status add_operands(const Step& step, CompiledStep& compiled) {
    compiled.operands.begin = static_cast<std::uint32_t>(lane_.operands.size());
    for (const Operand& operand : program_.operands_of(step)) {
      CompiledOperand out;
      if (operand.peer == Operand::kLocal) {
        const Result<Placed> local = place(operand.view);
        if (!local) return local.status();
        out.local = local->place;
      } else {
        CompiledStep message;
        add_inbound(operand.peer, message);
        out.peer = message.peer;
        out.inbound = message.inbound;
      }
      lane_.operands.push_back(out);
    }
    compiled.operands.count = static_cast<std::uint32_t>(lane_.operands.size()) - compiled.operands.begin;
    return {};
  }

  // The place as a byte position in the address space in which in-place buffers overlap.
  std::int64_t position(const Place& place) const {
    std::int64_t at = static_cast<std::int64_t>(place.offset);
    if (place.buffer == Buffer::input)
      at += extents_.input_to_output * static_cast<std::int64_t>(options_.element_bytes);
    return at;
  }
  bool same_memory(const Place& a, const Place& b) const {
    if (a.buffer == b.buffer) return true;
    return extents_.in_place && a.buffer != Buffer::scratch && b.buffer != Buffer::scratch;
  }

  struct Access {
    Place place;
    bool writes;
  };
  void accesses(const CompiledStep& step, std::vector<Access>& out) const {
    out.clear();
    if (step.kind == StepKind::send || step.kind == StepKind::copy) out.push_back({step.source, false});
    if (step.kind != StepKind::send) out.push_back({step.target, true});
    for (std::uint32_t i = 0; i < step.operands.count; ++i) {
      const CompiledOperand& operand = lane_.operands[step.operands.begin + i];
      if (operand.peer == CompiledOperand::kLocal) out.push_back({operand.local, false});
    }
  }

  // Everything the step conflicts with, and not only what the program lists: see Dependencies::Keep.
  void find_waits(const Step& step) {
    dependencies_.begin();
    if (step.kind == StepKind::send || step.kind == StepKind::copy)
      dependencies_.read(blocks_.in_memory(step.source));
    for (const Operand& operand : program_.operands_of(step)) {
      if (operand.peer == Operand::kLocal) dependencies_.read(blocks_.in_memory(operand.view));
    }
    if (step.kind != StepKind::send) dependencies_.write(blocks_.in_memory(step.target));
    for (const StepId earlier : program_.after_of(step)) dependencies_.wait_for(earlier);
    waits_ = dependencies_.end();
  }

  void push(CompiledStep compiled) {
    compiled.needs.begin = static_cast<std::uint32_t>(lane_.needs.size());
    accesses(compiled, mine_);
    for (const StepId earlier : waits_) {
      const Range range = compiled_[earlier];
      for (std::uint32_t before = range.begin; before < range.begin + range.count; ++before)
        add_needs(compiled, before);
    }
    compiled.needs.count = static_cast<std::uint32_t>(lane_.needs.size()) - compiled.needs.begin;
    lane_.steps.push_back(compiled);
  }

  // One need for each way in which the two steps touch the same memory and one of them writes; a dependency that no
  // memory explains is on the whole predecessor.
  void add_needs(const CompiledStep& step, std::uint32_t before) {
    const CompiledStep& earlier = lane_.steps[before];
    accesses(earlier, theirs_);
    bool explained = false;
    for (const Access& a : mine_) {
      for (const Access& b : theirs_) {
        if (!(a.writes || b.writes) || !same_memory(a.place, b.place)) continue;
        const std::int64_t shift = position(a.place) - position(b.place);
        const auto bytes = static_cast<std::int64_t>(step.bytes);
        if (shift >= static_cast<std::int64_t>(earlier.bytes) || shift + bytes <= 0) continue;
        explained = true;
        add_need({before, shift}, step.needs.begin);
      }
    }
    if (!explained) add_need({before, static_cast<std::int64_t>(earlier.bytes)}, step.needs.begin);
  }

  void add_need(const Need& need, std::size_t first) {
    for (std::size_t i = first; i < lane_.needs.size(); ++i) {
      if (lane_.needs[i].step == need.step) {
        lane_.needs[i].shift = std::max(lane_.needs[i].shift, need.shift);
        return;
      }
    }
    lane_.needs.push_back(need);
  }

  // Groups inbound messages by peer, in message order, and renumbers the references to them; lists outbound steps.
  void link_messages() {
    std::vector<std::uint32_t> order(lane_.inbound.size());
    for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return lane_.inbound[a].peer < lane_.inbound[b].peer; });
    std::vector<std::uint32_t> renumbered(order.size());
    std::vector<Inbound> sorted(order.size());
    for (std::uint32_t i = 0; i < order.size(); ++i) {
      sorted[i] = lane_.inbound[order[i]];
      renumbered[order[i]] = i;
    }
    lane_.inbound = std::move(sorted);
    std::uint32_t in = 0;
    std::uint32_t out = 0;
    for (std::uint32_t p = 0; p < lane_.peers.size(); ++p) {
      lane_.peers[p].inbound = {in, messages_in_[p]};
      lane_.peers[p].outbound = {out, messages_out_[p]};
      in += messages_in_[p];
      out += messages_out_[p];
    }
    lane_.outbound.resize(out);
    for (std::uint32_t s = 0; s < lane_.steps.size(); ++s) {
      CompiledStep& step = lane_.steps[s];
      if (step.kind == StepKind::receive) step.inbound = renumbered[step.inbound];
      if (step.kind == StepKind::send) lane_.outbound[lane_.peers[step.peer].outbound.begin + step.message] = s;
    }
    for (CompiledOperand& operand : lane_.operands) {
      if (operand.peer != CompiledOperand::kLocal) operand.inbound = renumbered[operand.inbound];
    }
  }

  void link_unlocks() {
    for (const Need& need : lane_.needs) ++lane_.steps[need.step].unlocks.count;
    std::uint32_t at = 0;
    for (CompiledStep& step : lane_.steps) {
      step.unlocks.begin = at;
      at += step.unlocks.count;
      step.unlocks.count = 0;
    }
    lane_.unlocks.resize(at);
    for (std::uint32_t s = 0; s < lane_.steps.size(); ++s) {
      const Range needs = lane_.steps[s].needs;
      for (std::uint32_t i = needs.begin; i < needs.begin + needs.count; ++i) {
        Range& unlocks = lane_.steps[lane_.needs[i].step].unlocks;
        lane_.unlocks[unlocks.begin + unlocks.count++] = s;
      }
    }
  }

  // Sends of equal places are neighbours once sorted. One that some step wrote to since the send before it begins
  // anew; it waits for that step (Dependencies::Keep), so its needs tell.
  void find_groups() {
    std::vector<std::uint32_t> sends;
    for (std::uint32_t s = 0; s < lane_.steps.size(); ++s) {
      if (lane_.steps[s].kind == StepKind::send && lane_.steps[s].bytes > 0) sends.push_back(s);
    }
    const auto what = [this](std::uint32_t s) {
      const CompiledStep& step = lane_.steps[s];
      return std::tuple(step.source.buffer, step.source.offset, step.bytes);
    };
    std::sort(sends.begin(), sends.end(),
              [&](std::uint32_t a, std::uint32_t b) { return std::tuple(what(a), a) < std::tuple(what(b), b); });
    for (std::size_t first = 0, end = 0; first < sends.size(); first = end) {
      for (end = first + 1; end < sends.size() && what(sends[end]) == what(sends[first]); ++end) {
        if (waits_for_later_than(sends[end], sends[end - 1])) break;
      }
      if (end - first < 2) continue;
      const auto begin = static_cast<std::uint32_t>(lane_.group_members.size());
      for (std::size_t i = first; i < end; ++i) {
        lane_.steps[sends[i]].group = static_cast<std::uint32_t>(lane_.groups.size());
        lane_.group_members.push_back(sends[i]);
      }
      lane_.groups.push_back({begin, static_cast<std::uint32_t>(end - first)});
    }
  }

  bool waits_for_later_than(std::uint32_t step, std::uint32_t earlier) const {
    const Range needs = lane_.steps[step].needs;
    const Need* const first = lane_.needs.data() + needs.begin;
    return std::any_of(first, first + needs.count, [&](const Need& need) { return need.step > earlier; });
  }

  const Program& program_;
  const Extents& extents_;
  const CompileOptions& options_;
  const Layout blocks_;
  Dependencies dependencies_;
  std::vector<StepId> waits_;
  CompiledLane lane_;
  std::vector<std::uint64_t> scratch_offsets_;
  std::vector<Range> compiled_;  // program step -> compiled steps (a send to several peers becomes several)
  std::vector<std::uint32_t> messages_in_;
  std::vector<std::uint32_t> messages_out_;
  std::vector<Access> mine_;
  std::vector<Access> theirs_;
};

}  // namespace

int CompiledLane::find_peer(Rank rank) const {
  const auto found = std::lower_bound(peers.begin(), peers.end(), rank,
                                      [](const CompiledPeer& peer, Rank value) { return peer.rank < value; });
  return found != peers.end() && found->rank == rank ? static_cast<int>(found - peers.begin()) : -1;
}

Result<CompiledLane> compile(const Program& program, const Extents& extents, const CompileOptions& options) {
  return Compiler(program, extents, options).run();
}

}  // namespace tutti
