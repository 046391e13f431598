#include "tests/engine/call_data.h"

#include <algorithm>

#include "src/base/format.h"
#include "src/schedule/layout.h"

namespace tutti {

namespace {

constexpr std::int32_t kGap = 0x5a5a5a5a;  // memory outside of all blocks, and outputs before the call

CallData::Room make_room(const std::vector<std::uint64_t>& sizes, bool as_table, Random& random) {
  CallData::Room room;
  room.blocks = static_cast<std::uint32_t>(sizes.size());
  if (!as_table) {
    room.table.count = sizes.empty() ? 0 : sizes[0];
    room.elements = room.table.count * sizes.size();
    return room;
  }
  room.table.counts = sizes;
  room.table.offsets.resize(sizes.size());
  std::vector<std::size_t> order(sizes.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  for (const std::size_t block : order) {
    room.elements += random.below(4);
    room.table.offsets[block] = room.elements;
    room.elements += sizes[block];
  }
  return room;
}

std::int32_t wrapped(std::uint32_t value) { return static_cast<std::int32_t>(value); }
std::uint32_t bits(std::int32_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

CallShape CallShape::random(Collective what, Rank ranks, BlockSizes blocks, Random& random) {
  constexpr std::uint64_t kSizes[] = {0, 0, 1, 2, 3, 7, 15, 16, 17, 40, 97, 200};
  CallShape shape;
  shape.what = what;
  shape.ranks = ranks;
  shape.blocks = blocks;
  shape.root = is_rooted(what) ? static_cast<Rank>(random.below(static_cast<std::uint64_t>(ranks))) : 0;
  shape.in_place = random.chance(0.5) && !(blocks != BlockSizes::uniform && what == Collective::all_to_all);
  const std::uint64_t same = kSizes[random.below(std::size(kSizes))];
  for (Rank s = 0; s < ranks; ++s) {
    shape.sizes.emplace_back();
    for (Rank d = 0; d < ranks; ++d)
      shape.sizes.back().push_back(blocks == BlockSizes::uniform ? same : kSizes[random.below(std::size(kSizes))]);
  }
  return shape;
}

std::string CallShape::describe() const {
  return format("{}, {} ranks, root {}, in place {}, blocks {}, first block {}, {}", name(what), ranks, root,
                in_place, static_cast<int>(blocks), sizes[0][0], name(op));
}

CallData::CallData(const CallShape& shape, Random& random)
    : shape_(shape), ranks_(static_cast<std::size_t>(shape.ranks)) {
  for (Rank rank = 0; rank < shape.ranks; ++rank) {
    lay_out(rank, random);
    fill(rank, random);
  }
}

void CallData::lay_out(Rank rank, Random& random) {
  const auto self = static_cast<std::size_t>(rank);
  const std::vector<std::uint64_t>& row = shape_.sizes[0];
  const Layout layout({shape_.what, shape_.ranks, rank, shape_.root, shape_.in_place});
  std::vector<std::uint64_t> in(layout.input_blocks, row[self]);
  std::vector<std::uint64_t> out(layout.output_blocks, row[self]);
  if (layout.input_blocks > 1) in = row;
  if (layout.output_blocks > 1) out = row;
  if (shape_.what == Collective::all_to_all) {
    in = shape_.sizes[self];
    for (std::size_t r = 0; r < out.size(); ++r) out[r] = shape_.sizes[r][self];
  }
  // Which buffers have a table is a matter of the collective, also where that has a single entry.
  const bool tables = shape_.blocks != BlockSizes::uniform;
  const bool gathers = shape_.what == Collective::all_gather || shape_.what == Collective::gather;
  RankData& data = ranks_[self];
  data.input = make_room(in, tables && !gathers && layout.input_blocks > 0, random);
  data.output = make_room(
      out, tables && (gathers || shape_.what == Collective::all_to_all) && layout.output_blocks > 0, random);
  data.overlaps = shape_.in_place && layout.input_blocks > 0 && layout.output_blocks > 0;
  if (!data.overlaps) return;
  if (shape_.what == Collective::all_to_all) data.output = data.input;
  if (gathers)
    data.input_to_output = static_cast<std::int64_t>(data.output.table.offset(static_cast<std::uint32_t>(rank)));
  if (shape_.what == Collective::reduce_scatter || shape_.what == Collective::scatter)
    data.input_to_output = -static_cast<std::int64_t>(data.input.table.offset(static_cast<std::uint32_t>(rank)));
}

void CallData::fill(Rank rank, Random& random) {
  RankData& data = this->rank(rank);
  data.first.assign(data.overlaps ? std::max(data.input.elements, data.output.elements) : data.input.elements, kGap);
  data.second.assign(data.output.elements, kGap);
  if (shape_.op == ReduceOp::premultiplied_sum) data.scalar = static_cast<std::int32_t>(random.below(7)) - 3;
  for (std::uint32_t b = 0; b < data.input.blocks; ++b) {
    data.given.emplace_back();
    for (std::uint64_t i = 0; i < data.input.table.length(b); ++i) {
      data.given[b].push_back(wrapped(static_cast<std::uint32_t>(random.next())));
      data.input_at()[data.input.table.offset(b) + i] = data.given[b].back();
    }
  }
}

Extents CallData::extents(Rank r) {
  const RankData& data = rank(r);
  Extents extents;
  extents.input = data.input.table;
  extents.output = data.output.table;
  extents.in_place = shape_.in_place;
  extents.input_to_output = data.input_to_output;
  return extents;
}

std::int32_t CallData::fold(std::size_t block, std::size_t element) const {
  std::int32_t result = 0;
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const std::int32_t value = ranks_[r].given[block][element];
    switch (shape_.op) {
      case ReduceOp::max:
        result = r == 0 ? value : std::max(result, value);
        break;
      case ReduceOp::bit_xor:
        result ^= value;
        break;
      default:
        result = wrapped(bits(result) + bits(value) * bits(ranks_[r].scalar));
        break;
    }
  }
  return shape_.op == ReduceOp::average ? result / shape_.ranks : result;
}

std::vector<std::int32_t> CallData::expected(std::size_t rank, std::size_t block) const {
  const auto root = static_cast<std::size_t>(shape_.root);
  switch (shape_.what) {
    case Collective::broadcast:
      return ranks_[root].given[0];
    case Collective::all_gather:
    case Collective::gather:
      return ranks_[block].given[0];
    case Collective::scatter:
      return ranks_[root].given[rank];
    case Collective::all_to_all:
      return ranks_[block].given[rank];
    case Collective::all_reduce:
    case Collective::reduce:
    case Collective::reduce_scatter:
      break;
  }
  const std::size_t folded = shape_.what == Collective::reduce_scatter ? rank : 0;
  std::vector<std::int32_t> result(ranks_[0].given[folded].size());
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = fold(folded, i);
  return result;
}

std::string CallData::check(Rank r) {
  RankData& data = rank(r);
  const auto differs = [&](std::string_view what, std::uint32_t block) {
    return format("rank {}: {} block {} is wrong: {}", r, what, block, shape_.describe());
  };
  for (std::uint32_t b = 0; b < data.output.blocks; ++b) {
    const std::int32_t* const at = data.output_at() + data.output.table.offset(b);
    if (std::vector<std::int32_t>(at, at + data.output.table.length(b)) != expected(static_cast<std::size_t>(r), b))
      return differs("output", b);
  }
  if (data.overlaps) return {};
  std::uint64_t covered = 0;
  for (std::uint32_t b = 0; b < data.input.blocks; ++b) {
    const std::int32_t* const at = data.input_at() + data.input.table.offset(b);
    if (std::vector<std::int32_t>(at, at + data.input.table.length(b)) != data.given[b]) return differs("input", b);
  }
  for (std::uint32_t b = 0; b < data.output.blocks; ++b) covered += data.output.table.length(b);
  const auto untouched = static_cast<std::uint64_t>(std::count(data.second.begin(), data.second.end(), kGap));
  return untouched + covered < data.second.size() ? differs("a gap before or after", 0) : "";
}

}  // namespace tutti
