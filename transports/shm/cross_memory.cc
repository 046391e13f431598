#include "transports/shm/cross_memory.h"

#include <sys/uio.h>

#include <cerrno>

#include "src/base/format.h"

namespace tutti::shm {

Status read_peer_memory(pid_t pid, std::uint64_t address, std::byte* target, std::size_t bytes) {
  std::size_t done = 0;
  while (done < bytes) {
    const iovec local{target + done, bytes - done};
    const iovec remote{reinterpret_cast<void*>(address + done), bytes - done};
    const ssize_t got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (got <= 0) {
      return Status::from_errno(got < 0 ? errno : EFAULT, format("read {} at {:#x} of process {} (process_vm_readv)",
                                                                 format_bytes(bytes - done), address + done, pid));
    }
    done += static_cast<std::size_t>(got);
  }
  return Status::ok();
}

Status probe_peer_memory(pid_t pid, std::uint64_t address, std::uint64_t value) {
  if (pid <= 0) return {Code::unsupported, "the peer runs in a process namespace that is not visible from here"};
  std::uint64_t seen = 0;
  TUTTI_RETURN_IF_ERROR(read_peer_memory(pid, address, reinterpret_cast<std::byte*>(&seen), sizeof seen));
  if (seen != value) return {Code::unsupported, format("process {} is not the peer that was asked", pid)};
  return Status::ok();
}

}  // namespace tutti::shm
