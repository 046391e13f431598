// Element-wise reductions, scaling and copies over plain memory, vectorised, with one result for one input.
//
// The contract, bit for bit. `reduce` writes target[i] = the left fold of sources[0][i], sources[1][i], ... in the
// given order. The result is a function of those operands and nothing else: not of alignment, length, position,
// vector width, instruction set, or the caller's floating-point environment (rounding mode, flush-to-zero), so that
// every rank that folds the same operands in the same order holds the same bits.
//   - One source, no divisor: target is a copy, whatever the operator (logical results are not made 1 or 0, NaNs keep
//     their payload).
//   - Integers wrap (two's complement) in sum and product. Logical operators read nonzero as true and write 1 or 0.
//   - float16, bfloat16 and the float8 types accumulate in float32 over all sources of one call and round once, to
//     nearest even, at the end (src/memory/lowprecision.h). float32 and float64 accumulate in their own type. There
//     is no fused multiply-add.
//   - Any NaN result is written as the canonical quiet NaN of its type: positive, only the top bit of the mantissa
//     (0x7f in float8_e4m3). Which operand was NaN, and with what payload, never shows.
//   - min and max are IEEE 754-2019 minimum and maximum: a NaN operand makes the result NaN, and -0 < +0.
//   - average and premultiplied_sum fold as sum; their scaling is the divisor below and `scale`.
//   - divisor > 0 (sum, average and premultiplied_sum only) is average's last step: the accumulated value is divided
//     by it before rounding. Integers divide as C does, truncating, after having wrapped; floats divide truly, by the
//     divisor rounded to the accumulation type.
//
// Memory: any alignment of any pointer. `target` may be exactly one or several of the sources; any other overlap is
// undefined. Nothing is allocated, nothing is locked; all functions are safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "src/memory/datatype.h"
#include "src/memory/instruction_set.h"

namespace tutti {

struct Reduction {
  DataType type;
  ReduceOp op;
  std::uint32_t divisor = 0;  // 0: no division
  // Writes the target past the caches. Worth it when nobody reads the target soon and the whole result exceeds the
  // cache; ignored where it cannot pay: small or odd-aligned targets, and targets that are also a source.
  bool streaming = false;
};

// REQUIRES: supports(reduction.type, reduction.op); at least one source; a divisor only with the sum family.
void reduce(const Reduction& reduction, std::byte* target, std::span<const std::byte* const> sources,
            std::size_t count);

// The function behind `reduce` for this type and operator, for callers that reduce often: the look-up is done once.
// The type and operator in the Reduction passed to it must be those it was found for. Null when not supported.
// REQUIRES: supported(set)
using ReduceFunction = void (*)(const Reduction& reduction, std::byte* target,
                                std::span<const std::byte* const> sources, std::size_t count);
ReduceFunction find_reduce(DataType type, ReduceOp op);
ReduceFunction find_reduce(DataType type, ReduceOp op, InstructionSet set);

// target[i] = source[i] * *scalar, where scalar points to one value of the same type: the first step of
// premultiplied_sum. Integers wrap; low precision multiplies in float32 and rounds once; NaNs become canonical.
// `target` is `source` or does not overlap it.
void scale(DataType type, std::byte* target, const std::byte* source, std::size_t count, const std::byte* scalar);
using ScaleFunction = void (*)(std::byte* target, const std::byte* source, std::size_t count,
                               const std::byte* scalar);
ScaleFunction find_scale(DataType type, InstructionSet set);

// memcpy; with `streaming`, past the caches where that can pay. The two may be equal but not partially overlap.
void copy(std::byte* target, const std::byte* source, std::size_t bytes, bool streaming);
using CopyFunction = void (*)(std::byte* target, const std::byte* source, std::size_t bytes, bool streaming);
CopyFunction find_copy(InstructionSet set);

}  // namespace tutti
