#include "src/memory/shared_regions.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <vector>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

std::size_t whole_pages(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace

Status resource_error(int error, std::string_view context) {
  const Status plain = Status::from_errno(error, context);
  rlimit limit = {};
  switch (error) {
    case EMFILE:
      getrlimit(RLIMIT_NOFILE, &limit);
      return {Code::system, format("{}: open files limit {} (RLIMIT_NOFILE) reached; raise it with ulimit -n",
                                   plain.text(), limit.rlim_cur)};
    case ENFILE:
      return {Code::system, format("{}: the host's open files limit (sysctl fs.file-max) is reached", plain.text())};
    case ENOMEM:
      getrlimit(RLIMIT_AS, &limit);
      if (limit.rlim_cur != RLIM_INFINITY) {
        return {Code::system, format("{}: out of memory, of mappings (sysctl vm.max_map_count), or the address space "
                                     "limit of {} (RLIMIT_AS) is reached",
                                     plain.text(), format_bytes(limit.rlim_cur))};
      }
      return {Code::system, format("{}: out of memory, or the limit on mappings (sysctl vm.max_map_count) is reached",
                                   plain.text())};
    case ENOSPC:
      return {Code::system, format("{}: the host has no shared memory left", plain.text())};
    case EFBIG:
      getrlimit(RLIMIT_FSIZE, &limit);
      return {Code::system,
              format("{}: file size limit {} (RLIMIT_FSIZE)", plain.text(), format_bytes(limit.rlim_cur))};
    default:
      return plain;
  }
}

Result<int> create_sealed_memory(const char* name, std::size_t bytes) {
  const int descriptor = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return resource_error(errno, format("create {} of shared memory", format_bytes(bytes)));
  if (bytes > static_cast<std::size_t>(std::numeric_limits<off_t>::max())) {
    close(descriptor);
    return Status(Code::invalid, format("cannot create shared memory of {} bytes: more than a file can hold", bytes));
  }
  if (ftruncate(descriptor, static_cast<off_t>(bytes)) != 0 ||
      fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const int error = errno;
    close(descriptor);
    return resource_error(error, format("set the size of shared memory to {}", format_bytes(bytes)));
  }
  return descriptor;
}

SharedRegions::Region::~Region() {
  munmap(base_, bytes_);
  close(descriptor_);
}

Result<std::byte*> SharedRegions::allocate(std::size_t bytes) {
  if (bytes == 0 || bytes > std::numeric_limits<std::size_t>::max() / 2) {
    return Status(Code::invalid, format("cannot allocate {} bytes of shareable memory", bytes));
  }
  const std::size_t size = whole_pages(bytes);
  const auto descriptor = create_sealed_memory("tutti-region", size);
  if (!descriptor) return descriptor.status();
  void* const mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, *descriptor, 0);
  if (mapped == MAP_FAILED) {
    const int error = errno;
    close(*descriptor);
    return resource_error(error, format("map {} of shareable memory", format_bytes(size)));
  }
  // Advice only: a kernel that has no huge pages for shared memory refuses, and nothing is lost.
  if (size >= kHugePageBytes) (void)madvise(mapped, size, MADV_HUGEPAGE);

  auto* const base = static_cast<std::byte*>(mapped);
  const std::lock_guard lock(mutex_);
  regions_.emplace(reinterpret_cast<std::uintptr_t>(base),
                   std::make_shared<const Region>(next_id_++, base, size, *descriptor));
  count_.store(regions_.size(), std::memory_order_release);
  return base;
}

Status SharedRegions::free(std::byte* address) {
  std::shared_ptr<const Region> region;  // unmapped after the lock is gone: that may take milliseconds
  {
    const std::lock_guard lock(mutex_);
    const auto at = regions_.find(reinterpret_cast<std::uintptr_t>(address));
    if (at == regions_.end()) {
      return {Code::invalid, format("{} is not the start of memory from this allocator; nothing was freed. Pass the "
                                    "pointer that the allocation returned, once",
                                    static_cast<const void*>(address))};
    }
    region = std::move(at->second);
    regions_.erase(at);
    count_.store(regions_.size(), std::memory_order_release);
    serial_.fetch_add(1, std::memory_order_acq_rel);
  }
  return Status::ok();
}

std::optional<SharedRegions::Found> SharedRegions::find_among(const std::byte* address, std::size_t bytes) const {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  const std::lock_guard lock(mutex_);
  auto at = regions_.upper_bound(wanted);
  if (at == regions_.begin()) return std::nullopt;
  --at;
  const std::size_t offset = wanted - at->first;
  const std::size_t size = at->second->bytes();
  if (offset >= size || bytes > size - offset) return std::nullopt;
  return Found{at->second, offset};
}

bool SharedRegions::contains(std::uint64_t id) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [start, region] : regions_) {
    if (region->id() == id) return true;
  }
  return false;
}

}  // namespace tutti
