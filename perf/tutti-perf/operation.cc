#include "perf/tutti-perf/operation.h"

#include <cstring>

namespace tutti_perf {

namespace {

constexpr std::size_t kStride = 1009;  // between the places in the table where the data of two ranks begin
constexpr int kSpoil = 0xa5;

}  // namespace

Operation::Operation(const Case& what, int rank, int ranks, tutti_comm* comm, const tutti_call& call)
    : case_(what),
      rank_(rank),
      ranks_(ranks),
      comm_(comm),
      call_(call),
      scalar_(premultiplier(what.type, rank)),
      element_bytes_(tutti_datatype_size(what.type)),
      counts_(block_counts(what.kind, what.size_bytes / tutti_datatype_size(what.type), ranks)),
      offsets_(offsets_of(counts_)) {
  if (case_.kind == Kind::barrier) counts_[0] = offsets_[1] = 0;
  if (case_.kind == Kind::all_to_all_v) {
    for (int peer = 0; peer < ranks_; ++peer) exchange_.push_back(exchange_count(counts_, rank_, peer));
  }
}

std::size_t Operation::count() const { return traits(case_.kind).is_uneven ? total() : counts_[0]; }

Buffers Operation::place(const Buffers& buffers, bool in_place) const {
  Buffers placed = buffers;
  const auto block = [&](int r) { return offsets_[static_cast<std::size_t>(r)] * element_bytes_; };
  if (in_place) {
    placed.input = buffers.output;
    if (case_.kind == Kind::all_gather || case_.kind == Kind::all_gather_v) placed.input += block(rank_);
    if (case_.kind == Kind::reduce_scatter || case_.kind == Kind::reduce_scatter_v) placed.output += block(rank_);
    if (case_.kind == Kind::gather) placed.input += block(case_.root);
    if (case_.kind == Kind::scatter) placed.output += block(case_.root);
  }
  if (is_root() || !traits(case_.kind).has_root) return placed;
  if (case_.kind == Kind::reduce || case_.kind == Kind::gather || case_.kind == Kind::gather_v)
    placed.output = nullptr;
  if (case_.kind == Kind::scatter || case_.kind == Kind::scatter_v) placed.input = nullptr;
  if (case_.kind == Kind::broadcast && !in_place) placed.input = nullptr;
  return placed;
}

std::vector<Operation::Run> Operation::input_runs() const {
  const auto own = static_cast<std::size_t>(rank_) * kStride;
  std::vector<Run> runs;
  switch (case_.kind) {
    case Kind::barrier:
      return {};
    case Kind::broadcast:
      return is_root() ? std::vector<Run>{{0, total(), own}} : std::vector<Run>{};
    case Kind::all_reduce:
    case Kind::reduce:
    case Kind::reduce_scatter:
    case Kind::reduce_scatter_v:
      return {{0, total(), 0}};
    case Kind::all_gather:
    case Kind::all_gather_v:
    case Kind::gather:
    case Kind::gather_v:
    case Kind::send_receive:
      return {{0, own_count(), own}};
    case Kind::scatter:
    case Kind::scatter_v:
      if (!is_root()) return {};
      [[fallthrough]];
    case Kind::all_to_all:
    case Kind::all_to_all_v:
      for (std::size_t r = 0, offset = 0; r < counts_.size(); ++r) {
        const std::size_t count = exchange_.empty() ? counts_[r] : exchange_[r];
        runs.push_back({offset, count, (static_cast<std::size_t>(rank_ * ranks_) + r) * kStride});
        offset += count;
      }
      return runs;
  }
  return runs;
}

std::vector<Operation::Run> Operation::output_runs() const {
  const auto rank = static_cast<std::size_t>(rank_);
  const auto n = static_cast<std::size_t>(ranks_);
  const auto root = static_cast<std::size_t>(case_.root);
  std::vector<Run> runs;
  switch (case_.kind) {
    case Kind::barrier:
      return {};
    case Kind::all_reduce:
      return {{0, total(), 0}};
    case Kind::reduce:
      return is_root() ? std::vector<Run>{{0, total(), 0}} : std::vector<Run>{};
    case Kind::broadcast:
      return {{0, total(), root * kStride}};
    case Kind::reduce_scatter:
    case Kind::reduce_scatter_v:
      return {{0, own_count(), offsets_[rank]}};
    case Kind::scatter:
    case Kind::scatter_v:
      return {{0, own_count(), (root * n + rank) * kStride}};
    case Kind::send_receive:
      return {{0, total(), (rank + n - 1) % n * kStride}};
    case Kind::gather:
    case Kind::gather_v:
      if (!is_root()) return {};
      [[fallthrough]];
    case Kind::all_gather:
    case Kind::all_gather_v:
      for (std::size_t r = 0; r < n; ++r) runs.push_back({offsets_[r], counts_[r], r * kStride});
      return runs;
    case Kind::all_to_all:
    case Kind::all_to_all_v:
      for (std::size_t r = 0, offset = 0; r < n; ++r) {
        const std::size_t count = exchange_.empty() ? counts_[r] : exchange_[r];
        runs.push_back({offset, count, (r * n + rank) * kStride});
        offset += count;
      }
      return runs;
  }
  return runs;
}

Table Operation::input_table(std::uint64_t seed) const {
  return traits(case_.kind).reduces ? reduction_input(case_.type, case_.op, rank_, ranks_, seed)
                                    : random_table(case_.type, seed);
}

Table Operation::output_table(std::uint64_t seed) const {
  return traits(case_.kind).reduces ? reduction_result(case_.type, case_.op, ranks_, seed)
                                    : random_table(case_.type, seed);
}

std::size_t Operation::output_bytes() const {
  std::size_t elements = 0;
  for (const Run& run : output_runs()) elements += run.count;
  return elements * element_bytes_;
}

void Operation::prepare(const Buffers& placed, bool in_place, std::uint64_t seed) const {
  if (placed.output && !in_place) std::memset(placed.output, kSpoil, output_bytes());
  // In place, the output's other blocks may lie before and behind the input.
  if (placed.output && in_place && case_.kind != Kind::reduce_scatter && case_.kind != Kind::reduce_scatter_v &&
      case_.kind != Kind::scatter) {
    std::memset(placed.output, kSpoil, output_bytes());
  }
  const Table table = input_table(seed);
  for (const Run& run : input_runs()) {
    fill(placed.input + run.offset * element_bytes_, run.count, element_bytes_, table, run.start);
  }
}

std::size_t Operation::count_wrong(const std::byte* buffer, const std::vector<Run>& runs, const Table& table) const {
  std::size_t wrong = 0;
  for (const Run& run : runs) {
    wrong +=
        tutti_perf::count_wrong(buffer + run.offset * element_bytes_, run.count, element_bytes_, table, run.start);
  }
  return wrong;
}

std::size_t Operation::count_wrong(const Buffers& placed, bool in_place, std::uint64_t seed) const {
  const std::size_t wrong = count_wrong(placed.output, output_runs(), output_table(seed));
  return in_place ? wrong : wrong + count_wrong(placed.input, input_runs(), input_table(seed));
}

bool Operation::rounds() const {
  return case_.kind == Kind::all_reduce && is_float(case_.type) &&
         (case_.op == TUTTI_SUM || case_.op == TUTTI_PRODUCT);
}

void Operation::prepare_rounding(const Buffers& placed, std::uint64_t seed) const {
  fill(placed.input, total(), element_bytes_, rounding_table(case_.type, rank_, seed), 0);
}

tutti_status Operation::run(const Buffers& placed) const {
  if (case_.kind != Kind::send_receive) return call(placed, nullptr);
  tutti_request* requests[2] = {};
  if (const tutti_status status = exchange(placed, requests); status != TUTTI_OK) return status;
  return tutti_request_wait_all(2, requests, -1);
}

tutti_status Operation::start(const Buffers& placed, tutti_request** requests) const {
  return case_.kind == Kind::send_receive ? exchange(placed, requests) : call(placed, requests);
}

tutti_status Operation::exchange(const Buffers& placed, tutti_request** requests) const {
  const int next = (rank_ + 1) % ranks_;
  const int previous = (rank_ + ranks_ - 1) % ranks_;
  if (const tutti_status status = tutti_group_begin(); status != TUTTI_OK) return status;
  const tutti_status sent = tutti_send(placed.input, total(), case_.type, next, comm_, &call_, &requests[0]);
  const tutti_status received =
      tutti_receive(placed.output, total(), case_.type, previous, comm_, &call_, &requests[1]);
  const tutti_status started = tutti_group_end();
  return started != TUTTI_OK ? started : sent != TUTTI_OK ? sent : received;
}

tutti_status Operation::call(const Buffers& placed, tutti_request** request) const {
  tutti_call call = call_;
  call.scalar = case_.op == TUTTI_PREMULTIPLIED_SUM ? scalar_.data() : nullptr;
  const auto [input, output] = placed;
  const std::size_t count = counts_[0];
  const tutti_datatype type = case_.type;
  switch (case_.kind) {
    case Kind::all_reduce:
      return tutti_all_reduce(input, output, count, type, case_.op, comm_, &call, request);
    case Kind::reduce:
      return tutti_reduce(input, output, count, type, case_.op, case_.root, comm_, &call, request);
    case Kind::broadcast:
      return tutti_broadcast(input, output, count, type, case_.root, comm_, &call, request);
    case Kind::all_gather:
      return tutti_all_gather(input, output, count, type, comm_, &call, request);
    case Kind::reduce_scatter:
      return tutti_reduce_scatter(input, output, count, type, case_.op, comm_, &call, request);
    case Kind::reduce_scatter_v:
      return tutti_reduce_scatter_v(input, output, counts_.data(), type, case_.op, comm_, &call, request);
    case Kind::all_to_all:
      return tutti_all_to_all(input, output, count, type, comm_, &call, request);
    case Kind::gather:
      return tutti_gather(input, output, count, type, case_.root, comm_, &call, request);
    case Kind::scatter:
      return tutti_scatter(input, output, count, type, case_.root, comm_, &call, request);
    case Kind::barrier:
      return tutti_barrier(comm_, &call, request);
    default:
      return call_uneven(placed, request);
  }
}

tutti_status Operation::call_uneven(const Buffers& placed, tutti_request** request) const {
  const auto [input, output] = placed;
  switch (case_.kind) {
    case Kind::all_gather_v:
      return tutti_all_gather_v(input, own_count(), output, counts_.data(), nullptr, case_.type, comm_, &call_,
                                request);
    case Kind::all_to_all_v:
      return tutti_all_to_all_v(input, exchange_.data(), nullptr, output, exchange_.data(), nullptr, case_.type,
                                comm_, &call_, request);
    case Kind::gather_v:
      return tutti_gather_v(input, own_count(), output, counts_.data(), nullptr, case_.type, case_.root, comm_,
                            &call_, request);
    default:
      return tutti_scatter_v(input, counts_.data(), nullptr, output, own_count(), case_.type, case_.root, comm_,
                             &call_, request);
  }
}

}  // namespace tutti_perf
