#include "algorithms/catalog.h"

#include "algorithms/binomial_tree.h"
#include "algorithms/bruck.h"
#include "algorithms/chain.h"
#include "algorithms/direct.h"
#include "algorithms/double_tree.h"
#include "algorithms/pairwise.h"
#include "algorithms/recursive.h"
#include "algorithms/ring.h"
#include "algorithms/scatter_all_gather.h"

namespace tutti {
namespace {

using enum Collective;

constexpr Algorithm kAlgorithms[] = {
    {"ring", all_reduce, ring_all_reduce, ring_all_reduce_counts},
    {"ring_bidirectional", all_reduce, ring_all_reduce_bidirectional, ring_all_reduce_bidirectional_counts},
    {"recursive_doubling", all_reduce, doubling_all_reduce, doubling_all_reduce_counts},
    {"halving_doubling", all_reduce, halving_doubling_all_reduce, halving_doubling_all_reduce_counts},
    {"binomial_tree", all_reduce, binomial_all_reduce, binomial_all_reduce_counts},
    {"double_tree", all_reduce, double_tree_all_reduce, double_tree_all_reduce_counts},
    {"direct", all_reduce, direct_all_reduce, direct_all_reduce_counts},
    {"two_shot", all_reduce, two_shot_all_reduce, two_shot_all_reduce_counts},
    {"star", all_reduce, star_all_reduce, star_all_reduce_counts},

    {"binomial_tree", reduce, binomial_reduce, binomial_reduce_counts},
    {"double_tree", reduce, double_tree_reduce, double_tree_reduce_counts},
    {"direct", reduce, direct_reduce, direct_reduce_counts},
    {"chain", reduce, chain_reduce, chain_reduce_counts},
    {"ring", reduce, ring_reduce, ring_reduce_counts},

    {"binomial_tree", broadcast, binomial_broadcast, binomial_broadcast_counts},
    {"double_tree", broadcast, double_tree_broadcast, double_tree_broadcast_counts},
    {"direct", broadcast, direct_broadcast, direct_moving_counts},
    {"chain", broadcast, chain_broadcast, chain_broadcast_counts},
    {"scatter_all_gather", broadcast, scatter_all_gather_broadcast, scatter_all_gather_broadcast_counts},

    {"ring", all_gather, ring_all_gather, ring_all_gather_counts},
    {"ring_bidirectional", all_gather, ring_all_gather_bidirectional, ring_all_gather_bidirectional_counts},
    {"recursive_doubling", all_gather, doubling_all_gather, doubling_all_gather_counts},
    {"bruck", all_gather, bruck_all_gather, bruck_all_gather_counts},
    {"direct", all_gather, direct_all_gather, direct_moving_counts},

    {"ring", reduce_scatter, ring_reduce_scatter, ring_reduce_scatter_counts},
    {"ring_bidirectional", reduce_scatter, ring_reduce_scatter_bidirectional,
     ring_reduce_scatter_bidirectional_counts},
    {"recursive_halving", reduce_scatter, halving_reduce_scatter, halving_reduce_scatter_counts},
    {"pairwise", reduce_scatter, pairwise_reduce_scatter, pairwise_reduce_scatter_counts},
    {"direct", reduce_scatter, direct_reduce_scatter, direct_reduce_scatter_counts},

    {"bruck", all_to_all, bruck_all_to_all, bruck_all_to_all_counts},
    {"pairwise", all_to_all, pairwise_all_to_all, pairwise_all_to_all_counts},
    {"direct", all_to_all, direct_all_to_all, direct_moving_counts},

    {"binomial_tree", gather, binomial_gather, binomial_gather_counts},
    {"direct", gather, direct_gather, direct_gather_counts},

    {"binomial_tree", scatter, binomial_scatter, binomial_scatter_counts},
    {"direct", scatter, direct_scatter, direct_moving_counts},
};

}  // namespace

std::span<const Algorithm> all_algorithms() { return kAlgorithms; }

const Algorithm* find_algorithm(Collective what, std::string_view name) {
  for (const Algorithm& algorithm : kAlgorithms) {
    if (algorithm.what == what && algorithm.name == name) return &algorithm;
  }
  return nullptr;
}

Program make_program(const Algorithm& algorithm, const Call& call) {
  Builder builder(call);
  algorithm.emit(builder);
  return std::move(builder).take();
}

Schedule make_schedule(const Algorithm& algorithm, const Call& call) {
  Schedule schedule;
  schedule.programs.reserve(static_cast<std::size_t>(call.ranks));
  Call each = call;
  for (each.rank = 0; each.rank < call.ranks; ++each.rank) schedule.programs.push_back(make_program(algorithm, each));
  return schedule;
}

}  // namespace tutti
