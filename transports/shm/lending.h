// LentMemory: memory of this process that its peers read in place, lent to whoever sends one payload to several of
// them (Transport::borrow). It is one region of SharedRegions, made when it is first needed and cut into slots.
//
// Invariants
//  - At most kLentBytes are lent at a time out of the region in use.
//  - What a link that ended had not had read is not written again, because its peer may go on reading: the region is
//    retired, and freed when all that was lent out of it has come back. Peers keep their own mapping of it, so what
//    was sent from there arrives even when this process has ended, as what is staged does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/memory/shared_regions.h"
#include "transports/shm/slots.h"

namespace tutti::shm {

constexpr std::size_t kLentBytes = std::size_t{2} << 20;

class LentMemory {
 public:
  explicit LentMemory(SharedRegions* regions) : regions_(regions) {}
  ~LentMemory();
  LentMemory(const LentMemory&) = delete;
  LentMemory& operator=(const LentMemory&) = delete;

  // Null: none is free, or the system has none to give, which is not asked again.
  std::byte* borrow(std::size_t bytes);
  void give_back(std::byte* borrowed);
  bool has(std::uint64_t region_id) const;  // whether that region is one of these
  // A peer may go on reading there for ever.
  void retire(std::uint64_t region_id);

  // For a forked child, whose copy of the regions is its parent's affair.
  void abandon() { pools_.clear(); }

 private:
  struct Pool {
    std::uint64_t region_id = 0;
    Slots slots;
    std::array<Slots::Run, Slots::kCount> lent{};  // by their first slots
    bool retired = false;
  };
  bool make_pool();
  void free_if_done(std::size_t index);

  SharedRegions* const regions_;
  std::vector<Pool> pools_;  // at most one is not retired
  bool has_failed_ = false;
};

}  // namespace tutti::shm
