// Chooses the kernels: one table for the best instruction set, resolved on first use.
#include "src/memory/reduce.h"

#include <array>
#include <cassert>
#include <cstring>
#include <utility>

#include "src/memory/floating_environment.h"
#include "src/memory/kernels.h"
#include "src/memory/reduce_reference.h"

namespace tutti {
namespace {

// Below this, memcpy's own choice is right: the area fits a second-level cache.
constexpr std::size_t kStreamingCopyMinimumBytes = std::size_t{256} << 10;

struct Table {
  std::array<std::array<ReduceFunction, kReduceOps>, kDataTypes> reduce;
  std::array<ScaleFunction, kDataTypes> scale;
  CopyFunction streaming_copy;

  explicit Table(InstructionSet set) : streaming_copy(find_copy(set)) {
    for (int type = 0; type < kDataTypes; ++type) {
      scale[type] = find_scale(static_cast<DataType>(type), set);
      for (int op = 0; op < kReduceOps; ++op) {
        reduce[type][op] = find_reduce(static_cast<DataType>(type), static_cast<ReduceOp>(op), set);
      }
    }
  }
};

// For instruction sets without vectors.
void plain_reduce(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
                  std::size_t count) {
  const DefaultFloatingEnvironment environment;
  reduce_reference(reduction, target, sources, count);
}

template <DataType kType>
void plain_scale(std::byte* target, const std::byte* source, std::size_t count, const std::byte* scalar) {
  const DefaultFloatingEnvironment environment;
  scale_reference(kType, target, source, count, scalar);
}

template <std::size_t... kTypes>
constexpr std::array<ScaleFunction, kDataTypes> plain_scales(std::index_sequence<kTypes...>) {
  return {plain_scale<static_cast<DataType>(kTypes)>...};
}

void plain_copy(std::byte* target, const std::byte* source, std::size_t bytes, bool) {
  if (bytes != 0) std::memcpy(target, source, bytes);
}

ReduceFunction find_vector_reduce(DataType type, ReduceOp op, InstructionSet set) {
  if (is_integer(type)) return kernels::find_integer_reduce(type, op, set);
  if (const ReduceFunction found = kernels::find_float_extremum(type, op, set)) return found;
  if (const ReduceFunction found = kernels::find_float_reduce(type, op, set)) return found;
  return kernels::find_low_precision_reduce(type, op, set);
}

ScaleFunction find_vector_scale(DataType type, InstructionSet set) {
  if (is_integer(type)) return kernels::find_integer_scale(type, set);
  if (const ScaleFunction found = kernels::find_float_scale(type, set)) return found;
  return kernels::find_low_precision_scale(type, set);
}

const Table& table() {
  static const Table best(best_instruction_set());
  return best;
}

}  // namespace

void reduce(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
            std::size_t count) {
  const ReduceFunction function = find_reduce(reduction.type, reduction.op);
  assert(function != nullptr && !sources.empty());
  function(reduction, target, sources, count);
}

ReduceFunction find_reduce(DataType type, ReduceOp op) {
  return table().reduce[static_cast<std::size_t>(type)][static_cast<std::size_t>(op)];
}

ReduceFunction find_reduce(DataType type, ReduceOp op, InstructionSet set) {
  if (const ReduceFunction found = find_vector_reduce(type, op, set)) return found;
  return supports(type, op) ? plain_reduce : nullptr;
}

void scale(DataType type, std::byte* target, const std::byte* source, std::size_t count, const std::byte* scalar) {
  table().scale[static_cast<std::size_t>(type)](target, source, count, scalar);
}

ScaleFunction find_scale(DataType type, InstructionSet set) {
  static constexpr auto kPlain = plain_scales(std::make_index_sequence<kDataTypes>());
  const ScaleFunction found = find_vector_scale(type, set);
  return found ? found : kPlain[static_cast<std::size_t>(type)];
}

void copy(std::byte* target, const std::byte* source, std::size_t bytes, bool streaming) {
  if (bytes == 0 || target == source) return;
  if (streaming && bytes >= kStreamingCopyMinimumBytes) {
    table().streaming_copy(target, source, bytes, true);
  } else {
    std::memcpy(target, source, bytes);
  }
}

CopyFunction find_copy(InstructionSet set) {
  const CopyFunction found = kernels::find_streaming_copy(set);
  return found ? found : plain_copy;
}

}  // namespace tutti
