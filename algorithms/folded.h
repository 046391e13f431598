// Folded: how algorithms for a power of two serve any rank count p = q + r, q the largest power of two. The first
// 2r ranks pair up and the odd one of each pair stands for both; the rest stand for themselves. That makes q places,
// numbered in rank order, and each stands for a run of neighbouring ranks, so results can still be folded and blocks
// kept in order.
//
//   p = 6, q = 4, r = 2      ranks   0 1   2 3   4   5
//                            places   0     1    2   3        ranks 0 and 2 are spare
#pragma once

#include <bit>

#include "src/schedule/builder.h"

namespace tutti {

struct Folded {
  explicit Folded(const Call& call)
      : p(static_cast<std::uint32_t>(call.ranks)),
        q(std::bit_floor(p)),
        r(p - q),
        rank(static_cast<std::uint32_t>(call.rank)),
        place(rank < 2 * r ? rank / 2 : rank - r) {}

  bool spare() const { return rank < 2 * r && rank % 2 == 0; }
  bool stands_for_two() const { return rank < 2 * r && rank % 2 == 1; }
  Rank partner() const { return static_cast<Rank>(rank ^ 1u); }  // the other of a pair

  Rank rank_at(std::uint32_t at) const { return static_cast<Rank>(at < r ? 2 * at + 1 : at + r); }
  // The ranks that places [0, at) stand for are ranks [0, first_rank(at)).
  std::uint32_t first_rank(std::uint32_t at) const { return at < r ? 2 * at : at + r; }

  std::uint32_t p;
  std::uint32_t q;
  std::uint32_t r;
  std::uint32_t rank;
  std::uint32_t place;  // of a spare rank: its partner's
};

}  // namespace tutti
