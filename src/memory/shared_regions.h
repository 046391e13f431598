// SharedRegions: the memory that a process offers to its peers on the same host (what tutti_mem_alloc gives out).
// Each region is a file in memory (memfd) mapped here; a transport that knows how may hand its descriptor to another
// process, which then reads the sender's own buffer instead of a copy.
//
// Invariants
//  - A region's id is never used again, even when its addresses are: an id alone says which memory is meant.
//  - Regions do not overlap, start on a page and cannot shrink (the file is sealed), so that a peer that has mapped
//  one
//    never meets the end of the file.
//  - serial() changes with every free(): who remembers ids looks again when it does.
// Thread-safe. Must outlive the transports that were given it. Where nothing was allocated, find() costs one load.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include "src/base/status.h"

namespace tutti {

class SharedRegions {
 public:
  class Region {
   public:
    Region(std::uint64_t id, std::byte* base, std::size_t bytes, int descriptor)
        : id_(id), base_(base), bytes_(bytes), descriptor_(descriptor) {}
    ~Region();  // unmaps and closes
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;

    std::uint64_t id() const { return id_; }
    std::byte* base() const { return base_; }
    std::size_t bytes() const { return bytes_; }  // whole pages
    int descriptor() const { return descriptor_; }

   private:
    const std::uint64_t id_;
    std::byte* const base_;
    const std::size_t bytes_;
    const int descriptor_;
  };

  // A range inside a region. `region` keeps mapping and descriptor alive while it is held.
  struct Found {
    std::shared_ptr<const Region> region;
    std::size_t offset = 0;
  };

  SharedRegions() = default;
  SharedRegions(const SharedRegions&) = delete;
  SharedRegions& operator=(const SharedRegions&) = delete;

  // At least `bytes` zeroed bytes, aligned to a page; large regions ask for huge pages. Fails with the limit's name
  // where a resource has run out.
  Result<std::byte*> allocate(std::size_t bytes);

  // Gives back what allocate() returned. No frame out of it may still be pending.
  Status free(std::byte* address);

  // The region that holds all of [address, address + bytes), if there is one.
  std::optional<Found> find(const std::byte* address, std::size_t bytes) const {
    if (count_.load(std::memory_order_acquire) == 0) return std::nullopt;
    return find_among(address, bytes);
  }

  bool contains(std::uint64_t id) const;
  std::uint64_t serial() const { return serial_.load(std::memory_order_acquire); }

 private:
  std::optional<Found> find_among(const std::byte* address, std::size_t bytes) const;

  mutable std::mutex mutex_;
  std::map<std::uintptr_t, std::shared_ptr<const Region>> regions_;  // by start address
  std::uint64_t next_id_ = 1;
  std::atomic<std::size_t> count_{0};
  std::atomic<std::uint64_t> serial_{0};
};

// A file in memory of `bytes` bytes that can neither shrink nor grow, close-on-exec; the caller closes it.
Result<int> create_sealed_memory(const char* name, std::size_t bytes);

// from_errno, and where the error means that a limit is reached, which one, how high it is and how to raise it.
Status resource_error(int error, std::string_view context);

}  // namespace tutti
