// Memory that belongs to a device, such as a GPU's: the system cannot pin it by its address; its driver lends it by a
// descriptor (a dma-buf), which the NIC's driver takes instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "src/base/status.h"

namespace tutti::verbs {

struct DmaBuf {
  int descriptor = -1;       // the receiver closes it
  std::uint64_t offset = 0;  // of the memory that was asked for
};

// The dma-buf that has all of [address, address + bytes); nothing where that is no device's memory; an error where it
// is and cannot be lent. Empty: no memory is.
using FindDmaBuf = std::function<std::optional<Result<DmaBuf>>(const std::byte* address, std::size_t bytes)>;

// By CUDA's driver, where the program has loaded it (libcuda.so.1 of CUDA 11.7 or later); otherwise empty.
FindDmaBuf find_by_cuda();

}  // namespace tutti::verbs
