// Tensors as Tutti sees them: memory, a number of elements, their type.
//
// A tensor is used where it lies if its elements lie one after the other; else a copy stands in for it, made before
// the operation starts, and written back after it has ended. So every layout of a tensor on the CPU will do.
#pragma once

#include <ATen/ATen.h>
#include <tutti/tutti.h>

#include <cstddef>
#include <optional>
#include <torch/csrc/distributed/c10d/Types.hpp>
#include <vector>

namespace tutti::pytorch {

// How Tutti moves elements: `each` of its own elements for one of the tensor's.
struct Elements {
  tutti_datatype type = TUTTI_UINT8;
  std::size_t each = 1;
};

// Every type can be moved, those that Tutti does not know as bytes.
Elements elements_of(at::ScalarType type);

struct Reduction {
  Elements elements;
  tutti_op op = TUTTI_SUM;
  std::vector<std::byte> scalar;  // of a premultiplied sum
};

// Throws where the operator makes no sense for the type: AVG of bool, MAX of complex numbers.
Reduction reduction_of(at::ScalarType type, const c10d::ReduceOp& op);

// Throws unless it is a dense tensor on the CPU.
void check_tensor(const at::Tensor& tensor);

// Whether Tutti can read and write it where it lies.
bool is_plain(const at::Tensor& tensor);

// The tensor, or a copy of it that is plain.
at::Tensor plain(const at::Tensor& tensor);

// The first of them if each is plain and begins where the one before ends, so that together they are one buffer;
// empty ones do not count. None: they are not.
std::optional<at::Tensor> first_of_packed(const std::vector<at::Tensor>& tensors);

// The elements of all, one after the other: where they lie if they are packed, else a copy.
at::Tensor packed(const std::vector<at::Tensor>& tensors);

// Their numbers of elements, in Tutti's.
std::vector<std::size_t> counts_of(const std::vector<at::Tensor>& tensors, std::size_t each);

// Copies without a trace in autograd.
void write_back(const at::Tensor& from, const at::Tensor& to);

}  // namespace tutti::pytorch
