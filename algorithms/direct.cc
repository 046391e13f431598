#include "algorithms/direct.h"

#include "algorithms/pieces.h"

namespace tutti {
namespace {

// All others, beginning with the next neighbour.
std::vector<Rank> others(const Call& call) {
  std::vector<Rank> result;
  for (Rank i = 1; i < call.ranks; ++i) result.push_back((call.rank + i) % call.ranks);
  return result;
}

// All others in the order in which their data arrives when each begins with its next neighbour: the previous one
// first.
std::vector<Rank> senders(const Call& call) {
  std::vector<Rank> result;
  for (Rank i = 1; i < call.ranks; ++i) result.push_back((call.rank - i + call.ranks) % call.ranks);
  return result;
}

// Everybody's contribution in rank order, this rank's own from `own`.
std::vector<Operand> all_in_rank_order(const Call& call, const View& own) {
  std::vector<Operand> result;
  for (Rank i = 0; i < call.ranks; ++i) result.push_back(i == call.rank ? local(own) : peer(i));
  return result;
}

// Piece r of input goes to rank r, who folds everybody's into `target`.
void direct_reduce_scatter(Builder& b, const Pieces& input, const View& target) {
  for (const Rank to : others(b.call())) b.send(to, input[static_cast<std::uint32_t>(to)]);
  b.reduce(target, all_in_rank_order(b.call(), input[static_cast<std::uint32_t>(b.rank())]), true);
}

// `own` goes to everybody in one send; piece r of data comes from rank r. Does not copy `own` to its piece of data.
void direct_all_gather(Builder& b, const View& own, const Pieces& data) {
  b.send(others(b.call()), own);
  for (const Rank from : senders(b.call())) b.receive(from, data[static_cast<std::uint32_t>(from)]);
}

}  // namespace

void direct_all_reduce(Builder& b) {
  if (b.ranks() == 1) return b.copy(b.output(), b.input(), true);
  // In place, nobody's input may be overwritten before the others have read it, and they read while they fold.
  const View sum = b.call().in_place ? b.scratch_like(b.output()) : b.output();
  b.send(others(b.call()), b.input());
  b.reduce(sum, all_in_rank_order(b.call(), b.input()), true);
  b.copy(b.output(), sum);
}

void two_shot_all_reduce(Builder& b) {
  if (b.ranks() == 1) return b.copy(b.output(), b.input(), true);
  const auto p = static_cast<std::uint32_t>(b.ranks());
  const Pieces result(b.output(), p);
  const View own = result[static_cast<std::uint32_t>(b.rank())];
  direct_reduce_scatter(b, Pieces(b.input(), p), own);
  direct_all_gather(b, own, result);
}

void star_all_reduce(Builder& b) {
  if (b.ranks() == 1) return b.copy(b.output(), b.input(), true);
  if (b.rank() == 0) {
    b.reduce(b.output(), all_in_rank_order(b.call(), b.input()), true);
    b.send(others(b.call()), b.output());
  } else {
    b.send(0, b.input());
    b.receive(0, b.output());
  }
}

void direct_reduce_scatter(Builder& b) {
  if (b.ranks() == 1) return b.copy(b.output(), b.input(), true);
  direct_reduce_scatter(b, Pieces(b.inputs(), static_cast<std::uint32_t>(b.ranks())), b.output());
}

void direct_all_gather(Builder& b) {
  if (b.ranks() > 1) direct_all_gather(b, b.input(), Pieces(b.outputs(), static_cast<std::uint32_t>(b.ranks())));
  b.copy(b.output(static_cast<std::uint32_t>(b.rank())), b.input());
}

void direct_all_to_all(Builder& b) {
  const auto self = static_cast<std::uint32_t>(b.rank());
  for (const Rank to : others(b.call())) b.send(to, b.input(static_cast<std::uint32_t>(to)));
  b.copy(b.output(self), b.input(self));
  if (!b.call().in_place) {
    for (const Rank from : senders(b.call())) b.receive(from, b.output(static_cast<std::uint32_t>(from)));
    return;
  }
  // In place, the block to rank r leaves from where the block from rank r goes: with no buffer between, both would
  // wait.
  if (b.ranks() == 1) return;
  const View arrived = b.scratch_blocks(static_cast<std::uint32_t>(b.ranks() - 1));
  std::uint32_t i = 0;
  for (const Rank from : senders(b.call())) b.receive(from, arrived.run(i++));
  i = 0;
  for (const Rank from : senders(b.call())) b.copy(b.output(static_cast<std::uint32_t>(from)), arrived.run(i++));
}

void direct_broadcast(Builder& b) {
  if (b.rank() != b.call().root) {
    b.receive(b.call().root, b.output());
    return;
  }
  if (b.ranks() > 1) b.send(others(b.call()), b.input());
  b.copy(b.output(), b.input());
}

void direct_scatter(Builder& b) {
  if (b.rank() != b.call().root) {
    b.receive(b.call().root, b.output());
    return;
  }
  for (const Rank to : others(b.call())) b.send(to, b.input(static_cast<std::uint32_t>(to)));
  b.copy(b.output(), b.input(static_cast<std::uint32_t>(b.rank())));
}

void direct_gather(Builder& b) {
  if (b.rank() != b.call().root) {
    b.send(b.call().root, b.input());
    return;
  }
  for (const Rank from : senders(b.call())) b.receive(from, b.output(static_cast<std::uint32_t>(from)));
  b.copy(b.output(static_cast<std::uint32_t>(b.rank())), b.input());
}

void direct_reduce(Builder& b) {
  if (b.rank() != b.call().root) {
    b.send(b.call().root, b.input());
    return;
  }
  if (b.ranks() == 1) return b.copy(b.output(), b.input(), true);
  b.reduce(b.output(), all_in_rank_order(b.call(), b.input()), true);
}

Counts direct_all_reduce_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {1, p - 1, p - 1, p - 1};
}

Counts two_shot_all_reduce_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {2, 2 * (p - 1), {2 * (p - 1), p}, {p - 1, p}};
}

Counts star_all_reduce_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {2, p - 1, p - 1, p - 1};
}

Counts direct_reduce_scatter_counts(Rank ranks) { return direct_all_reduce_counts(ranks); }

Counts direct_moving_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  if (p == 1) return {};
  return {1, p - 1, p - 1, 0};
}

Counts direct_gather_counts(Rank ranks) {
  if (ranks == 1) return {};
  return {1, 1, 1, 0};
}

Counts direct_reduce_counts(Rank ranks) {
  if (ranks == 1) return {};
  return {1, 1, 1, static_cast<std::uint32_t>(ranks - 1)};
}

}  // namespace tutti
