#include "algorithms/ring.h"

#include "algorithms/pieces.h"

namespace tutti {
namespace {

// The ring through a group, forwards or backwards.
struct Ring {
  const Group& group;
  bool backwards;

  std::uint32_t size() const { return group.size(); }
  Rank next() const { return backwards ? group.previous() : group.next(); }
  Rank previous() const { return backwards ? group.next() : group.previous(); }
  std::uint32_t before(std::uint32_t steps) const { return backwards ? group.after(steps) : group.before(steps); }
};

// partial(ring, part, step) says where the sum of the piece that arrives in that step goes. The steps of the two
// rings alternate, because with two ranks both go to the same peer, and its messages must have one order.
template <typename Partial>
void reduce_scatter(Builder& b, const Group& group, const View& input, bool finish, Directions directions,
                    const Partial& partial) {
  const std::uint32_t p = group.size();
  const auto parts = static_cast<std::uint32_t>(directions);
  b.reserve(std::size_t{2} * parts * p);
  for (std::uint32_t step = 1; step < p; ++step) {
    for (std::uint32_t part = 0; part < parts; ++part) {
      const Ring ring{group, part == 1};
      const Pieces own(input, p, part, parts);
      b.send(ring.next(), step == 1 ? own[ring.before(1)] : partial(ring, part, step - 1));
      b.reduce(partial(ring, part, step), {peer(ring.previous()), local(own[ring.before(step + 1)])},
               finish && step == p - 1);
    }
  }
}

// Partial sums of a reduce-scatter into one block. One is sent on while the next arrives, so they alternate between
// the output and scratch; in place, the output holds this rank's own contribution until the end and may not be used.
class AlternatingBlocks {
 public:
  explicit AlternatingBlocks(Builder& b) : last_(b.ranks() - 1), output_(b.output()), even_(output_), odd_(output_) {
    if (last_ > 1) odd_ = b.scratch_like(output_);
    if (last_ > 2 && b.call().in_place) even_ = b.scratch_like(output_);
  }

  View operator()(std::uint32_t step) const {
    if (static_cast<Rank>(step) == last_) return output_;
    return (last_ - static_cast<Rank>(step)) % 2 == 0 ? even_ : odd_;
  }

 private:
  Rank last_;
  View output_;
  View even_;
  View odd_;
};

void reduce_scatter_collective(Builder& b, Directions directions) {
  const Group group = everybody(b.call());
  if (group.size() == 1) return b.copy(b.output(), b.input(), true);
  const AlternatingBlocks partial(b);
  const auto parts = static_cast<std::uint32_t>(directions);
  reduce_scatter(b, group, b.inputs(), true, directions, [&](const Ring&, std::uint32_t part, std::uint32_t step) {
    return partial(step).split(parts)[part];
  });
}

void all_reduce_collective(Builder& b, Directions directions) {
  const Group group = everybody(b.call());
  if (group.size() == 1) return b.copy(b.output(), b.input(), true);
  ring_reduce_scatter(b, group, b.input(), b.output(), true, directions);
  ring_all_gather(b, group, Pieces(b.output(), group.size())[group.index], b.output(), directions);
}

void all_gather_collective(Builder& b, Directions directions) {
  const Group group = everybody(b.call());
  ring_all_gather(b, group, b.input(), b.outputs(), directions);
  b.copy(b.output(group.index), b.input());
}

}  // namespace

void ring_reduce_scatter(Builder& b, const Group& ring, const View& input, const View& output, bool finish,
                         Directions directions) {
  const auto parts = static_cast<std::uint32_t>(directions);
  reduce_scatter(b, ring, input, finish, directions, [&](const Ring& way, std::uint32_t part, std::uint32_t step) {
    return Pieces(output, ring.size(), part, parts)[way.before(step + 1)];
  });
}

void ring_all_gather(Builder& b, const Group& ring, const View& own, const View& data, Directions directions) {
  const auto parts = static_cast<std::uint32_t>(directions);
  b.reserve(std::size_t{2} * parts * ring.size());
  for (std::uint32_t step = 1; step < ring.size(); ++step) {
    for (std::uint32_t part = 0; part < parts; ++part) {
      const Ring way{ring, part == 1};
      const Pieces piece(data, ring.size(), part, parts);
      b.send(way.next(), step == 1 ? Pieces(own, 1, part, parts)[0] : piece[way.before(step - 1)]);
      b.receive(way.previous(), piece[way.before(step)]);
    }
  }
}

void ring_reduce(Builder& b) {
  const Group group = everybody(b.call(), b.call().root);
  const std::uint32_t p = group.size();
  if (p == 1) return b.copy(b.output(), b.input(), true);
  const View work = group.index == 0 ? b.output() : b.scratch_like(b.input());
  ring_reduce_scatter(b, group, b.input(), work, true);
  const Pieces chunk(work, p);
  if (group.index != 0) {
    b.send(group.members[0], chunk[group.index]);
    return;
  }
  for (std::uint32_t i = 1; i < p; ++i) b.receive(group.members[i], chunk[i]);
}

void ring_all_reduce(Builder& b) { all_reduce_collective(b, Directions::one); }
void ring_reduce_scatter(Builder& b) { reduce_scatter_collective(b, Directions::one); }
void ring_all_gather(Builder& b) { all_gather_collective(b, Directions::one); }
void ring_all_reduce_bidirectional(Builder& b) { all_reduce_collective(b, Directions::both); }
void ring_reduce_scatter_bidirectional(Builder& b) { reduce_scatter_collective(b, Directions::both); }
void ring_all_gather_bidirectional(Builder& b) { all_gather_collective(b, Directions::both); }

Counts ring_all_reduce_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  return {2 * (p - 1), 2 * (p - 1), {2 * (p - 1), p}, {p - 1, p}};
}

Counts ring_reduce_scatter_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  return {p - 1, p - 1, p - 1, p - 1};
}

Counts ring_all_gather_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  return {p - 1, p - 1, p - 1, 0};
}

Counts ring_reduce_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {p, p, 1, {p - 1, p}};
}

namespace {
Counts with_twice_the_messages(Counts counts) {
  counts.messages *= 2;
  return counts;
}
}  // namespace

Counts ring_all_reduce_bidirectional_counts(Rank ranks) {
  return with_twice_the_messages(ring_all_reduce_counts(ranks));
}
Counts ring_reduce_scatter_bidirectional_counts(Rank ranks) {
  return with_twice_the_messages(ring_reduce_scatter_counts(ranks));
}
Counts ring_all_gather_bidirectional_counts(Rank ranks) {
  return with_twice_the_messages(ring_all_gather_counts(ranks));
}

}  // namespace tutti
