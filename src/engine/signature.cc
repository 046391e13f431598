#include "src/engine/signature.h"

#include "src/base/format.h"

namespace tutti {

std::string_view name(CallKind kind) {
  switch (kind) {
    case CallKind::all_reduce:
      return "all_reduce";
    case CallKind::reduce:
      return "reduce";
    case CallKind::broadcast:
      return "broadcast";
    case CallKind::all_gather:
      return "all_gather";
    case CallKind::reduce_scatter:
      return "reduce_scatter";
    case CallKind::all_to_all:
      return "all_to_all";
    case CallKind::gather:
      return "gather";
    case CallKind::scatter:
      return "scatter";
    case CallKind::barrier:
      return "barrier";
    case CallKind::all_gather_v:
      return "all_gather_v";
    case CallKind::reduce_scatter_v:
      return "reduce_scatter_v";
    case CallKind::all_to_all_v:
      return "all_to_all_v";
    case CallKind::gather_v:
      return "gather_v";
    case CallKind::scatter_v:
      return "scatter_v";
    case CallKind::point_to_point:
      return "send/receive";
    case CallKind::agree:
      return "agree";
  }
  return "an unknown operation";
}

Collective collective_of(CallKind kind) {
  switch (kind) {
    case CallKind::barrier:
    case CallKind::agree:
      return Collective::all_reduce;
    case CallKind::all_gather_v:
      return Collective::all_gather;
    case CallKind::reduce_scatter_v:
      return Collective::reduce_scatter;
    case CallKind::all_to_all_v:
      return Collective::all_to_all;
    case CallKind::gather_v:
      return Collective::gather;
    case CallKind::scatter_v:
      return Collective::scatter;
    case CallKind::point_to_point:
      return Collective::broadcast;
    default:
      return static_cast<Collective>(kind);
  }
}

bool has_type_and_op(CallKind kind) {
  return kind == CallKind::all_reduce || kind == CallKind::reduce || kind == CallKind::reduce_scatter ||
         kind == CallKind::reduce_scatter_v;
}

bool Signature::per_message() const {
  return kind == CallKind::all_to_all_v || kind == CallKind::gather_v || kind == CallKind::scatter_v ||
         kind == CallKind::point_to_point;
}

std::uint64_t Signature::word() const {
  return static_cast<std::uint64_t>(kind) | static_cast<std::uint64_t>(type) << 8 |
         static_cast<std::uint64_t>(op) << 16 | static_cast<std::uint64_t>(algorithm) << 24 |
         static_cast<std::uint64_t>(static_cast<std::uint32_t>(root)) << 32;
}

Signature Signature::from_words(std::uint64_t word, std::uint64_t count) {
  Signature s;
  s.kind = static_cast<CallKind>(word & 0xff);
  s.type = static_cast<DataType>(word >> 8 & 0xff);
  s.op = static_cast<ReduceOp>(word >> 16 & 0xff);
  s.algorithm = static_cast<std::uint8_t>(word >> 24);
  s.root = static_cast<Rank>(word >> 32);
  s.count = count;
  return s;
}

std::string Signature::describe() const {
  if (kind == CallKind::barrier) return algorithm ? format("barrier(algorithm #{})", algorithm) : "barrier()";
  if (kind == CallKind::agree) return "agree()";
  std::string text = format("{}(", name(kind));
  if (kind == CallKind::all_gather_v || kind == CallKind::reduce_scatter_v) {
    text += format("counts with hash {:08x}", static_cast<std::uint32_t>(count));
  } else if (per_message()) {
    text += format("message of {}", count);
  } else {
    text += format("count {}", count);
  }
  text += format(", {}", tutti::name(type));
  if (has_type_and_op(kind)) text += format(", {}", tutti::name(op));
  if (kind == CallKind::reduce || kind == CallKind::broadcast || kind == CallKind::gather ||
      kind == CallKind::scatter || kind == CallKind::gather_v || kind == CallKind::scatter_v) {
    text += format(", root {}", root);
  }
  if (algorithm != 0) text += format(", algorithm #{}", algorithm);
  return text + ")";
}

}  // namespace tutti
