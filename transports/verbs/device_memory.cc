#include "transports/verbs/device_memory.h"

#include <dlfcn.h>
#include <unistd.h>

#include "src/base/format.h"

namespace tutti::verbs {

namespace {

// Of CUDA's driver API, whose header is not needed for so little. Results are 0 where all went well.
using PointerGetAttribute = int (*)(void* value, int attribute, unsigned long long address);
using GetHandle = int (*)(void* handle, unsigned long long address, std::size_t bytes, int kind,
                          unsigned long long flags);
constexpr int kMemoryType = 2;    // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
constexpr unsigned kDevice = 2;   // CU_MEMORYTYPE_DEVICE
constexpr int kDmaBufHandle = 1;  // CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD

}  // namespace

FindDmaBuf find_by_cuda() {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return {};
  const auto get_attribute = reinterpret_cast<PointerGetAttribute>(dlsym(library, "cuPointerGetAttribute"));
  const auto get_handle = reinterpret_cast<GetHandle>(dlsym(library, "cuMemGetHandleForAddressRange"));
  if (get_attribute == nullptr) return {};
  return [get_attribute, get_handle](const std::byte* memory, std::size_t bytes) -> std::optional<Result<DmaBuf>> {
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    unsigned type = 0;
    if (get_attribute(&type, kMemoryType, address) != 0 || type != kDevice) return std::nullopt;
    if (get_handle == nullptr)
      return Status(Code::unsupported, "CUDA's driver is older than 11.7 and lends no dma-buf");
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const std::uintptr_t start = address / page * page;
    const std::uintptr_t end = (address + bytes + page - 1) / page * page;
    DmaBuf lent;
    lent.offset = address - start;
    if (const int error = get_handle(&lent.descriptor, start, end - start, kDmaBufHandle, 0); error != 0)
      return Status(Code::system, format("CUDA's driver lends no dma-buf of it (CUresult {})", error));
    return lent;
  };
}

}  // namespace tutti::verbs
