#include "transports/shm/slots.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>

namespace tutti::shm {

namespace {

// The lowest run of `count` ones, or 64.
std::uint64_t find_run(std::uint64_t free, std::uint64_t count) {
  std::uint64_t run = free;
  for (std::uint64_t have = 1; have < count;) {
    const std::uint64_t shift = std::min(have, count - have);
    run &= run >> shift;
    have += shift;
  }
  return static_cast<std::uint64_t>(std::countr_zero(run));
}

}  // namespace

std::uint64_t Slots::bits(Run run) {
  return (run.count == kCount ? ~std::uint64_t{0} : (std::uint64_t{1} << run.count) - 1) << run.first;
}

bool Slots::provide(Run run) {
  if (madvise(memory(run), run.count * slot_bytes_, MADV_POPULATE_WRITE) != 0 && errno != EINVAL && errno != ENOSYS) {
    return false;
  }
  provided_ |= bits(run);
  return true;
}

Slots::Taken Slots::take(std::size_t bytes, Run& run) {
  const std::uint64_t count = std::max<std::uint64_t>(1, (bytes + slot_bytes_ - 1) / slot_bytes_);
  const std::uint64_t first = find_run(free_, count);
  if (first == kCount) return Taken::no_room;
  run = {static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(count)};
  if ((provided_ & bits(run)) != bits(run) && !provide(run)) return Taken::no_memory;
  free_ &= ~bits(run);
  return Taken::yes;
}

}  // namespace tutti::shm
