#include "bindings/torch/src/tensors.h"

#include <c10/core/impl/LocalDispatchKeySet.h>

#include <ATen/core/LegacyTypeDispatch.h>

#include <cstring>

namespace tutti::pytorch {

namespace {

std::optional<tutti_datatype> datatype_of(at::ScalarType type) {
  switch (type) {
    case at::kChar:
      return TUTTI_INT8;
    case at::kByte:
    case at::kBool:
      return TUTTI_UINT8;
    case at::kShort:
      return TUTTI_INT16;
    case at::kUInt16:
      return TUTTI_UINT16;
    case at::kInt:
      return TUTTI_INT32;
    case at::kUInt32:
      return TUTTI_UINT32;
    case at::kLong:
      return TUTTI_INT64;
    case at::kUInt64:
      return TUTTI_UINT64;
    case at::kHalf:
      return TUTTI_FLOAT16;
    case at::kBFloat16:
      return TUTTI_BFLOAT16;
    case at::kFloat:
      return TUTTI_FLOAT32;
    case at::kDouble:
      return TUTTI_FLOAT64;
    case at::kFloat8_e4m3fn:
      return TUTTI_FLOAT8_E4M3;
    case at::kFloat8_e5m2:
      return TUTTI_FLOAT8_E5M2;
    default:
      return std::nullopt;
  }
}

// Of bool, as torch defines them: a sum says whether any is true, a product whether all are.
tutti_op logical_op(const c10d::ReduceOp& op) {
  switch (op.op_) {
    case c10d::ReduceOp::SUM:
    case c10d::ReduceOp::MAX:
    case c10d::ReduceOp::BOR:
      return TUTTI_LOGICAL_OR;
    case c10d::ReduceOp::PRODUCT:
    case c10d::ReduceOp::MIN:
    case c10d::ReduceOp::BAND:
      return TUTTI_LOGICAL_AND;
    case c10d::ReduceOp::BXOR:
      return TUTTI_BIT_XOR;
    default:
      TORCH_CHECK(false, "tutti: bool tensors have no average and no premultiplied sum; reduce them as floats");
  }
}

tutti_op numeric_op(const c10d::ReduceOp& op) {
  switch (op.op_) {
    case c10d::ReduceOp::SUM:
      return TUTTI_SUM;
    case c10d::ReduceOp::AVG:
      return TUTTI_AVERAGE;
    case c10d::ReduceOp::PRODUCT:
      return TUTTI_PRODUCT;
    case c10d::ReduceOp::MIN:
      return TUTTI_MIN;
    case c10d::ReduceOp::MAX:
      return TUTTI_MAX;
    case c10d::ReduceOp::BAND:
      return TUTTI_BIT_AND;
    case c10d::ReduceOp::BOR:
      return TUTTI_BIT_OR;
    case c10d::ReduceOp::BXOR:
      return TUTTI_BIT_XOR;
    case c10d::ReduceOp::PREMUL_SUM:
      return TUTTI_PREMULTIPLIED_SUM;
    default:
      TORCH_CHECK(false, "tutti: reduce operator ", static_cast<int>(op.op_), " is not known");
  }
}

std::vector<std::byte> factor_of(const c10d::ReduceOp& op, at::ScalarType type) {
  const auto* const given = dynamic_cast<const c10d::PreMulSumSupplement*>(op.supplement_.get());
  TORCH_CHECK(given != nullptr, "tutti: PREMUL_SUM comes without its factor");
  const at::Tensor factor = given->tensor_factor.defined() ? given->tensor_factor.to(at::kCPU, type).contiguous()
                                                           : at::full({1}, given->double_factor, type);
  std::vector<std::byte> bytes(factor.element_size());
  std::memcpy(bytes.data(), factor.const_data_ptr(), bytes.size());
  return bytes;
}

}  // namespace

Elements elements_of(at::ScalarType type) {
  if (const auto known = datatype_of(type)) return {*known, 1};
  if (at::isComplexType(type)) return {*datatype_of(at::toRealValueType(type)), 2};
  return {TUTTI_UINT8, c10::elementSize(type)};
}

Reduction reduction_of(at::ScalarType type, const c10d::ReduceOp& op) {
  if (type == at::kBool) return {{TUTTI_UINT8, 1}, logical_op(op), {}};
  const at::ScalarType real = at::isComplexType(type) ? at::toRealValueType(type) : type;
  TORCH_CHECK(datatype_of(real).has_value(), "tutti: tensors of ", type, " can be moved, but not reduced");
  const Reduction reduction{elements_of(type), numeric_op(op), {}};
  TORCH_CHECK(real == type || reduction.op == TUTTI_SUM || reduction.op == TUTTI_AVERAGE ||
                  reduction.op == TUTTI_PREMULTIPLIED_SUM,
              "tutti: complex tensors can be summed and averaged, nothing else");
  if (reduction.op != TUTTI_PREMULTIPLIED_SUM) return reduction;
  return {reduction.elements, reduction.op, factor_of(op, real)};
}

void check_tensor(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.defined(), "tutti: a tensor is undefined");
  TORCH_CHECK(tensor.device().is_cpu(), "tutti moves tensors on the CPU; this one is on ", tensor.device(),
              ". Give that device a backend of its own: \"cpu:tutti,cuda:nccl\"");
  TORCH_CHECK(tensor.layout() == at::kStrided, "tutti: this collective takes dense tensors; this one is ",
              tensor.layout());
}

bool is_plain(const at::Tensor& tensor) { return tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg(); }

at::Tensor plain(const at::Tensor& tensor) {
  if (is_plain(tensor)) return tensor;
  const at::AutoDispatchBelowADInplaceOrView untraced;
  at::Tensor copy = at::empty(tensor.sizes(), tensor.options().memory_format(at::MemoryFormat::Contiguous));
  return copy.copy_(tensor);
}

std::optional<at::Tensor> first_of_packed(const std::vector<at::Tensor>& tensors) {
  std::optional<at::Tensor> first;
  const std::byte* end = nullptr;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.numel() == 0) continue;
    const auto* const begin = static_cast<const std::byte*>(tensor.const_data_ptr());
    if (!is_plain(tensor) || (first && begin != end)) return std::nullopt;
    if (!first) first = tensor;
    end = begin + tensor.nbytes();
  }
  return first ? first : tensors.front();
}

at::Tensor packed(const std::vector<at::Tensor>& tensors) {
  if (const auto first = first_of_packed(tensors)) return *first;
  const at::AutoDispatchBelowADInplaceOrView untraced;
  std::vector<at::Tensor> flat;
  for (const at::Tensor& tensor : tensors) flat.push_back(plain(tensor).view({-1}));
  return at::cat(flat);
}

std::vector<std::size_t> counts_of(const std::vector<at::Tensor>& tensors, std::size_t each) {
  std::vector<std::size_t> counts;
  for (const at::Tensor& tensor : tensors) counts.push_back(static_cast<std::size_t>(tensor.numel()) * each);
  return counts;
}

void write_back(const at::Tensor& from, const at::Tensor& to) {
  const at::AutoDispatchBelowADInplaceOrView untraced;
  at::Tensor target = to;
  target.copy_(from);
}

}  // namespace tutti::pytorch
