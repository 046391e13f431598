// The operations that tutti-perf measures: their names, how their buffers are laid out over the ranks, and which
// bandwidth counts. Pure.
//
// A collective over blocks has one block for each rank; in the _v kinds the blocks are of unlike sizes. `size` is
// what nccl-tests calls so: the bytes of the largest buffer of a rank, all blocks together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace tutti_perf {

enum class Kind : std::uint8_t {
  all_reduce,
  reduce,
  broadcast,
  all_gather,
  reduce_scatter,
  all_to_all,
  gather,
  scatter,
  barrier,
  send_receive,  // each rank sends to the next one and receives from the one before
  all_gather_v,
  reduce_scatter_v,
  all_to_all_v,
  gather_v,
  scatter_v,
};
constexpr std::size_t kKinds = 15;

struct Traits {
  std::string_view name;
  bool reduces;  // has a type of reduction
  bool has_root;
  bool has_blocks;  // size = sum of one block per rank
  bool is_uneven;   // the blocks differ
  bool has_in_place;
  bool same_everywhere;  // every rank ends with the same output
};

const Traits& traits(Kind kind);
std::optional<Kind> kind_named(std::string_view name);

// What time and size say about the wire, as nccl-tests defines it: bus bandwidth = size / time * this factor.
double bus_factor(Kind kind, int ranks);
// GB/s (1e9 bytes) that the caller sees.
double algorithm_bandwidth(std::uint64_t size_bytes, double time_us);

// Elements of each block for `total` elements: equal ones (total / ranks each), or for uneven kinds sizes that grow
// with the rank and together give `total`. Without blocks: one entry, the total.
std::vector<std::size_t> block_counts(Kind kind, std::size_t total, int ranks);

// Where the blocks begin, and their sum as the last entry.
std::vector<std::size_t> offsets_of(const std::vector<std::size_t>& counts);

// Elements that rank `from` sends to rank `to` in all_to_all_v: each rank sends and receives every block size once.
std::size_t exchange_count(const std::vector<std::size_t>& counts, int from, int to);

}  // namespace tutti_perf
