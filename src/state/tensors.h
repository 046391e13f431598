// Tensors: the named memory that a shared state consists of, in the order of the names, so that it does not matter in
// which order a rank adds them. Each name is there once, and no two tensors share memory. The memory is the caller's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "src/base/status.h"
#include "src/memory/datatype.h"

namespace tutti {

struct Tensor {
  std::byte* memory = nullptr;
  std::uint64_t count = 0;
  DataType type = DataType::uint8;
  std::uint64_t bytes() const { return count * size_of(type); }
};

class Tensors {
 public:
  static constexpr std::size_t kNameBytesMax = 4096;
  static constexpr std::size_t kTensorsMax = std::size_t{1} << 20;
  static constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 47;  // of all together

  using Map = std::map<std::string, Tensor, std::less<>>;

  // INVALID, and nothing is changed: a name that is empty, too long or there already; memory that is NULL or another
  // tensor's; too many; more than an address space holds.
  Status add(std::string_view name, const Tensor& tensor);
  // Its content lies elsewhere from now on. INVALID: there is no such tensor; memory as above.
  Status move(std::string_view name, std::byte* memory);
  Status remove(std::string_view name);

  const Map& all() const { return by_name_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  Status check_memory(std::string_view name, const std::byte* memory, std::uint64_t bytes) const;
  Result<Map::iterator> find(std::string_view name);

  Map by_name_;
  std::map<std::uintptr_t, Map::const_iterator> by_address_;  // those that have memory
  std::uint64_t bytes_ = 0;
};

}  // namespace tutti
