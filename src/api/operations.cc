// The operations of the C API: arguments checked, turned into an OperationRequest, started, and waited for or handed
// out.
#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "src/api/handles.h"
#include "src/base/format.h"

namespace tutti {

namespace {

// One noted call between group begin and end. Names and scalars are kept, since the caller's may be gone by then.
struct NotedCall {
  tutti_comm* comm;
  OperationRequest request;
  std::string algorithm;
  std::vector<std::byte> scalar;
  tutti_request** request_out;
};

struct GroupState {
  int depth = 0;
  Status failure;  // of the first call that could not be noted
  std::vector<NotedCall> calls;
};
thread_local GroupState group;

// A buffer of a call: where it is, how long, and what to call it in a sentence.
struct Area {
  const void* begin;
  std::uint64_t bytes;
  const char* name;
};

bool overlap(const Area& a, const Area& b) {
  const auto a_begin = reinterpret_cast<std::uintptr_t>(a.begin);
  const auto b_begin = reinterpret_cast<std::uintptr_t>(b.begin);
  return a.bytes > 0 && b.bytes > 0 && a_begin < b_begin + b.bytes && b_begin < a_begin + a.bytes;
}

class CallBuilder {
 public:
  CallBuilder(CallKind kind, tutti_comm* comm, const tutti_call* call) : comm_(comm) {
    request_.kind = kind;
    status_ = check_communicator(comm);
    if (!status_) return;
    ranks_ = comm->communicator->size();
    rank_ = comm->communicator->rank();
    request_.timeout = comm->settings.timeout;
    if (call == nullptr) return;
    if (call->size < sizeof(std::size_t) + sizeof(std::int64_t)) {
      fail(format("tutti_call.size is {}; set it to sizeof(tutti_call) (TUTTI_CALL_INIT does)", call->size));
      return;
    }
    request_.timeout = time_limit(call->timeout_ns, comm->settings.timeout);
    if (call->size >= offsetof(tutti_call, scalar) + sizeof call->scalar)
      request_.scalar = static_cast<const std::byte*>(call->scalar);
    if (call->size >= offsetof(tutti_call, algorithm) + sizeof call->algorithm && call->algorithm != nullptr) {
      request_.algorithm = call->algorithm;
    }
  }

  int ranks() const { return ranks_; }
  int rank() const { return rank_; }
  bool good() const { return status_.is_ok(); }
  OperationRequest& request() { return request_; }

  void type(tutti_datatype type) {
    if (!good()) return;
    if (static_cast<unsigned>(type) >= kDataTypes)
      return fail(format("type {} is no tutti_datatype", static_cast<int>(type)));
    request_.type = static_cast<DataType>(type);
    element_bytes_ = size_of(request_.type);
  }

  void op(tutti_op op) {
    if (!good()) return;
    if (static_cast<unsigned>(op) >= kReduceOps) return fail(format("op {} is no tutti_op", static_cast<int>(op)));
    request_.op = static_cast<ReduceOp>(op);
    status_ = supports(request_.type, request_.op);
    if (!status_) {
      status_ = Status(Code::unsupported, format("{}: {}", name(request_.kind), status_.text()));
      return;
    }
    if (request_.op == ReduceOp::premultiplied_sum && request_.scalar == nullptr) {
      fail("premultiplied_sum needs tutti_call.scalar, a pointer to this rank's factor; it is NULL");
    }
  }

  void count(std::size_t count) { request_.count = count; }

  void elastic() {
    if (!good() || comm_->communicator->council() != nullptr) return;
    fail(format("{} is not elastic; create it with TUTTI_ELASTIC=on or step, on every rank",
                comm_->communicator->name()));
  }

  void rank_argument(const char* what, int value) {
    if (!good()) return;
    if (value < 0 || value >= ranks_) return fail(format("{} is {}; expected 0 to {}", what, value, ranks_ - 1));
    request_.root = value;
  }

  // The bytes of `blocks` blocks of `count` elements; an error if no memory can be that large.
  std::uint64_t bytes(std::uint64_t count, std::uint64_t blocks) {
    if (!good()) return 0;
    const unsigned __int128 wanted = static_cast<unsigned __int128>(count) * blocks * element_bytes_;
    if (wanted >> 47 != 0) {
      fail(format("{} x {} elements of {} bytes do not fit the address space", blocks, count, element_bytes_));
      return 0;
    }
    return static_cast<std::uint64_t>(wanted);
  }

  // A table of counts, one per rank, with displacements or packed. Returns how far it reaches.
  std::uint64_t table(const char* what, const std::size_t* counts, const std::size_t* displacements,
                      BlockTable& out) {
    if (!good()) return 0;
    if (counts == nullptr) {
      fail(format("{} is NULL; expected {} counts", what, ranks_));
      return 0;
    }
    out.counts.assign(counts, counts + ranks_);
    out.offsets.resize(out.counts.size());
    std::uint64_t packed = 0;
    std::uint64_t reach = 0;
    for (std::size_t r = 0; r < out.counts.size(); ++r) {
      out.offsets[r] = displacements != nullptr ? displacements[r] : packed;
      if (bytes(out.counts[r], 1) == 0 && !good()) return 0;
      if (bytes(out.offsets[r], 1) == 0 && !good()) return 0;
      packed += out.counts[r];
      reach = std::max(reach, out.counts[r] > 0 ? out.offsets[r] + out.counts[r] : 0);
    }
    return bytes(reach, 1);
  }

  void input(const void* memory, std::uint64_t bytes) {
    request_.input = static_cast<const std::byte*>(memory);
    area(input_, {memory, bytes, "input"});
  }
  void output(void* memory, std::uint64_t bytes) {
    request_.output = static_cast<std::byte*>(memory);
    area(output_, {memory, bytes, "output"});
  }

  // Input and output may overlap in one way only: the shorter one is exactly `offset_bytes` into the longer one.
  void in_place_when(bool input_is_inside, std::uint64_t offset_bytes) {
    if (!good() || !input_ || !output_) return;
    const Area& outer = input_is_inside ? *output_ : *input_;
    const Area& inner = input_is_inside ? *input_ : *output_;
    if (inner.begin != nullptr &&
        static_cast<const std::byte*>(inner.begin) == static_cast<const std::byte*>(outer.begin) + offset_bytes) {
      request_.in_place = true;
      return;
    }
    forbid_overlap();
  }

  void forbid_overlap() {
    if (!good() || !input_ || !output_ || !overlap(*input_, *output_)) return;
    fail(format(
        "input ({} bytes at {}) and output ({} bytes at {}) overlap, and not in the way that is allowed in place",
        input_->bytes, input_->begin, output_->bytes, output_->begin));
  }

  void fail(std::string text) {
    if (good()) status_ = invalid(format("{}: {}", name(request_.kind), text));
  }

  // Starts it, waits for it, or notes it.
  tutti_status go(tutti_request** request_out) {
    if (request_out != nullptr) *request_out = nullptr;
    if (!good() && group.depth > 0 && group.failure.is_ok()) group.failure = status_;
    if (!good()) return report(status_);
    if (group.depth > 0) {
      note(request_out);
      return TUTTI_OK;
    }
    Runtime& runtime = *comm_->runtime;
    const auto start = [&](Engine& engine, Instant now) { return engine.start(comm_->communicator, request_, now); };
    if (request_out == nullptr) {
      const Result<Operation*> done = runtime.start_and_wait(start);
      if (!done) return report(done.status());
      const Status result = (*done)->result();
      runtime.with_engine([&](Engine& engine, Instant) { engine.release(*done); });
      return report(result);
    }
    const Result<Operation*> started = runtime.with_engine(start);
    if (!started) return report(started.status());
    *request_out = new tutti_request{comm_->runtime, *started};
    runtime.attend();
    return TUTTI_OK;
  }

 private:
  void area(std::optional<Area>& slot, const Area& area) {
    if (!good()) return;
    if (area.begin == nullptr && area.bytes > 0)
      return fail(format("{} is NULL, but {} bytes are to be there", area.name, area.bytes));
    slot = area;
  }

  void note(tutti_request** request_out) {
    NotedCall noted{comm_, request_, std::string(request_.algorithm), {}, request_out};
    if (request_.scalar != nullptr) noted.scalar.assign(request_.scalar, request_.scalar + element_bytes_);
    group.calls.push_back(std::move(noted));
  }

  tutti_comm* comm_;
  OperationRequest request_;
  Status status_;
  int ranks_ = 1;
  int rank_ = 0;
  std::uint64_t element_bytes_ = 1;
  std::optional<Area> input_;
  std::optional<Area> output_;
};

// Starts everything that was noted, or nothing; then waits for what nobody else will wait for.
Status start_group(std::vector<NotedCall>& calls) {
  for (NotedCall& noted : calls) {
    noted.request.algorithm = noted.algorithm;
    if (!noted.scalar.empty()) noted.request.scalar = noted.scalar.data();
    TUTTI_RETURN_IF_ERROR(check_communicator(noted.comm));
    TUTTI_RETURN_IF_ERROR(noted.comm->runtime->with_engine(
        [&](Engine& engine, Instant) { return engine.check(noted.comm->communicator, noted.request); }));
  }
  Status first;
  std::vector<std::pair<Runtime*, Operation*>> mine;
  for (NotedCall& noted : calls) {
    Runtime& runtime = *noted.comm->runtime;
    const Result<Operation*> started = runtime.with_engine(
        [&](Engine& engine, Instant now) { return engine.start(noted.comm->communicator, noted.request, now); });
    if (!started) {
      if (first.is_ok()) first = started.status();
    } else if (noted.request_out != nullptr) {
      *noted.request_out = new tutti_request{noted.comm->runtime, *started};
    } else {
      mine.emplace_back(&runtime, *started);
    }
  }
  for (const auto& [runtime, operation] : mine) {
    runtime->wait([&, op = operation] { return op->is_complete(); }, kNever);
    if (first.is_ok()) first = operation->result();
    runtime->with_engine([&, op = operation](Engine& engine, Instant) { engine.release(op); });
  }
  for (const NotedCall& noted : calls) noted.comm->runtime->attend();
  return first;
}

}  // namespace

bool in_group() { return group.depth > 0; }

Status run_operation(tutti_comm& comm, const OperationRequest& request) {
  const Result<Operation*> done = comm.runtime->start_and_wait(
      [&](Engine& engine, Instant now) { return engine.start(comm.communicator, request, now); });
  if (!done) return done.status();
  const Status result = (*done)->result();
  comm.runtime->with_engine([&](Engine& engine, Instant) { engine.release(*done); });
  return result;
}

}  // namespace tutti

using tutti::CallBuilder;
using tutti::CallKind;

tutti_status tutti_all_reduce(const void* input, void* output, size_t count, tutti_datatype type, tutti_op op,
                              tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::all_reduce, comm, call);
  b.count(count);
  b.type(type);
  b.op(op);
  const std::uint64_t bytes = b.bytes(count, 1);
  b.input(input, bytes);
  b.output(output, bytes);
  b.in_place_when(true, 0);
  return b.go(request);
}

tutti_status tutti_reduce(const void* input, void* output, size_t count, tutti_datatype type, tutti_op op, int root,
                          tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::reduce, comm, call);
  b.count(count);
  b.type(type);
  b.op(op);
  b.rank_argument("root", root);
  const std::uint64_t bytes = b.bytes(count, 1);
  b.input(input, bytes);
  if (b.rank() == root) {
    b.output(output, bytes);
    b.in_place_when(true, 0);
  }
  return b.go(request);
}

tutti_status tutti_broadcast(const void* input, void* output, size_t count, tutti_datatype type, int root,
                             tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::broadcast, comm, call);
  b.count(count);
  b.type(type);
  b.rank_argument("root", root);
  const std::uint64_t bytes = b.bytes(count, 1);
  b.output(output, bytes);
  if (b.rank() == root) {
    b.input(input, bytes);
    b.in_place_when(true, 0);
  }
  return b.go(request);
}

tutti_status tutti_all_gather(const void* input, void* output, size_t count, tutti_datatype type, tutti_comm* comm,
                              const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::all_gather, comm, call);
  b.count(count);
  b.type(type);
  const std::uint64_t block = b.bytes(count, 1);
  b.input(input, block);
  b.output(output, b.bytes(count, static_cast<std::uint64_t>(b.ranks())));
  b.in_place_when(true, static_cast<std::uint64_t>(b.rank()) * block);
  return b.go(request);
}

tutti_status tutti_all_gather_v(const void* input, size_t count, void* output, const size_t counts[],
                                const size_t displacements[], tutti_datatype type, tutti_comm* comm,
                                const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::all_gather_v, comm, call);
  b.count(count);
  b.type(type);
  const std::uint64_t reach = b.table("counts", counts, displacements, b.request().output_table);
  if (b.good() && counts[b.rank()] != count)
    b.fail(tutti::format("count is {}, but counts[{}] is {}; they must be equal", count, b.rank(), counts[b.rank()]));
  b.input(input, b.bytes(count, 1));
  b.output(output, reach);
  if (b.good())
    b.in_place_when(true, b.bytes(b.request().output_table.offsets[static_cast<std::size_t>(b.rank())], 1));
  return b.go(request);
}

tutti_status tutti_reduce_scatter(const void* input, void* output, size_t count, tutti_datatype type, tutti_op op,
                                  tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::reduce_scatter, comm, call);
  b.count(count);
  b.type(type);
  b.op(op);
  const std::uint64_t block = b.bytes(count, 1);
  b.input(input, b.bytes(count, static_cast<std::uint64_t>(b.ranks())));
  b.output(output, block);
  b.in_place_when(false, static_cast<std::uint64_t>(b.rank()) * block);
  return b.go(request);
}

tutti_status tutti_reduce_scatter_v(const void* input, void* output, const size_t counts[], tutti_datatype type,
                                    tutti_op op, tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::reduce_scatter_v, comm, call);
  b.type(type);
  b.op(op);
  const std::uint64_t reach = b.table("counts", counts, nullptr, b.request().input_table);
  if (!b.good()) return b.go(request);
  const auto self = static_cast<std::size_t>(b.rank());
  b.count(counts[self]);
  b.input(input, reach);
  b.output(output, b.bytes(counts[self], 1));
  b.in_place_when(false, b.bytes(b.request().input_table.offsets[self], 1));
  return b.go(request);
}

tutti_status tutti_all_to_all(const void* input, void* output, size_t count, tutti_datatype type, tutti_comm* comm,
                              const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::all_to_all, comm, call);
  b.count(count);
  b.type(type);
  const std::uint64_t bytes = b.bytes(count, static_cast<std::uint64_t>(b.ranks()));
  b.input(input, bytes);
  b.output(output, bytes);
  b.in_place_when(true, 0);
  return b.go(request);
}

tutti_status tutti_all_to_all_v(const void* input, const size_t input_counts[], const size_t input_displacements[],
                                void* output, const size_t output_counts[], const size_t output_displacements[],
                                tutti_datatype type, tutti_comm* comm, const tutti_call* call,
                                tutti_request** request) {
  CallBuilder b(CallKind::all_to_all_v, comm, call);
  b.type(type);
  const std::uint64_t sent = b.table("input_counts", input_counts, input_displacements, b.request().input_table);
  const std::uint64_t received =
      b.table("output_counts", output_counts, output_displacements, b.request().output_table);
  b.input(input, sent);
  b.output(output, received);
  b.forbid_overlap();
  if (b.good() && input_counts[b.rank()] != output_counts[b.rank()]) {
    b.fail(tutti::format("this rank ({}) sends {} elements to itself but receives {}; the two counts must be equal",
                         b.rank(), input_counts[b.rank()], output_counts[b.rank()]));
  }
  return b.go(request);
}

tutti_status tutti_gather(const void* input, void* output, size_t count, tutti_datatype type, int root,
                          tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::gather, comm, call);
  b.count(count);
  b.type(type);
  b.rank_argument("root", root);
  const std::uint64_t block = b.bytes(count, 1);
  b.input(input, block);
  if (b.rank() == root) {
    b.output(output, b.bytes(count, static_cast<std::uint64_t>(b.ranks())));
    b.in_place_when(true, static_cast<std::uint64_t>(root) * block);
  }
  return b.go(request);
}

tutti_status tutti_gather_v(const void* input, size_t count, void* output, const size_t counts[],
                            const size_t displacements[], tutti_datatype type, int root, tutti_comm* comm,
                            const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::gather_v, comm, call);
  b.count(count);
  b.type(type);
  b.rank_argument("root", root);
  b.input(input, b.bytes(count, 1));
  if (b.good() && b.rank() == root) {
    const std::uint64_t reach = b.table("counts", counts, displacements, b.request().output_table);
    b.output(output, reach);
    if (b.good() && counts[root] != count)
      b.fail(tutti::format("count is {}, but counts[{}] is {}; they must be equal", count, root, counts[root]));
    if (b.good()) b.in_place_when(true, b.bytes(b.request().output_table.offsets[static_cast<std::size_t>(root)], 1));
  }
  return b.go(request);
}

tutti_status tutti_scatter(const void* input, void* output, size_t count, tutti_datatype type, int root,
                           tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::scatter, comm, call);
  b.count(count);
  b.type(type);
  b.rank_argument("root", root);
  const std::uint64_t block = b.bytes(count, 1);
  b.output(output, block);
  if (b.rank() == root) {
    b.input(input, b.bytes(count, static_cast<std::uint64_t>(b.ranks())));
    b.in_place_when(false, static_cast<std::uint64_t>(root) * block);
  }
  return b.go(request);
}

tutti_status tutti_scatter_v(const void* input, const size_t counts[], const size_t displacements[], void* output,
                             size_t count, tutti_datatype type, int root, tutti_comm* comm, const tutti_call* call,
                             tutti_request** request) {
  CallBuilder b(CallKind::scatter_v, comm, call);
  b.count(count);
  b.type(type);
  b.rank_argument("root", root);
  b.output(output, b.bytes(count, 1));
  if (b.good() && b.rank() == root) {
    const std::uint64_t reach = b.table("counts", counts, displacements, b.request().input_table);
    b.input(input, reach);
    if (b.good() && counts[root] != count)
      b.fail(tutti::format("count is {}, but counts[{}] is {}; they must be equal", count, root, counts[root]));
    if (b.good()) b.in_place_when(false, b.bytes(b.request().input_table.offsets[static_cast<std::size_t>(root)], 1));
  }
  return b.go(request);
}

tutti_status tutti_barrier(tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::barrier, comm, call);
  b.count(1);
  return b.go(request);
}

tutti_status tutti_comm_agree(tutti_comm* comm, const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::agree, comm, call);
  b.elastic();
  return b.go(request);
}

tutti_status tutti_send(const void* input, size_t count, tutti_datatype type, int peer, tutti_comm* comm,
                        const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::point_to_point, comm, call);
  b.count(count);
  b.type(type);
  b.rank_argument("peer", peer);
  b.input(input, b.bytes(count, 1));
  b.request().sends = true;
  return b.go(request);
}

tutti_status tutti_receive(void* output, size_t count, tutti_datatype type, int peer, tutti_comm* comm,
                           const tutti_call* call, tutti_request** request) {
  CallBuilder b(CallKind::point_to_point, comm, call);
  b.count(count);
  b.type(type);
  b.rank_argument("peer", peer);
  b.output(output, b.bytes(count, 1));
  return b.go(request);
}

tutti_status tutti_group_begin(void) {
  ++tutti::group.depth;
  return TUTTI_OK;
}

tutti_status tutti_group_end(void) {
  if (tutti::group.depth == 0)
    return tutti::report(tutti::invalid("tutti_group_end without a tutti_group_begin on this thread"));
  if (--tutti::group.depth > 0) return TUTTI_OK;
  std::vector<tutti::NotedCall> calls = std::move(tutti::group.calls);
  tutti::group.calls.clear();
  const tutti::Status failure = std::exchange(tutti::group.failure, {});
  if (!failure) return tutti::report(failure);
  return tutti::report(tutti::start_group(calls));
}
