#include "src/memory/datatype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <utility>

#include "src/base/format.h"

namespace tutti {
namespace {

constexpr std::array<std::string_view, kDataTypes> kDataTypeNames = {
    "int8",   "uint8",   "int16",    "uint16",  "int32",   "uint32",      "int64",
    "uint64", "float16", "bfloat16", "float32", "float64", "float8_e4m3", "float8_e5m2"};

constexpr std::array<std::string_view, kReduceOps> kReduceOpNames = {
    "sum",    "product", "min",         "max",        "average",          "bit_and",
    "bit_or", "bit_xor", "logical_and", "logical_or", "premultiplied_sum"};

constexpr std::pair<std::string_view, DataType> kDataTypeAliases[] = {
    {"i8", DataType::int8},
    {"s8", DataType::int8},
    {"char", DataType::int8},
    {"u8", DataType::uint8},
    {"byte", DataType::uint8},
    {"i16", DataType::int16},
    {"s16", DataType::int16},
    {"short", DataType::int16},
    {"u16", DataType::uint16},
    {"i32", DataType::int32},
    {"s32", DataType::int32},
    {"int", DataType::int32},
    {"u32", DataType::uint32},
    {"uint", DataType::uint32},
    {"i64", DataType::int64},
    {"s64", DataType::int64},
    {"long", DataType::int64},
    {"u64", DataType::uint64},
    {"f16", DataType::float16},
    {"fp16", DataType::float16},
    {"half", DataType::float16},
    {"bf16", DataType::bfloat16},
    {"f32", DataType::float32},
    {"fp32", DataType::float32},
    {"float", DataType::float32},
    {"f64", DataType::float64},
    {"fp64", DataType::float64},
    {"double", DataType::float64},
    {"f8e4m3", DataType::float8_e4m3},
    {"fp8e4m3", DataType::float8_e4m3},
    {"e4m3", DataType::float8_e4m3},
    {"float8_e4m3fn", DataType::float8_e4m3},
    {"f8e5m2", DataType::float8_e5m2},
    {"fp8e5m2", DataType::float8_e5m2},
    {"e5m2", DataType::float8_e5m2},
};

constexpr std::pair<std::string_view, ReduceOp> kReduceOpAliases[] = {
    {"add", ReduceOp::sum},
    {"prod", ReduceOp::product},
    {"mul", ReduceOp::product},
    {"minimum", ReduceOp::min},
    {"maximum", ReduceOp::max},
    {"avg", ReduceOp::average},
    {"mean", ReduceOp::average},
    {"band", ReduceOp::bit_and},
    {"bor", ReduceOp::bit_or},
    {"bxor", ReduceOp::bit_xor},
    {"land", ReduceOp::logical_and},
    {"lor", ReduceOp::logical_or},
    {"premul_sum", ReduceOp::premultiplied_sum},
    {"premulsum", ReduceOp::premultiplied_sum},
};

bool same_ignoring_case(std::string_view text, std::string_view lower) {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; });
}

template <typename T, std::size_t kNames, std::size_t kAliases>
Result<T> parse(std::string_view text, const std::array<std::string_view, kNames>& names,
                const std::pair<std::string_view, T> (&aliases)[kAliases], std::string_view what) {
  for (std::size_t i = 0; i < kNames; ++i) {
    if (same_ignoring_case(text, names[i])) return static_cast<T>(i);
  }
  for (const auto& [alias, value] : aliases) {
    if (same_ignoring_case(text, alias)) return value;
  }
  std::string accepted;
  for (std::string_view each : names) {
    if (!accepted.empty()) accepted += ", ";
    accepted += each;
  }
  return Status(Code::invalid, format("\"{}\" is not a {}; use one of {}.", text, what, accepted));
}

}  // namespace

std::string_view name(DataType type) {
  const auto index = static_cast<std::size_t>(type);
  return index < kDataTypeNames.size() ? kDataTypeNames[index] : "a number that is no data type";
}

std::string_view name(ReduceOp op) {
  const auto index = static_cast<std::size_t>(op);
  return index < kReduceOpNames.size() ? kReduceOpNames[index] : "a number that is no reduction";
}

Result<DataType> parse_data_type(std::string_view text) {
  return parse(text, kDataTypeNames, kDataTypeAliases, "data type");
}

Result<ReduceOp> parse_reduce_op(std::string_view text) {
  return parse(text, kReduceOpNames, kReduceOpAliases, "reduction");
}

Status supports(DataType type, ReduceOp op) {
  if (static_cast<int>(type) >= kDataTypes) {
    return Status(Code::invalid, format("data type {} does not exist; the largest is {} ({}).",
                                        static_cast<int>(type), kDataTypes - 1, kDataTypeNames.back()));
  }
  if (static_cast<int>(op) >= kReduceOps) {
    return Status(Code::invalid, format("reduction {} does not exist; the largest is {} ({}).", static_cast<int>(op),
                                        kReduceOps - 1, kReduceOpNames.back()));
  }
  const bool needs_integer = op >= ReduceOp::bit_and && op <= ReduceOp::logical_or;
  if (needs_integer && !is_integer(type)) {
    return Status(
        Code::invalid,
        format("{} has no meaning on {}; bitwise and logical reductions take the integer types, int8 to uint64.",
               name(op), name(type)));
  }
  return Status::ok();
}

}  // namespace tutti
