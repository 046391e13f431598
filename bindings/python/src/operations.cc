// The operations of a Communicator. Each comes in two forms from one function: all_reduce(...) returns its output
// when it is done, start_all_reduce(...) returns a Request. Lengths and types that contradict each other raise
// InvalidError before anything is sent; what other ranks pass is checked by the library.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <numeric>
#include <string>

#include "bindings/python/src/communicator.h"
#include "bindings/python/src/errors.h"

namespace tutti::python {

namespace {

using Counts = std::optional<std::vector<std::size_t>>;

void require(bool good, const std::string& otherwise) {
  if (!good) raise_invalid(otherwise + "; nothing was sent");
}

std::string elements(const char* name, const Buffer& buffer) {
  return std::string(name) + " has " + std::to_string(buffer.count) + " elements of " +
         tutti_datatype_name(buffer.type);
}

// What every operation takes besides its buffers.
struct Call {
  std::optional<double> timeout;
  std::optional<std::string> algorithm;
  std::optional<std::string> datatype;
  std::optional<double> scalar;
  bool waits = true;

  const char* type() const { return datatype ? datatype->c_str() : nullptr; }
  Buffer input(nb::handle object) const { return buffer_of(object, "input", false, type()); }
  Buffer output(nb::handle object, const char* name = "output") const {
    return buffer_of(object, name, true, type());
  }
};

// The premultiplied sum's factor, as one element of the operation's type.
struct Scalar {
  alignas(8) std::byte bytes[8] = {};

  const void* set(double value, tutti_datatype type, tutti_op op) {
    if (op != TUTTI_PREMULTIPLIED_SUM) raise_invalid("scalar= is the factor of op=\"premultiplied_sum\" only");
    if (type == TUTTI_FLOAT32) {
      const auto narrow = static_cast<float>(value);
      std::memcpy(bytes, &narrow, sizeof narrow);
    } else if (type == TUTTI_FLOAT64) {
      std::memcpy(bytes, &value, sizeof value);
    } else {
      raise_invalid(std::string("scalar= is taken for float32 and float64 here, not for ") +
                    tutti_datatype_name(type) + "; multiply the input instead");
    }
    return bytes;
  }
};

tutti_op op_for(const std::string& name, const Buffer& buffer) {
  const tutti_op op = op_of(name);
  const bool keeps_bools = op == TUTTI_MIN || op == TUTTI_MAX || (op >= TUTTI_BIT_AND && op <= TUTTI_LOGICAL_OR);
  if (buffer.is_bool && !keeps_bools)
    raise_invalid("the " + name + " of booleans is none; use logical_or, logical_and, bit_xor, min or max");
  return op;
}

void require_alike(const Buffer& input, const Buffer& output) {
  require(input.type == output.type && input.is_bool == output.is_bool,
          elements("input", input) + ", " + elements("output", output) + ": their types differ");
}

void require_sizes(const Buffer& larger, const char* name, std::size_t ranks, const Buffer& block) {
  require(larger.count == ranks * block.count, elements(name, larger) + ", expected " + std::to_string(ranks) +
                                                   " blocks, one for each rank, of " + std::to_string(block.count));
}

std::size_t sum(const std::vector<std::size_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::size_t{0});
}

void require_counts(const std::vector<std::size_t>& counts, std::size_t ranks, const Buffer& buffer,
                    const char* name) {
  require(counts.size() == ranks,
          "counts has " + std::to_string(counts.size()) + " entries for " + std::to_string(ranks) + " ranks");
  require(sum(counts) == buffer.count,
          elements(name, buffer) + ", and counts sum up to " + std::to_string(sum(counts)));
}

// `whole` has a block for each rank: each like `block`, or as many elements as counts say.
void require_blocks(Communicator& self, const Buffer& whole, const char* name, const Buffer& block,
                    const Counts& counts) {
  const auto ranks = static_cast<std::size_t>(self.size());
  if (counts) {
    require_counts(*counts, ranks, whole, name);
  } else {
    require_sizes(whole, name, ranks, block);
  }
}

template <typename Begin>
Request begin(Communicator& self, const Call& call, tutti_op op, std::vector<Buffer> buffers, nb::object result,
              const Begin& function) {
  Scalar scalar;
  tutti_call c_call = TUTTI_CALL_INIT;
  c_call.timeout_ns = nanoseconds(call.timeout);
  c_call.algorithm = call.algorithm ? call.algorithm->c_str() : nullptr;
  if (call.scalar) c_call.scalar = scalar.set(*call.scalar, buffers.at(0).type, op);
  return self.start([&](tutti_comm* comm, tutti_request** request) { return function(comm, &c_call, request); },
                    std::move(buffers), std::move(result), call.waits);
}

Request all_reduce(Communicator& self, const Call& call, nb::object input, std::optional<nb::object> output,
                   const std::string& op) {
  const nb::object target = output.value_or(input);
  const Buffer out = call.output(target, output ? "output" : "input");
  const Buffer in = output ? call.input(input) : out;
  require_alike(in, out);
  require(in.count == out.count, elements("input", in) + ", " + elements("output", out));
  const tutti_op reduction = op_for(op, in);
  return begin(self, call, reduction, {in, out}, target,
               [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
                 return tutti_all_reduce(in.data, out.data, in.count, in.type, reduction, comm, c, r);
               });
}

Request reduce(Communicator& self, const Call& call, nb::object input, std::optional<nb::object> output,
               const std::string& op, int root) {
  const bool is_root = self.rank() == root;
  const nb::object target = is_root ? output.value_or(input) : nb::object(nb::none());
  const Buffer out = is_root ? call.output(target, output ? "output" : "input") : Buffer();
  const Buffer in = is_root && !output ? out : call.input(input);
  if (is_root) {
    require_alike(in, out);
    require(in.count == out.count, elements("input", in) + ", " + elements("output", out));
  }
  const tutti_op reduction = op_for(op, in);
  return begin(self, call, reduction, {in, out}, target,
               [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
                 return tutti_reduce(in.data, out.data, in.count, in.type, reduction, root, comm, c, r);
               });
}

Request broadcast(Communicator& self, const Call& call, nb::object buffer, int root) {
  const Buffer data = buffer_of(buffer, "buffer", self.rank() != root, call.type());
  return begin(self, call, TUTTI_SUM, {data}, buffer, [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
    return tutti_broadcast(data.data, data.data, data.count, data.type, root, comm, c, r);
  });
}

Request all_gather(Communicator& self, const Call& call, nb::object input, nb::object output, const Counts& counts) {
  const Buffer in = call.input(input);
  const Buffer out = call.output(output);
  require_alike(in, out);
  require_blocks(self, out, "output", in, counts);
  return begin(
      self, call, TUTTI_SUM, {in, out}, output, [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
        return counts ? tutti_all_gather_v(in.data, in.count, out.data, counts->data(), nullptr, in.type, comm, c, r)
                      : tutti_all_gather(in.data, out.data, in.count, in.type, comm, c, r);
      });
}

Request reduce_scatter(Communicator& self, const Call& call, nb::object input, nb::object output,
                       const std::string& op, const Counts& counts) {
  const Buffer in = call.input(input);
  const Buffer out = call.output(output);
  require_alike(in, out);
  require_blocks(self, in, "input", out, counts);
  if (counts) {
    const std::size_t mine = (*counts)[static_cast<std::size_t>(self.rank())];
    require(out.count == mine, elements("output", out) + ", and this rank's count is " + std::to_string(mine));
  }
  const tutti_op reduction = op_for(op, in);
  return begin(
      self, call, reduction, {in, out}, output, [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
        return counts ? tutti_reduce_scatter_v(in.data, out.data, counts->data(), in.type, reduction, comm, c, r)
                      : tutti_reduce_scatter(in.data, out.data, out.count, in.type, reduction, comm, c, r);
      });
}

Request all_to_all(Communicator& self, const Call& call, nb::object input, nb::object output,
                   const Counts& input_counts, const Counts& output_counts) {
  const Buffer in = call.input(input);
  const Buffer out = call.output(output);
  const auto ranks = static_cast<std::size_t>(self.size());
  require_alike(in, out);
  require(input_counts.has_value() == output_counts.has_value(), "all_to_all takes both tables of counts, or none");
  if (input_counts) {
    require_counts(*input_counts, ranks, in, "input");
    require_counts(*output_counts, ranks, out, "output");
  } else {
    require(in.count == out.count && in.count % ranks == 0, elements("input", in) + ", " + elements("output", out) +
                                                                ": expected as many in both, a multiple of " +
                                                                std::to_string(ranks));
  }
  return begin(self, call, TUTTI_SUM, {in, out}, output,
               [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
                 return input_counts ? tutti_all_to_all_v(in.data, input_counts->data(), nullptr, out.data,
                                                          output_counts->data(), nullptr, in.type, comm, c, r)
                                     : tutti_all_to_all(in.data, out.data, in.count / ranks, in.type, comm, c, r);
               });
}

Request gather(Communicator& self, const Call& call, nb::object input, std::optional<nb::object> output, int root,
               const Counts& counts) {
  const Buffer in = call.input(input);
  const bool is_root = self.rank() == root;
  require(!is_root || output, "gather needs an output at the root");
  const nb::object target = is_root ? *output : nb::object(nb::none());
  const Buffer out = is_root ? call.output(target) : Buffer();
  if (is_root) {
    require_alike(in, out);
    require_blocks(self, out, "output", in, counts);
  }
  return begin(
      self, call, TUTTI_SUM, {in, out}, target, [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
        return counts
                   ? tutti_gather_v(in.data, in.count, out.data, counts->data(), nullptr, in.type, root, comm, c, r)
                   : tutti_gather(in.data, out.data, in.count, in.type, root, comm, c, r);
      });
}

Request scatter(Communicator& self, const Call& call, std::optional<nb::object> input, nb::object output, int root,
                const Counts& counts) {
  const Buffer out = call.output(output);
  const bool is_root = self.rank() == root;
  require(!is_root || input, "scatter needs an input at the root");
  const Buffer in = is_root ? call.input(*input) : Buffer();
  if (is_root) {
    require_alike(in, out);
    require_blocks(self, in, "input", out, counts);
  }
  return begin(self, call, TUTTI_SUM, {in, out}, output,
               [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
                 return counts ? tutti_scatter_v(in.data, counts->data(), nullptr, out.data, out.count, out.type,
                                                 root, comm, c, r)
                               : tutti_scatter(in.data, out.data, out.count, out.type, root, comm, c, r);
               });
}

Request barrier(Communicator& self, const Call& call) {
  return begin(self, call, TUTTI_SUM, {}, nb::none(),
               [](tutti_comm* comm, const tutti_call* c, tutti_request** r) { return tutti_barrier(comm, c, r); });
}

Request send(Communicator& self, const Call& call, nb::object input, int peer) {
  const Buffer in = call.input(input);
  return begin(self, call, TUTTI_SUM, {in}, nb::none(),
               [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
                 return tutti_send(in.data, in.count, in.type, peer, comm, c, r);
               });
}

Request receive(Communicator& self, const Call& call, nb::object output, int peer) {
  const Buffer out = call.output(output);
  return begin(self, call, TUTTI_SUM, {out}, output, [&](tutti_comm* comm, const tutti_call* c, tutti_request** r) {
    return tutti_receive(out.data, out.count, out.type, peer, comm, c, r);
  });
}

// What one form of an operation returns: the Request, or what it came to. In a group that is known only afterwards.
nb::object outcome(Request request, bool waits) {
  if (!waits) return nb::cast(std::move(request));
  return in_group() ? request.result() : request.wait(std::nullopt);
}

// Binds both forms of an operation: the function takes the communicator, its own arguments and a Call. `shown` are
// its own arguments as Python writes them, `gives` what it returns.
template <typename... Arguments, typename... Names>
void bind(nb::class_<Communicator>& to, const char* name,
          Request (*function)(Communicator&, const Call&, Arguments...), const std::string& shown, const char* gives,
          const char* text, const Names&... names) {
  for (const bool waits : {true, false}) {
    const std::string whole_name = (waits ? "" : "start_") + std::string(name);
    const std::string signature =
        "def " + whole_name + "(self, " + shown + (shown.empty() ? "" : ", ") +
        "*, timeout: float | None = None, algorithm: str | None = None, datatype: str | None = "
        "None, scalar: float | None = None) -> " +
        (waits ? gives : "Request");
    to.def(
        whole_name.c_str(),
        [function, waits](Communicator& self, Arguments... arguments, std::optional<double> timeout,
                          std::optional<std::string> algorithm, std::optional<std::string> datatype,
                          std::optional<double> scalar) {
          const Call call{timeout, std::move(algorithm), std::move(datatype), scalar, waits};
          return outcome(function(self, call, arguments...), waits);
        },
        names..., nb::kw_only(), nb::arg("timeout") = nb::none(), nb::arg("algorithm") = nb::none(),
        nb::arg("datatype") = nb::none(), nb::arg("scalar") = nb::none(), nb::sig(signature.c_str()), text);
  }
}

}  // namespace

void bind_operations(nb::class_<Communicator>& communicator) {
  const auto op = nb::arg("op") = "sum";
  const auto no_output = nb::arg("output") = nb::none();
  const auto no_counts = nb::arg("counts") = nb::none();
  bind(communicator, "all_reduce", all_reduce, "input: Buffer, output: Buffer | None = None, op: str = 'sum'",
       "Buffer", "output[i] = op over the ranks' input[i], on every rank. Without an output, in place.",
       nb::arg("input"), no_output, op);
  bind(communicator, "reduce", reduce, "input: Buffer, output: Buffer | None = None, op: str = 'sum', root: int = 0",
       "Buffer | None", "As all_reduce, on the root only; output is not used elsewhere. Returns None elsewhere.",
       nb::arg("input"), no_output, op, nb::arg("root") = 0);
  bind(communicator, "broadcast", broadcast, "buffer: Buffer, root: int = 0", "Buffer",
       "The root's elements come into everybody's buffer.", nb::arg("buffer"), nb::arg("root") = 0);
  bind(communicator, "all_gather", all_gather, "input: Buffer, output: Buffer, counts: Sequence[int] | None = None",
       "Buffer",
       "output: a block for each rank, in rank order: its input. With counts, block r has counts[r] elements; counts "
       "are "
       "the same on every rank. input may be this rank's block of the output.",
       nb::arg("input"), nb::arg("output"), no_counts);
  bind(communicator, "reduce_scatter", reduce_scatter,
       "input: Buffer, output: Buffer, op: str = 'sum', counts: Sequence[int] | None = None", "Buffer",
       "input: a block for each rank; output = op over the ranks' blocks for this rank. With counts, block r has "
       "counts[r] elements. output may be this rank's block of the input.",
       nb::arg("input"), nb::arg("output"), op, no_counts);
  bind(communicator, "all_to_all", all_to_all,
       "input: Buffer, output: Buffer, input_counts: Sequence[int] | None = None, output_counts: Sequence[int] | "
       "None = "
       "None",
       "Buffer",
       "Block r of the input goes to rank r; block r of the output comes from rank r. With counts, input_counts[r] "
       "elements go to rank r and output_counts[r] come from it. Without, input and output may be one.",
       nb::arg("input"), nb::arg("output"), nb::arg("input_counts") = nb::none(),
       nb::arg("output_counts") = nb::none());
  bind(communicator, "gather", gather,
       "input: Buffer, output: Buffer | None = None, root: int = 0, counts: Sequence[int] | None = None",
       "Buffer | None",
       "The root's output has a block for each rank: its input. output and counts are read at the root only.",
       nb::arg("input"), no_output, nb::arg("root") = 0, no_counts);
  bind(communicator, "scatter", scatter,
       "input: Buffer | None, output: Buffer, root: int = 0, counts: Sequence[int] | None = None", "Buffer",
       "Block r of the root's input comes to rank r. input is read at the root only.", nb::arg("input").none(),
       nb::arg("output"), nb::arg("root") = 0, no_counts);
  bind(communicator, "barrier", barrier, "", "None", "Done on no rank before every rank has called it.");
  bind(communicator, "send", send, "input: Buffer, peer: int", "None",
       "The n-th send to a rank matches its n-th receive from this one. Not ordered with collectives.",
       nb::arg("input"), nb::arg("peer"));
  bind(communicator, "receive", receive, "output: Buffer, peer: int", "Buffer", "See send.", nb::arg("output"),
       nb::arg("peer"));
}

}  // namespace tutti::python
