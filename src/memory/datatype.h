// The element types and reduction operators that Tutti knows, by number and by name.
//
// The numbers are part of the ABI (tutti.h repeats them) and of the wire format: they never change, new ones are
// added at the end. Names are the field's usual ones ("float32", "sum"); parsing also takes the common short forms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "src/base/status.h"

namespace tutti {

enum class DataType : std::uint8_t {
  int8 = 0,
  uint8 = 1,
  int16 = 2,
  uint16 = 3,
  int32 = 4,
  uint32 = 5,
  int64 = 6,
  uint64 = 7,
  float16 = 8,
  bfloat16 = 9,
  float32 = 10,
  float64 = 11,
  float8_e4m3 = 12,  // OCP E4M3FN: no infinities, one NaN per sign
  float8_e5m2 = 13,  // OCP E5M2: with infinities
};
inline constexpr int kDataTypes = 14;

enum class ReduceOp : std::uint8_t {
  sum = 0,
  product = 1,
  min = 2,
  max = 3,
  average = 4,  // a sum, divided by the number of ranks in the last step
  bit_and = 5,
  bit_or = 6,
  bit_xor = 7,
  logical_and = 8,  // nonzero is true; the result is 1 or 0
  logical_or = 9,
  premultiplied_sum = 10,  // every rank's input is multiplied by its scalar first, then a sum
};
inline constexpr int kReduceOps = 11;

constexpr std::size_t size_of(DataType type) {
  switch (type) {
    case DataType::int8:
    case DataType::uint8:
    case DataType::float8_e4m3:
    case DataType::float8_e5m2:
      return 1;
    case DataType::int16:
    case DataType::uint16:
    case DataType::float16:
    case DataType::bfloat16:
      return 2;
    case DataType::int32:
    case DataType::uint32:
    case DataType::float32:
      return 4;
    case DataType::int64:
    case DataType::uint64:
    case DataType::float64:
      return 8;
  }
  return 0;
}

constexpr bool is_integer(DataType type) { return type <= DataType::uint64; }

std::string_view name(DataType type);
std::string_view name(ReduceOp op);

// Accepts the name itself and the short forms of C, NumPy, PyTorch and MPI users: "f32", "float", "bf16", "half", ...
// Case does not matter. An error lists what would have been accepted.
Result<DataType> parse_data_type(std::string_view text);
Result<ReduceOp> parse_reduce_op(std::string_view text);

// Ok when the operator has a meaning on the type: arithmetic on every type, bitwise and logical ones on integers.
// Values outside the enumerations are refused too, so this checks arguments that come from outside.
Status supports(DataType type, ReduceOp op);

}  // namespace tutti
