// The collectives of Backend: which memory, which call of Tutti's, what to write back.
#include <algorithm>
#include <numeric>
#include <utility>

#include "bindings/torch/src/backend.h"

namespace tutti::pytorch {

namespace {

using Call = const tutti_call*;
using Request = tutti_request**;
using Counts = std::vector<std::size_t>;

at::Tensor stand_in(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), tensor.options().memory_format(at::MemoryFormat::Contiguous));
}

// The tensor's elements, for reading.
at::Tensor reads(Launch& launch, const at::Tensor& tensor) {
  check_tensor(tensor);
  launch.inputs.push_back(tensor);
  launch.memory.push_back(plain(tensor));
  return launch.memory.back();
}

// Memory that the tensor has the content of in the end.
at::Tensor writes(Launch& launch, const at::Tensor& tensor) {
  check_tensor(tensor);
  launch.outputs.push_back(tensor);
  const at::Tensor memory = is_plain(tensor) ? tensor : stand_in(tensor);
  if (!is_plain(tensor)) launch.endings.push_back([memory, tensor] { write_back(memory, tensor); });
  launch.memory.push_back(memory);
  return memory;
}

at::Tensor changes(Launch& launch, const at::Tensor& tensor) {
  const at::Tensor memory = writes(launch, tensor);
  launch.inputs.push_back(tensor);
  if (!is_plain(tensor)) write_back(tensor, memory);
  return memory;
}

at::Tensor reads_all(Launch& launch, const Tensors& tensors) {
  for (const at::Tensor& tensor : tensors) {
    check_tensor(tensor);
    launch.inputs.push_back(tensor);
  }
  launch.memory.push_back(packed(tensors));
  return launch.memory.back();
}

// One buffer for all, one after the other.
at::Tensor writes_all(Launch& launch, const Tensors& tensors) {
  for (const at::Tensor& tensor : tensors) {
    check_tensor(tensor);
    launch.outputs.push_back(tensor);
  }
  if (const auto first = first_of_packed(tensors)) {
    launch.memory.push_back(*first);
    return *first;
  }
  std::int64_t elements = 0;
  for (const at::Tensor& tensor : tensors) elements += tensor.numel();
  const at::Tensor memory = at::empty({elements}, tensors.front().options());
  launch.memory.push_back(memory);
  launch.endings.push_back([memory, tensors] {
    std::int64_t begin = 0;
    for (const at::Tensor& tensor : tensors) {
      write_back(memory.narrow(0, begin, tensor.numel()).view(tensor.sizes()), tensor);
      begin += tensor.numel();
    }
  });
  return memory;
}

std::size_t count_of(const at::Tensor& tensor, const Elements& elements) {
  return static_cast<std::size_t>(tensor.numel()) * elements.each;
}

bool are_equal(const Counts& counts) {
  return std::all_of(counts.begin(), counts.end(), [&](std::size_t count) { return count == counts.front(); });
}

void check_types(const Tensors& tensors, const at::Tensor& like, const char* what) {
  for (const at::Tensor& tensor : tensors) {
    TORCH_CHECK(tensor.scalar_type() == like.scalar_type(), "tutti: ", what, " takes tensors of one type; one is of ",
                tensor.scalar_type(), ", another of ", like.scalar_type());
  }
}

void check_one(const Tensors& tensors, const char* what) {
  TORCH_CHECK(tensors.size() == 1, "tutti: ", what, " takes one tensor on each rank; it was given ", tensors.size());
}

// How much of the first dimension goes to or comes from each rank, in Tutti's elements.
Counts split_counts(const at::Tensor& tensor, const std::vector<std::int64_t>& splits, int size, std::size_t each,
                    const char* what) {
  const std::int64_t rows = tensor.dim() == 0 ? tensor.numel() : tensor.size(0);
  if (splits.empty()) {
    TORCH_CHECK(rows % size == 0, "tutti: the ", what, " of an all-to-all has ", rows, " rows, which ", size,
                " ranks cannot share evenly; give split sizes");
    return Counts(static_cast<std::size_t>(size), static_cast<std::size_t>(tensor.numel() / size) * each);
  }
  TORCH_CHECK(splits.size() == static_cast<std::size_t>(size), "tutti: the ", what, " of an all-to-all has ",
              splits.size(), " split sizes; there are ", size, " ranks");
  const std::int64_t all = std::accumulate(splits.begin(), splits.end(), std::int64_t{0});
  TORCH_CHECK(all == rows, "tutti: the split sizes of the ", what, " sum up to ", all, "; it has ", rows, " rows");
  const std::int64_t row = rows == 0 ? 0 : tensor.numel() / rows;
  Counts counts;
  for (const std::int64_t split : splits) counts.push_back(static_cast<std::size_t>(split * row) * each);
  return counts;
}

}  // namespace

void Backend::add_all_reduce(Launch& launch, const at::Tensor& tensor, const c10d::ReduceOp& op) const {
  check_tensor(tensor);
  const Reduction reduction = reduction_of(tensor.scalar_type(), op);
  if (!reduction.scalar.empty()) launch.extra = reduction.scalar;
  const at::Tensor memory = changes(launch, tensor);
  launch.starts.push_back([at = memory.data_ptr(), count = count_of(memory, reduction.elements),
                           type = reduction.elements.type,
                           its_op = reduction.op](tutti_comm* comm, Call call, Request request) {
    return tutti_all_reduce(at, at, count, type, its_op, comm, call, request);
  });
}

WorkPointer Backend::allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) {
  check_one(tensors, "all_reduce");
  if (tensors[0].is_sparse()) return allreduce_sparse(tensors, options);
  Launch launch = prepare(c10d::OpType::ALLREDUCE, "tutti:all_reduce", options.timeout, options.asyncOp);
  add_all_reduce(launch, tensors[0], options.reduceOp);
  return start(std::move(launch));
}

WorkPointer Backend::allreduce_coalesced(Tensors& tensors, const c10d::AllreduceCoalescedOptions& options) {
  Launch launch = prepare(c10d::OpType::ALLREDUCE_COALESCED, "tutti:all_reduce", options.timeout, options.asyncOp);
  check_types(tensors, tensors.empty() ? at::Tensor() : tensors.front(), "all_reduce_coalesced");
  for (const at::Tensor& tensor : tensors) add_all_reduce(launch, tensor, options.reduceOp);
  return start(std::move(launch));
}

WorkPointer Backend::broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) {
  check_one(tensors, "broadcast");
  Launch launch = prepare(c10d::OpType::BROADCAST, "tutti:broadcast", options.timeout, options.asyncOp);
  const at::Tensor memory = changes(launch, tensors[0]);
  const Elements elements = elements_of(memory.scalar_type());
  launch.starts.push_back([at = memory.data_ptr(), count = count_of(memory, elements), type = elements.type,
                           root = static_cast<int>(options.rootRank)](tutti_comm* comm, Call call, Request request) {
    return tutti_broadcast(at, at, count, type, root, comm, call, request);
  });
  return start(std::move(launch));
}

WorkPointer Backend::reduce(Tensors& tensors, const c10d::ReduceOptions& options) {
  check_one(tensors, "reduce");
  check_tensor(tensors[0]);
  Launch launch = prepare(c10d::OpType::REDUCE, "tutti:reduce", options.timeout, options.asyncOp);
  const Reduction reduction = reduction_of(tensors[0].scalar_type(), options.reduceOp);
  launch.extra = reduction.scalar;
  const int root = static_cast<int>(options.rootRank);
  const bool is_root = getRank() == root;
  const at::Tensor memory = is_root ? changes(launch, tensors[0]) : reads(launch, tensors[0]);
  if (!is_root) launch.outputs = tensors;
  launch.starts.push_back([from = memory.const_data_ptr(), to = is_root ? memory.data_ptr() : nullptr,
                           count = count_of(memory, reduction.elements), type = reduction.elements.type,
                           op = reduction.op, root](tutti_comm* comm, Call call, Request request) {
    return tutti_reduce(from, to, count, type, op, root, comm, call, request);
  });
  return start(std::move(launch));
}

void Backend::add_all_gather(Launch& launch, const Tensors& outputs, const at::Tensor& input) const {
  check_lists(outputs.size(), "all_gather");
  check_types(outputs, input, "all_gather");
  const Elements elements = elements_of(input.scalar_type());
  const Counts counts = counts_of(outputs, elements.each);
  const at::Tensor from = reads(launch, input);
  const std::size_t count = count_of(from, elements);
  TORCH_CHECK(counts[static_cast<std::size_t>(getRank())] == count, "tutti: all_gather: the input has ",
              input.numel(), " elements, its place among the outputs ",
              outputs[static_cast<std::size_t>(getRank())].numel());
  const at::Tensor to = writes_all(launch, outputs);
  launch.starts.push_back([from = from.const_data_ptr(), to = to.data_ptr(), counts, count, type = elements.type,
                           equal = are_equal(counts)](tutti_comm* comm, Call call, Request request) {
    return equal ? tutti_all_gather(from, to, count, type, comm, call, request)
                 : tutti_all_gather_v(from, count, to, counts.data(), nullptr, type, comm, call, request);
  });
}

WorkPointer Backend::allgather(std::vector<Tensors>& outputs, Tensors& inputs,
                               const c10d::AllgatherOptions& options) {
  check_one(inputs, "all_gather");
  TORCH_CHECK(outputs.size() == 1, "tutti: all_gather takes one list of outputs; it was given ", outputs.size());
  Launch launch = prepare(c10d::OpType::ALLGATHER, "tutti:all_gather", options.timeout, options.asyncOp);
  add_all_gather(launch, outputs[0], inputs[0]);
  return start(std::move(launch));
}

WorkPointer Backend::allgather_coalesced(std::vector<Tensors>& outputs, Tensors& inputs,
                                         const c10d::AllgatherOptions& options) {
  check_lists(outputs.size(), "all_gather_coalesced");
  Launch launch = prepare(c10d::OpType::ALLGATHER_COALESCED, "tutti:all_gather", options.timeout, options.asyncOp);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Tensors of_all;
    for (const Tensors& of_one : outputs) {
      TORCH_CHECK(of_one.size() == inputs.size(), "tutti: all_gather_coalesced: ", inputs.size(), " inputs, but ",
                  of_one.size(), " outputs for one rank");
      of_all.push_back(of_one[i]);
    }
    add_all_gather(launch, of_all, inputs[i]);
  }
  return start(std::move(launch));
}

void Backend::add_all_gather_base(Launch& launch, const at::Tensor& output, const at::Tensor& input) const {
  TORCH_CHECK(output.numel() == input.numel() * getSize(), "tutti: all_gather: the output has ", output.numel(),
              " elements; ", getSize(), " inputs of ", input.numel(), " have to fit exactly");
  check_types({output}, input, "all_gather");
  const Elements elements = elements_of(input.scalar_type());
  const at::Tensor from = reads(launch, input);
  const at::Tensor to = writes(launch, output);
  launch.starts.push_back([from = from.const_data_ptr(), to = to.data_ptr(), count = count_of(from, elements),
                           type = elements.type](tutti_comm* comm, Call call, Request request) {
    return tutti_all_gather(from, to, count, type, comm, call, request);
  });
}

WorkPointer Backend::_allgather_base(at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& options) {
  Launch launch = prepare(c10d::OpType::_ALLGATHER_BASE, "tutti:all_gather", options.timeout, options.asyncOp);
  add_all_gather_base(launch, output, input);
  return start(std::move(launch));
}

WorkPointer Backend::allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                     const c10d::AllgatherOptions& options) {
  TORCH_CHECK(outputs.size() == inputs.size(), "tutti: ", outputs.size(), " outputs for ", inputs.size(), " inputs");
  Launch launch = prepare(c10d::OpType::COALESCED, "tutti:all_gather", options.timeout, options.asyncOp);
  for (std::size_t i = 0; i < inputs.size(); ++i) add_all_gather_base(launch, outputs[i], inputs[i]);
  return start(std::move(launch));
}

WorkPointer Backend::gather(std::vector<Tensors>& outputs, Tensors& inputs, const c10d::GatherOptions& options) {
  check_one(inputs, "gather");
  Launch launch = prepare(c10d::OpType::GATHER, "tutti:gather", options.timeout, options.asyncOp);
  const int root = static_cast<int>(options.rootRank);
  const Elements elements = elements_of(inputs[0].scalar_type());
  const at::Tensor from = reads(launch, inputs[0]);
  const std::size_t count = count_of(from, elements);
  Counts counts;
  void* to = nullptr;
  if (getRank() == root) {
    TORCH_CHECK(outputs.size() == 1, "tutti: gather takes one list of outputs at the root; it was given ",
                outputs.size());
    check_lists(outputs[0].size(), "gather");
    check_types(outputs[0], inputs[0], "gather");
    counts = counts_of(outputs[0], elements.each);
    TORCH_CHECK(counts[static_cast<std::size_t>(root)] == count, "tutti: gather: the root's input has ",
                inputs[0].numel(), " elements, its place among the outputs another number");
    to = writes_all(launch, outputs[0]).data_ptr();
  } else {
    TORCH_CHECK(outputs.empty(), "tutti: gather takes outputs at the root only");
  }
  launch.starts.push_back([from = from.const_data_ptr(), to, counts, count, type = elements.type, root](
                              tutti_comm* comm, Call call, Request request) {
    return tutti_gather_v(from, count, to, counts.empty() ? nullptr : counts.data(), nullptr, type, root, comm, call,
                          request);
  });
  return start(std::move(launch));
}

WorkPointer Backend::scatter(Tensors& outputs, std::vector<Tensors>& inputs, const c10d::ScatterOptions& options) {
  check_one(outputs, "scatter");
  Launch launch = prepare(c10d::OpType::SCATTER, "tutti:scatter", options.timeout, options.asyncOp);
  const int root = static_cast<int>(options.rootRank);
  const Elements elements = elements_of(outputs[0].scalar_type());
  const void* from = nullptr;
  Counts counts;
  if (getRank() == root) {
    TORCH_CHECK(inputs.size() == 1, "tutti: scatter takes one list of inputs at the root; it was given ",
                inputs.size());
    check_lists(inputs[0].size(), "scatter");
    check_types(inputs[0], outputs[0], "scatter");
    counts = counts_of(inputs[0], elements.each);
    TORCH_CHECK(counts[static_cast<std::size_t>(root)] == count_of(outputs[0], elements),
                "tutti: scatter: the root's output has ", outputs[0].numel(),
                " elements, its part of the inputs another number");
    from = reads_all(launch, inputs[0]).const_data_ptr();
  } else {
    TORCH_CHECK(inputs.empty(), "tutti: scatter takes inputs at the root only");
  }
  const at::Tensor to = writes(launch, outputs[0]);
  launch.starts.push_back([from, counts, to = to.data_ptr(), count = count_of(to, elements), type = elements.type,
                           root](tutti_comm* comm, Call call, Request request) {
    return tutti_scatter_v(from, counts.empty() ? nullptr : counts.data(), nullptr, to, count, type, root, comm, call,
                           request);
  });
  return start(std::move(launch));
}

WorkPointer Backend::reduce_scatter(Tensors& outputs, std::vector<Tensors>& inputs,
                                    const c10d::ReduceScatterOptions& options) {
  check_one(outputs, "reduce_scatter");
  TORCH_CHECK(inputs.size() == 1, "tutti: reduce_scatter takes one list of inputs; it was given ", inputs.size());
  check_lists(inputs[0].size(), "reduce_scatter");
  check_types(inputs[0], outputs[0], "reduce_scatter");
  Launch launch = prepare(c10d::OpType::REDUCE_SCATTER, "tutti:reduce_scatter", options.timeout, options.asyncOp);
  const Reduction reduction = reduction_of(outputs[0].scalar_type(), options.reduceOp);
  launch.extra = reduction.scalar;
  const Counts counts = counts_of(inputs[0], reduction.elements.each);
  TORCH_CHECK(counts[static_cast<std::size_t>(getRank())] == count_of(outputs[0], reduction.elements),
              "tutti: reduce_scatter: the output has ", outputs[0].numel(), " elements, this rank's input ",
              inputs[0][static_cast<std::size_t>(getRank())].numel());
  const at::Tensor from = reads_all(launch, inputs[0]);
  const at::Tensor to = writes(launch, outputs[0]);
  launch.starts.push_back([from = from.const_data_ptr(), to = to.data_ptr(), counts, equal = are_equal(counts),
                           type = reduction.elements.type,
                           op = reduction.op](tutti_comm* comm, Call call, Request request) {
    return equal ? tutti_reduce_scatter(from, to, counts.front(), type, op, comm, call, request)
                 : tutti_reduce_scatter_v(from, to, counts.data(), type, op, comm, call, request);
  });
  return start(std::move(launch));
}

void Backend::add_reduce_scatter_base(Launch& launch, const at::Tensor& output, const at::Tensor& input,
                                      const c10d::ReduceOp& op) const {
  TORCH_CHECK(input.numel() == output.numel() * getSize(), "tutti: reduce_scatter: the input has ", input.numel(),
              " elements; it has to be ", getSize(), " times the output's ", output.numel());
  check_types({output}, input, "reduce_scatter");
  const Reduction reduction = reduction_of(input.scalar_type(), op);
  if (!reduction.scalar.empty()) launch.extra = reduction.scalar;
  const at::Tensor from = reads(launch, input);
  const at::Tensor to = writes(launch, output);
  launch.starts.push_back([from = from.const_data_ptr(), to = to.data_ptr(), count = count_of(to, reduction.elements),
                           type = reduction.elements.type,
                           its_op = reduction.op](tutti_comm* comm, Call call, Request request) {
    return tutti_reduce_scatter(from, to, count, type, its_op, comm, call, request);
  });
}

WorkPointer Backend::_reduce_scatter_base(at::Tensor& output, at::Tensor& input,
                                          const c10d::ReduceScatterOptions& options) {
  Launch launch =
      prepare(c10d::OpType::_REDUCE_SCATTER_BASE, "tutti:reduce_scatter", options.timeout, options.asyncOp);
  add_reduce_scatter_base(launch, output, input, options.reduceOp);
  return start(std::move(launch));
}

WorkPointer Backend::reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                                     const c10d::ReduceScatterOptions& options) {
  TORCH_CHECK(outputs.size() == inputs.size(), "tutti: ", outputs.size(), " outputs for ", inputs.size(), " inputs");
  check_types(inputs, inputs.empty() ? at::Tensor() : inputs.front(), "reduce_scatter_tensor_coalesced");
  Launch launch = prepare(c10d::OpType::REDUCE_SCATTER_TENSOR_COALESCED, "tutti:reduce_scatter", options.timeout,
                          options.asyncOp);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    add_reduce_scatter_base(launch, outputs[i], inputs[i], options.reduceOp);
  return start(std::move(launch));
}

WorkPointer Backend::alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<std::int64_t>& output_splits,
                                   std::vector<std::int64_t>& input_splits, const c10d::AllToAllOptions& options) {
  check_types({output}, input, "all_to_all");
  Launch launch = prepare(c10d::OpType::ALLTOALL_BASE, "tutti:all_to_all", options.timeout, options.asyncOp);
  const Elements elements = elements_of(input.scalar_type());
  const Counts sent = split_counts(input, input_splits, getSize(), elements.each, "input");
  const Counts received = split_counts(output, output_splits, getSize(), elements.each, "output");
  const at::Tensor from = reads(launch, input);
  const at::Tensor to = writes(launch, output);
  const bool is_even = input_splits.empty() && output_splits.empty();
  launch.starts.push_back([from = from.const_data_ptr(), to = to.data_ptr(), sent, received, is_even,
                           type = elements.type](tutti_comm* comm, Call call, Request request) {
    return is_even ? tutti_all_to_all(from, to, sent.front(), type, comm, call, request)
                   : tutti_all_to_all_v(from, sent.data(), nullptr, to, received.data(), nullptr, type, comm, call,
                                        request);
  });
  return start(std::move(launch));
}

WorkPointer Backend::alltoall(Tensors& outputs, Tensors& inputs, const c10d::AllToAllOptions& options) {
  check_lists(inputs.size(), "all_to_all");
  check_lists(outputs.size(), "all_to_all");
  check_types(inputs, outputs.front(), "all_to_all");
  check_types(outputs, outputs.front(), "all_to_all");
  Launch launch = prepare(c10d::OpType::ALLTOALL, "tutti:all_to_all", options.timeout, options.asyncOp);
  const Elements elements = elements_of(outputs.front().scalar_type());
  const at::Tensor from = reads_all(launch, inputs);
  const at::Tensor to = writes_all(launch, outputs);
  launch.starts.push_back([from = from.const_data_ptr(), to = to.data_ptr(), sent = counts_of(inputs, elements.each),
                           received = counts_of(outputs, elements.each),
                           type = elements.type](tutti_comm* comm, Call call, Request request) {
    return tutti_all_to_all_v(from, sent.data(), nullptr, to, received.data(), nullptr, type, comm, call, request);
  });
  return start(std::move(launch));
}

// The rows of all ranks' tensors, one rank's after the other's.
at::Tensor Backend::gathered(const at::Tensor& mine, const std::vector<std::int64_t>& rows, Milliseconds timeout) {
  std::vector<std::int64_t> sizes = mine.sizes().vec();
  Tensors parts;
  for (const std::int64_t its : rows) {
    sizes[0] = its;
    parts.push_back(at::empty(sizes, mine.options()));
  }
  Launch launch = prepare(c10d::OpType::_ALLREDUCE_SPARSE, "tutti:sparse_all_reduce", timeout);
  add_all_gather(launch, parts, mine);
  take_off(std::move(launch))->wait();
  return at::cat(parts);
}

// What each rank has nonzero is gathered, and summed up in the order of ranks, so that all get the same bits.
WorkPointer Backend::allreduce_sparse(Tensors& tensors, const c10d::AllreduceOptions& options) {
  check_one(tensors, "all_reduce");
  const at::Tensor mine = tensors[0];
  TORCH_CHECK(mine.is_sparse() && mine.device().is_cpu(), "tutti: a sparse all_reduce takes a sparse CPU tensor");
  TORCH_CHECK(options.reduceOp == c10d::ReduceOp::SUM, "tutti: sparse tensors can only be summed");
  const at::AutoDispatchBelowADInplaceOrView untraced;
  const at::Tensor own = mine.coalesce();
  const at::Tensor own_count = at::full({1}, own._nnz(), at::kLong);
  const at::Tensor counts =
      gathered(own_count, std::vector<std::int64_t>(static_cast<std::size_t>(getSize()), 1), options.timeout);
  const auto* const first = counts.const_data_ptr<std::int64_t>();
  const std::vector<std::int64_t> rows(first, first + getSize());
  const at::Tensor places = gathered(own._indices().t().contiguous(), rows, options.timeout);
  const at::Tensor values = gathered(own._values().contiguous(), rows, options.timeout);
  const at::Tensor sum = at::sparse_coo_tensor(places.t(), values, mine.sizes(), mine.options()).coalesce();
  at::Tensor target = mine;
  target.copy_(sum);
  Launch launch = prepare(c10d::OpType::_ALLREDUCE_SPARSE, "tutti:sparse_all_reduce", options.timeout);
  launch.outputs = tensors;
  return start(std::move(launch));
}

}  // namespace tutti::pytorch
