#include "transports/shm/lending.h"

#include <algorithm>

namespace tutti::shm {

LentMemory::~LentMemory() {
  for (const Pool& pool : pools_) (void)regions_->free(pool.slots.base());
}

bool LentMemory::make_pool() {
  const Result<std::byte*> base = regions_->allocate(kLentBytes);
  if (!base) return false;
  Pool pool;
  pool.region_id = regions_->find(*base, kLentBytes)->region->id();
  pool.slots = Slots(*base, kLentBytes);
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
  Slots::Run run;
  const Slots::Taken taken = at->slots.take(bytes, run);
  has_failed_ = taken == Slots::Taken::no_memory;
  if (taken != Slots::Taken::yes) return nullptr;
  at->lent[run.first] = run;
  return at->slots.memory(run);
}

void LentMemory::give_back(std::byte* borrowed) {
  for (std::size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = pools_[i];
    if (!pool.slots.has(borrowed)) continue;
    pool.slots.give_back(pool.lent[pool.slots.first_slot(borrowed)]);
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
  if (!pools_[index].retired || !pools_[index].slots.are_all_free()) return;
  (void)regions_->free(pools_[index].slots.base());
  pools_.erase(pools_.begin() + static_cast<std::ptrdiff_t>(index));
}

}  // namespace tutti::shm
