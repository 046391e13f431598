#include "tests/schedule/shaker.h"

#include <deque>
#include <map>

#include "src/base/format.h"

namespace tutti {
namespace {

std::uint64_t scramble(std::uint64_t x) { return Random(x).next(); }

Element input_element(Rank rank, std::uint64_t block, std::uint64_t index) {
  const std::uint64_t id = scramble((static_cast<std::uint64_t>(rank) << 40) + (block << 20) + index + 1);
  return {id, id, 0};
}

// One rank's memory. Addresses are places in one array, so that what overlaps in a real call overlaps here.
struct Memory {
  std::vector<Element> elements;
  std::size_t input = 0;
  std::size_t output = 0;
  std::vector<std::size_t> scratch;  // where each scratch block begins, and the end
};

struct Activity {
  bool begun = false;
  bool done = false;
  std::uint64_t moved = 0;       // receive, reduce, copy: elements
  std::uint32_t unconsumed = 0;  // send: peers that have not consumed all
};

class Shaker {
 public:
  Shaker(const Schedule& schedule, std::uint64_t count, Random& random)
      : schedule_(schedule), count_(count), random_(random) {}

  std::string run() {
    for (const Program& program : schedule_.programs) {
      lay_out(program);
      activities_.emplace_back(program.steps.size());
      senders_.emplace_back(program.steps.size());
    }
    if (auto wrong = pair(); !wrong.empty()) return wrong;
    for (std::size_t rank = 0; rank < schedule_.programs.size(); ++rank) {
      for (StepId id = 0; id < schedule_.programs[rank].steps.size(); ++id)
        waiting_.push_back({static_cast<Rank>(rank), id});
    }
    // Picks at random; what cannot move now is tried again after something else has. Stuck: a whole round without a
    // move.
    std::size_t idle = 0;
    while (!waiting_.empty()) {
      const std::size_t at = random_.below(waiting_.size());
      std::swap(waiting_[at], waiting_.back());
      if (!advance(waiting_.back())) {
        if (++idle > 64 + 8 * waiting_.size() && !anything_moves()) return "it gets stuck";
        continue;
      }
      idle = 0;
      if (activity(waiting_.back()).done) waiting_.pop_back();
    }
    return judge();
  }

 private:
  struct Ref {
    Rank rank;
    StepId step;
  };

  const Program& program(Rank rank) const { return schedule_.programs[static_cast<std::size_t>(rank)]; }
  const Step& step(Ref ref) const { return program(ref.rank).steps[ref.step]; }
  Activity& activity(Ref ref) { return activities_[static_cast<std::size_t>(ref.rank)][ref.step]; }
  Memory& memory(Rank rank) { return memories_[static_cast<std::size_t>(rank)]; }

  static std::uint64_t blocks(const Call& call, Buffer buffer) {
    const auto p = static_cast<std::uint64_t>(call.ranks);
    const bool root = call.rank == call.root;
    const bool input = buffer == Buffer::input;
    switch (call.what) {
      case Collective::all_reduce:
        return 1;
      case Collective::reduce:
        return input || root ? 1 : 0;
      case Collective::broadcast:
        return !input || root ? 1 : 0;
      case Collective::all_gather:
        return input ? 1 : p;
      case Collective::reduce_scatter:
        return input ? p : 1;
      case Collective::all_to_all:
        return p;
      case Collective::gather:
        return input ? 1 : root ? p : 0;
      case Collective::scatter:
        return !input ? 1 : root ? p : 0;
    }
    return 0;
  }

  std::uint64_t length_in_block(const View& view) const {
    return boundary(count_, view.hi, view.den) - boundary(count_, view.lo, view.den);
  }

  void lay_out(const Program& program) {
    const Call& call = program.call;
    const std::uint64_t in = blocks(call, Buffer::input) * count_;
    const std::uint64_t out = blocks(call, Buffer::output) * count_;
    Memory& memory = memories_.emplace_back();
    std::uint64_t end = 0;
    if (call.in_place && in > 0 && out > 0) {
      const std::uint64_t own = static_cast<std::uint64_t>(call.rank) * count_;
      memory.input = in < out ? own : 0;
      memory.output = out < in ? own : 0;
      end = std::max(in, out);
    } else {
      memory.input = 0;
      memory.output = in;
      end = in + out;
    }
    for (const View& shape : program.scratch) {
      memory.scratch.push_back(end);
      end += length_in_block(shape);
    }
    memory.scratch.push_back(end);
    memory.elements.resize(end);
    for (std::uint64_t i = 0; i < in; ++i) {
      memory.elements[memory.input + i] = input_element(call.rank, i / count_, i % count_);
    }
    before_.push_back(memory.elements);
  }

  struct Place {
    std::uint64_t begin;
    std::uint64_t length;
  };
  Place place(Rank rank, const View& view) {
    const Memory& mine = memory(rank);
    if (view.buffer == Buffer::scratch) {
      const std::uint64_t begin = mine.scratch[view.block];
      if (view.blocks > 1) return {begin, mine.scratch[view.block + view.blocks] - begin};
      const std::uint64_t size = mine.scratch[view.block + 1] - begin;
      const std::uint64_t lo = boundary(size, view.lo, view.den);
      return {begin + lo, boundary(size, view.hi, view.den) - lo};
    }
    const std::uint64_t base = (view.buffer == Buffer::input ? mine.input : mine.output) + view.block * count_;
    if (view.blocks > 1) return {base, view.blocks * count_};
    return {base + boundary(count_, view.lo, view.den), length_in_block(view)};
  }

  // The n-th message from a to b, in program order on both sides.
  std::string pair() {
    std::map<std::pair<Rank, Rank>, std::deque<Ref>> sent;
    for (const Program& from : schedule_.programs) {
      for (StepId id = 0; id < from.steps.size(); ++id) {
        if (from.steps[id].kind != StepKind::send) continue;
        for (const Rank to : from.peers_of(from.steps[id]))
          sent[{from.call.rank, to}].push_back({from.call.rank, id});
        activity({from.call.rank, id}).unconsumed = from.steps[id].peers.count;
      }
    }
    for (const Program& to : schedule_.programs) {
      for (StepId id = 0; id < to.steps.size(); ++id) {
        std::vector<Rank> from;
        if (to.steps[id].kind == StepKind::receive) from.push_back(to.peers_of(to.steps[id])[0]);
        if (to.steps[id].kind == StepKind::reduce) {
          for (const Operand& operand : to.operands_of(to.steps[id])) {
            if (operand.peer != Operand::kLocal) from.push_back(operand.peer);
          }
        }
        for (const Rank peer : from) {
          auto& queue = sent[{peer, to.call.rank}];
          if (queue.empty()) return "a message is taken that nobody sends";
          senders_[static_cast<std::size_t>(to.call.rank)][id].push_back(queue.front());
          queue.pop_front();
        }
      }
    }
    for (const auto& [ranks, queue] : sent) {
      if (!queue.empty()) return "a message is sent that nobody takes";
    }
    return "";
  }

  bool may_begin(Ref ref) {
    for (const StepId earlier : program(ref.rank).after_of(step(ref))) {
      if (!activity({ref.rank, earlier}).done) return false;
    }
    return true;
  }

  // Moves the step on by one element (or begins or ends it). False where nothing can be done.
  bool advance(Ref ref) {
    Activity& mine = activity(ref);
    if (!mine.begun) return mine.begun = may_begin(ref);
    if (step(ref).kind == StepKind::send) {
      if (mine.unconsumed > 0) return false;
      return mine.done = true;
    }
    for (const Ref sender : senders_[static_cast<std::size_t>(ref.rank)][ref.step]) {
      if (!activity(sender).begun) return false;
    }
    if (mine.moved < place(ref.rank, step(ref).target).length) {
      move(ref, mine.moved++);
    } else {
      for (const Ref sender : senders_[static_cast<std::size_t>(ref.rank)][ref.step]) --activity(sender).unconsumed;
      mine.done = true;
    }
    return true;
  }

  bool anything_moves() {
    for (std::size_t i = 0; i < waiting_.size(); ++i) {
      std::swap(waiting_[i], waiting_.back());
      const bool moved = advance(waiting_.back());
      if (moved && activity(waiting_.back()).done) waiting_.pop_back();
      if (moved) return true;
      std::swap(waiting_[i], waiting_.back());
    }
    return false;
  }

  Element read(Rank rank, const View& view, std::uint64_t i) {
    return memory(rank).elements[place(rank, view).begin + i];
  }

  void move(Ref ref, std::uint64_t i) {
    const Step& mine = step(ref);
    const auto& senders = senders_[static_cast<std::size_t>(ref.rank)][ref.step];
    std::vector<Element> operands;
    if (mine.kind == StepKind::copy) operands.push_back(read(ref.rank, mine.source, i));
    if (mine.kind == StepKind::receive) operands.push_back(read(senders[0].rank, step(senders[0]).source, i));
    if (mine.kind == StepKind::reduce) {
      std::size_t slot = 0;
      for (const Operand& operand : program(ref.rank).operands_of(mine)) {
        if (operand.peer == Operand::kLocal) {
          operands.push_back(read(ref.rank, operand.view, i));
        } else {
          const Ref sender = senders[slot++];
          operands.push_back(read(sender.rank, step(sender).source, i));
        }
      }
    }
    Element result = operands[0];
    for (std::size_t k = 1; k < operands.size(); ++k) {
      const bool defined = result.formula != 0 && operands[k].formula != 0;
      result.formula = defined ? scramble(result.formula * 3 + operands[k].formula) : 0;
      result.contents += operands[k].contents;
      result.finishes += operands[k].finishes;
    }
    if (mine.finish && result.formula != 0) {
      result.formula = scramble(result.formula ^ 0xf1f1);
      ++result.finishes;
    }
    memory(ref.rank).elements[place(ref.rank, mine.target).begin + i] = result;
  }

  Element wanted(const Call& call, std::uint64_t block, std::uint64_t i) const {
    const auto self = static_cast<std::uint64_t>(call.rank);
    switch (call.what) {
      case Collective::broadcast:
        return input_element(call.root, 0, i);
      case Collective::all_gather:
      case Collective::gather:
        return input_element(static_cast<Rank>(block), 0, i);
      case Collective::all_to_all:
        return input_element(static_cast<Rank>(block), self, i);
      case Collective::scatter:
        return input_element(call.root, self, i);
      case Collective::all_reduce:
      case Collective::reduce:
      case Collective::reduce_scatter:
        break;
    }
    Element sum{0, 0, 1};
    for (Rank r = 0; r < call.ranks; ++r) {
      sum.contents += input_element(r, call.what == Collective::reduce_scatter ? self : 0, i).contents;
    }
    return sum;
  }

  std::string judge() {
    for (const Program& each : schedule_.programs) {
      const Memory& mine = memory(each.call.rank);
      const std::uint64_t out = blocks(each.call, Buffer::output) * count_;
      for (std::uint64_t i = 0; i < out; ++i) {
        const Element& found = mine.elements[mine.output + i];
        const Element right = wanted(each.call, i / count_, i % count_);
        const bool same_formula = is_reduction(each.call.what) ? found.formula != 0 : found.formula == right.formula;
        if (!same_formula || found.contents != right.contents || found.finishes != right.finishes) {
          return format("rank {} ends with a wrong element {} of {}", each.call.rank, i, out);
        }
        if (each.call.what == Collective::all_reduce &&
            found.formula != memory(0).elements[memory(0).output + i].formula) {
          return format("rank {} computes element {} in another order than rank 0", each.call.rank, i);
        }
      }
      const std::uint64_t in = blocks(each.call, Buffer::input) * count_;
      const std::vector<Element>& before = before_[static_cast<std::size_t>(each.call.rank)];
      for (std::uint64_t i = mine.input; i < mine.input + in; ++i) {
        if (i >= mine.output && i < mine.output + out) continue;
        if (mine.elements[i].formula != before[i].formula)
          return format("rank {} overwrites its input", each.call.rank);
      }
    }
    return "";
  }

  const Schedule& schedule_;
  std::uint64_t count_;
  Random& random_;
  std::vector<Memory> memories_;
  std::vector<std::vector<Element>> before_;
  std::vector<std::vector<Activity>> activities_;
  std::vector<std::vector<std::vector<Ref>>> senders_;  // by rank and step, in operand order
  std::vector<Ref> waiting_;
};

}  // namespace

std::string shake(const Schedule& schedule, std::uint64_t count, Random& random) {
  return Shaker(schedule, count, random).run();
}

}  // namespace tutti
