// Reading another process's memory (process_vm_readv). The kernel may refuse it (ptrace rules, seccomp, containers),
// so a link tries once, on a word whose value the peer told, before it relies on it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "src/base/status.h"

namespace tutti::shm {

// Copies `bytes` bytes at `address` in process `pid` to `target`, all or an error.
Status read_peer_memory(pid_t pid, std::uint64_t address, std::byte* target, std::size_t bytes);

// Ok when the word at `address` in process `pid` can be read and is `value`.
Status probe_peer_memory(pid_t pid, std::uint64_t address, std::uint64_t value);

}  // namespace tutti::shm
