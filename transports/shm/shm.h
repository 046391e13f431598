// The transport between processes of one host: shared memory.
//
// Two processes share a piece of memory of their own (pair memory: a ring of frame descriptors and a staging area in
// each direction, see layout.h) and see each other's segment. All of it is anonymous (memfd), passed over an abstract
// unix socket per process, so that nothing has a name that could be left behind. That socket stays open: it carries
// the announcements of shared regions, and its end says at once that the peer is gone.
//
// A payload travels in the descriptor ring when it is small. A larger one inside a SharedRegion is not moved at all:
// the receiver has the region mapped and reads it in place. Any other is copied through the staging area, or read
// from the sender's memory by the receiver (cross-memory attach), as CopyMode says. What goes to several peers may be
// copied once instead, into memory that the transport lends (lending.h), and is read there by all of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/base/hmac.h"
#include "src/base/ids.h"
#include "src/base/log.h"
#include "src/memory/shared_regions.h"
#include "src/transport/transport.h"

namespace tutti {

enum class ShmCopyMode : std::uint8_t {
  // What measures faster where perf/benchmarks/benchmark_shm.cc was run: staging. With both sides sending and adding
  // 64 KiB to 1 MiB at a time, cross-memory attach moves 55 to 80 % as much, in the caches and out of them. It is
  // ahead
  // only where one side merely copies what lies in the caches unchanged (64 KiB: 20 against 15 GB/s).
  automatic,
  staging,       // through shared memory: one copy by the sender, and the receiver reads it where it lies
  cross_memory,  // by process_vm_readv into the receiver's buffer; staging where the kernel refuses it
};

struct ShmOptions {
  ProcessId process;
  HostId host;
  SecretKey key{};           // both sides prove that they know it
  bool publish_key = false;  // the key is this process's own and goes out with its address: who was given the address
                             // may connect. Otherwise the key is the same in all processes
  std::size_t segment_bytes = std::size_t{64} << 20;  // own segment; costs memory only where it is touched
  std::size_t staging_bytes = std::size_t{4} << 20;   // per pair and direction; 2 MiB to 1 GiB
  ShmCopyMode copy_mode = ShmCopyMode::automatic;
  SharedRegions* regions = nullptr;  // may be null; must outlive the transport
  Log log;
};

// Fails where an option is out of range or the system has none of what is needed (the sentence names the limit).
Result<std::unique_ptr<Transport>> make_shm_transport(ShmOptions options);

}  // namespace tutti
