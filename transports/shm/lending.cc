#include "transports/shm/lending.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "transports/shm/slots.h"

namespace tutti::shm {

LentMemory::~LentMemory() {
  for (const Pool& pool : pools_) (void)regions_->free(pool.base);
}

bool LentMemory::make_pool() {
  const Result<std::byte*> base = regions_->allocate(kLentBytes);
  if (!base) return false;
  Pool pool;
  pool.base = *base;
  pool.region_id = regions_->find(*base, kLentBytes)->region->id();
  pools_.push_back(pool);
  return true;
}

std::byte* LentMemory::borrow(std::size_t bytes) {
  if (has_failed_ || bytes == 0 || bytes > kLentBytes) return nullptr;
  auto at = std::find_if(pools_.begin(), pools_.end(), [](const Pool& pool) { return !pool.retired; });
  if (at == pools_.end()) {
    has_failed_ = !make_pool();
    if (has_failed_) return nullptr;
    at = pools_.end() - 1;
  }
  const std::uint64_t count = (bytes + kLentSlotBytes - 1) / kLentSlotBytes;
  const std::uint64_t first = find_run(at->free, count);
  if (first == 64) return nullptr;
  const std::uint64_t slots = slot_bits(first, count);
  std::byte* const memory = at->base + first * kLentSlotBytes;
  // As for staging memory (FrameSender::provide_memory): a lack of memory must not end in a SIGBUS.
  if ((at->provided & slots) != slots && madvise(memory, count * kLentSlotBytes, MADV_POPULATE_WRITE) != 0 &&
      errno != EINVAL && errno != ENOSYS) {
    has_failed_ = true;
    return nullptr;
  }
  at->provided |= slots;
  at->free &= ~slots;
  at->slots_lent[first] = static_cast<std::uint8_t>(count);
  return memory;
}

void LentMemory::give_back(std::byte* borrowed) {
  for (std::size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = pools_[i];
    if (borrowed < pool.base || borrowed >= pool.base + kLentBytes) continue;
    const auto first = static_cast<std::uint64_t>(borrowed - pool.base) / kLentSlotBytes;
    pool.free |= slot_bits(first, pool.slots_lent[first]);
    return free_if_done(i);
  }
}

bool LentMemory::has(std::uint64_t region_id) const {
  return std::any_of(pools_.begin(), pools_.end(),
                     [region_id](const Pool& pool) { return pool.region_id == region_id; });
}

void LentMemory::retire(std::uint64_t region_id) {
  for (std::size_t i = 0; i < pools_.size(); ++i) {
    if (pools_[i].region_id != region_id) continue;
    pools_[i].retired = true;
    return free_if_done(i);
  }
}

void LentMemory::free_if_done(std::size_t index) {
  if (!pools_[index].retired || ~pools_[index].free != 0) return;
  (void)regions_->free(pools_[index].base);
  pools_.erase(pools_.begin() + static_cast<std::ptrdiff_t>(index));
}

}  // namespace tutti::shm
