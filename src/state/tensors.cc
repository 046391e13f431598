#include "src/state/tensors.h"

#include "src/base/format.h"

namespace tutti {

namespace {

Status invalid(std::string text) { return {Code::invalid, std::move(text)}; }

std::uintptr_t address_of(const std::byte* memory) { return reinterpret_cast<std::uintptr_t>(memory); }

}  // namespace

Status Tensors::add(std::string_view name, const Tensor& tensor) {
  if (name.empty()) return invalid("the tensor's name is empty");
  if (name.size() > kNameBytesMax)
    return invalid(format("the tensor's name has {} bytes; at most {} are allowed", name.size(), kNameBytesMax));
  if (by_name_.find(name) != by_name_.end())
    return invalid(format("there is a tensor {} already; remove it first, or choose another name", name));
  if (by_name_.size() >= kTensorsMax)
    return invalid(format("tensor {} would be one more than the {} that are allowed", name, kTensorsMax));
  const unsigned __int128 all = static_cast<unsigned __int128>(tensor.count) * size_of(tensor.type) + bytes_;
  if (all > kBytesMax)
    return invalid(
        format("tensor {} with {} elements of {} bytes, and those added before, do not fit the address space", name,
               tensor.count, size_of(tensor.type)));
  TUTTI_RETURN_IF_ERROR(check_memory(name, tensor.memory, tensor.bytes()));
  const Map::iterator added = by_name_.emplace(name, tensor).first;
  if (tensor.bytes() > 0) by_address_.emplace(address_of(tensor.memory), added);
  bytes_ += tensor.bytes();
  return {};
}

Status Tensors::move(std::string_view name, std::byte* memory) {
  const Result<Map::iterator> found = find(name);
  if (!found) return found.status();
  Tensor& tensor = (*found)->second;
  if (tensor.bytes() == 0) return {};
  by_address_.erase(address_of(tensor.memory));
  const Status status = check_memory(name, memory, tensor.bytes());
  if (status.is_ok()) tensor.memory = memory;
  by_address_.emplace(address_of(tensor.memory), *found);
  return status;
}

Status Tensors::remove(std::string_view name) {
  const Result<Map::iterator> found = find(name);
  if (!found) return found.status();
  const Tensor& tensor = (*found)->second;
  bytes_ -= tensor.bytes();
  if (tensor.bytes() > 0) by_address_.erase(address_of(tensor.memory));
  by_name_.erase(*found);
  return {};
}

Result<Tensors::Map::iterator> Tensors::find(std::string_view name) {
  const Map::iterator found = by_name_.find(name);
  if (found == by_name_.end()) return invalid(format("there is no tensor {}", name));
  return found;
}

Status Tensors::check_memory(std::string_view name, const std::byte* memory, std::uint64_t bytes) const {
  if (bytes == 0) return {};
  if (memory == nullptr) return invalid(format("the memory of tensor {} is NULL, but it has {} bytes", name, bytes));
  const std::uintptr_t begin = address_of(memory);
  if (begin + bytes < begin)
    return invalid(format("the {} bytes of tensor {} do not fit the address space", bytes, name));
  const auto after = by_address_.lower_bound(begin + bytes);
  if (after == by_address_.begin()) return {};
  const auto before = std::prev(after);  // of those that begin before its end, the last
  const auto& [other, tensor] = *before->second;
  if (before->first + tensor.bytes() <= begin) return {};
  return invalid(format("tensor {} ({} bytes at {}) shares memory with tensor {} ({} bytes at {})", name, bytes,
                        static_cast<const void*>(memory), other, tensor.bytes(),
                        static_cast<const void*>(tensor.memory)));
}

}  // namespace tutti
