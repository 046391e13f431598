// The transfers of a shared state: who sends which chunk to whom. Pure, and the same on every rank.
//
// No chunk enters a host twice, nor one that has it: ranks of one host get it from each other. Between hosts it comes
// from the holders, each of which sends about as much as the others. Where fewer hosts hold it than lack it, it
// leaves them once: one of those that lack it, another for each chunk, gets it and passes it on to the rest, so that
// no host sends more than everybody has to receive.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace tutti {

struct Transfer {
  std::uint32_t chunk = 0;
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  bool operator==(const Transfer&) const = default;
};

struct TransferQuery {
  std::span<const std::uint64_t> chunk_bytes;
  std::vector<std::uint32_t> hosts;           // by rank, from 0 on
  std::vector<std::uint32_t> holders;         // have every chunk; at least one
  std::vector<std::vector<bool>> is_missing;  // by rank and chunk; empty: that rank lacks none
};

// Gives every transfer, in the order of the chunks; who passes a chunk on has got it by an earlier one.
void plan_transfers(const TransferQuery& query, const std::function<void(const Transfer&)>& give);

}  // namespace tutti
