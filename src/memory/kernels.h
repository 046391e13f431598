// The look-ups of the vectorised kernels, one per family; each family is a file of its own. Null: not of this family,
// or the operator has no meaning on the type. Only reduce.cc uses these.
#pragma once

#include "src/memory/reduce.h"

namespace tutti::kernels {

ReduceFunction find_integer_reduce(DataType type, ReduceOp op, InstructionSet set);
ReduceFunction find_float_reduce(DataType type, ReduceOp op, InstructionSet set);
ReduceFunction find_low_precision_reduce(DataType type, ReduceOp op, InstructionSet set);
ReduceFunction find_float_extremum(DataType type, ReduceOp op, InstructionSet set);  // min and max, any float type

ScaleFunction find_integer_scale(DataType type, InstructionSet set);
ScaleFunction find_float_scale(DataType type, InstructionSet set);
ScaleFunction find_low_precision_scale(DataType type, InstructionSet set);

CopyFunction find_streaming_copy(InstructionSet set);  // streams always; for large, disjoint areas

}  // namespace tutti::kernels
