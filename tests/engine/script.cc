#include "tests/engine/script.h"

namespace tutti {

namespace {

BlockSizes sizes_of(CallKind kind) {
  if (kind == CallKind::all_gather_v || kind == CallKind::reduce_scatter_v) return BlockSizes::table;
  const bool own = kind == CallKind::all_to_all_v || kind == CallKind::gather_v || kind == CallKind::scatter_v;
  return own ? BlockSizes::own_only : BlockSizes::uniform;
}

CallShape shape_of(CallKind kind, Rank ranks, Random& random) {
  CallShape shape = CallShape::random(collective_of(kind), ranks, sizes_of(kind), random);
  constexpr ReduceOp kOps[] = {ReduceOp::sum, ReduceOp::max, ReduceOp::bit_xor, ReduceOp::average,
                               ReduceOp::premultiplied_sum};
  if (has_type_and_op(kind)) shape.op = kOps[random.below(std::size(kOps))];
  if (random.chance(0.1)) {  // now and then one that does not fit anywhere at once
    for (auto& row : shape.sizes) {
      for (auto& size : row) size *= 20;
    }
  }
  return shape;
}

}  // namespace

bool Script::turn() {
  bool all = true;
  for (int rank = 0; rank < cluster_.size(); ++rank) {
    auto& streams = streams_[static_cast<std::size_t>(rank)];
    if (!cluster_.node(rank).alive) continue;
    all &= streams.empty();
    if (streams.empty() || !cluster_.random().chance(0.2)) continue;
    auto stream = streams.begin();
    std::advance(stream, static_cast<std::ptrdiff_t>(cluster_.random().below(streams.size())));
    Operation* const started = stream->second.front()();
    if (started == nullptr) continue;
    operations_.push_back(started);
    ranks_.push_back(rank);
    stream->second.pop_front();
    if (stream->second.empty()) streams.erase(stream);
  }
  for (std::size_t i = 0; all && i < operations_.size(); ++i)
    all &= operations_[i]->is_complete() || !cluster_.node(ranks_[i]).alive;
  return all;
}

CallKind CollectiveCall::random_kind(Random& random, bool with_tables) {
  constexpr CallKind kKinds[] = {CallKind::all_reduce,       CallKind::reduce,         CallKind::broadcast,
                                 CallKind::all_gather,       CallKind::reduce_scatter, CallKind::all_to_all,
                                 CallKind::gather,           CallKind::scatter,        CallKind::all_gather_v,
                                 CallKind::reduce_scatter_v, CallKind::all_to_all_v,   CallKind::gather_v,
                                 CallKind::scatter_v};
  return kKinds[random.below(with_tables ? std::size(kKinds) : 8)];
}

CollectiveCall::CollectiveCall(CallKind kind, Rank ranks, Random& random)
    : kind_(kind), data_(shape_of(kind, ranks, random), random) {}

OperationRequest CollectiveCall::request(Rank rank) {
  CallData::RankData& data = data_.rank(rank);
  const CallShape& shape = data_.shape();
  OperationRequest request;
  request.kind = kind_;
  request.type = DataType::int32;
  request.op = shape.op;
  request.root = shape.root;
  request.in_place = shape.in_place;
  request.algorithm = algorithm_;
  request.scalar = reinterpret_cast<const std::byte*>(&data.scalar);
  request.count = shape.sizes[0][shape.blocks == BlockSizes::uniform ? 0 : static_cast<std::size_t>(rank)];
  if (!data.input.table.counts.empty()) request.input_table = data.input.table;
  if (!data.output.table.counts.empty()) request.output_table = data.output.table;
  request.input = reinterpret_cast<const std::byte*>(data.input_at());
  request.output = reinterpret_cast<std::byte*>(data.output_at());
  request.timeout = std::chrono::seconds(20);
  return request;
}

void CollectiveCall::free(Rank rank) {
  std::vector<std::int32_t>().swap(data_.rank(rank).first);
  std::vector<std::int32_t>().swap(data_.rank(rank).second);
}

}  // namespace tutti
