// Slots: memory cut into 64 equal slots, of which whoever has something to put there takes a run of neighbours.
//
// Invariants
//  - A slot is in one run at most. The first ones are used first, so that only as much memory is ever touched as is
//    needed at the same time.
//  - Memory is asked for in words when a slot is first used, which turns a lack of it into an answer instead of a
//    SIGBUS; a kernel that does not know the question (before 5.14) gives it at the first touch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::shm {

class Slots {
 public:
  static constexpr std::uint64_t kCount = 64;

  struct Run {
    std::uint8_t first = 0;
    std::uint8_t count = 0;
  };
  // no_memory: errno says why.
  enum class Taken : std::uint8_t { yes, no_room, no_memory };

  Slots() = default;
  // REQUIRES: `bytes` is kCount pages, or a multiple of that
  Slots(std::byte* base, std::size_t bytes) : base_(base), slot_bytes_(bytes / kCount), free_(~std::uint64_t{0}) {}

  // Room for so many bytes. REQUIRES: there are as many in all
  Taken take(std::size_t bytes, Run& run);
  void give_back(Run run) { free_ |= bits(run); }

  std::byte* memory(Run run) const { return base_ + run.first * slot_bytes_; }
  // Of the run that begins there. REQUIRES: one does
  std::uint8_t first_slot(const std::byte* memory) const {
    return static_cast<std::uint8_t>(static_cast<std::size_t>(memory - base_) / slot_bytes_);
  }
  bool has(const std::byte* memory) const { return memory >= base_ && memory < base_ + kCount * slot_bytes_; }
  std::byte* base() const { return base_; }
  bool are_all_free() const { return ~free_ == 0; }

 private:
  static std::uint64_t bits(Run run);
  bool provide(Run run);

  std::byte* base_ = nullptr;
  std::size_t slot_bytes_ = 0;
  std::uint64_t free_ = 0;      // one bit per slot
  std::uint64_t provided_ = 0;  // those whose memory is known to be there
};

}  // namespace tutti::shm
