#include "transports/shm/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "src/base/format.h"
#include "src/memory/shared_regions.h"

namespace tutti::shm {

void Descriptor::reset() {
  if (number_ >= 0) close(number_);
  number_ = -1;
}

void Mapping::reset() {
  if (base_) munmap(base_, bytes_);
  base_ = nullptr;
  bytes_ = 0;
}

namespace {

Result<Mapping> map(int descriptor, std::size_t bytes, Access access, std::string_view what) {
  const int protection = access == Access::read ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const base = mmap(nullptr, bytes, protection, MAP_SHARED, descriptor, 0);
  if (base == MAP_FAILED) return resource_error(errno, format("map {} ({})", what, format_bytes(bytes)));
  return Mapping(static_cast<std::byte*>(base), bytes);
}

}  // namespace

Result<SharedMemory> create_shared(const char* name, std::size_t bytes, std::size_t allocated_bytes) {
  const auto created = create_sealed_memory(name, bytes);
  if (!created) return created.status();
  SharedMemory memory;
  memory.descriptor = Descriptor(*created);
  // Memory that turns out missing only when it is touched would be a SIGBUS; asked for here, it is an error to
  // report.
  if (fallocate(*created, 0, 0, static_cast<off_t>(allocated_bytes)) != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
    return resource_error(errno, format("allocate {} of {}", format_bytes(allocated_bytes), name));
  }
  auto mapping = map(*created, bytes, Access::read_write, name);
  if (!mapping) return mapping.status();
  memory.mapping = std::move(*mapping);
  return memory;
}

Result<Mapping> map_received(const Descriptor& descriptor, std::size_t bytes, Access access, std::string_view what) {
  struct stat status = {};
  if (fstat(descriptor.get(), &status) != 0) return Status::from_errno(errno, format("inspect {}", what));
  if (bytes == 0 || status.st_size < 0 || static_cast<std::size_t>(status.st_size) < bytes) {
    return Status(Code::invalid, format("{} is said to have {} bytes, but the file sent has {}", what, bytes,
                                        static_cast<long long>(status.st_size)));
  }
  const int seals = fcntl(descriptor.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return Status(Code::invalid, format("{} is not sealed against shrinking (seals {:#x})", what, seals));
  }
  return map(descriptor.get(), bytes, access, what);
}

}  // namespace tutti::shm
