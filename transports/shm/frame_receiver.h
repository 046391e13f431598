// FrameReceiver: the receiving half of one Direction. Takes frames out of the ring and tells the sender what it may
// use again.
//
// Invariants
//  - Nothing that the sender wrote is used before it was read once into a local variable and found possible: an
//  entry's
//    kind, size, offsets and slots.
//  - Payloads in the ring and the inline area are told as consumed at the earliest one poll after they were
//  delivered;
//    every other payload is held until acknowledge().
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>

#include "transports/shm/layout.h"

namespace tutti::shm {

class FrameReceiver {
 public:
  enum class Next : std::uint8_t { nothing, frame, violation };
  struct Frame {
    FrameKind kind{};
    std::uint64_t slot = 0;           // to acknowledge, unless the payload is in the ring or the inline area
    std::uint64_t argument = 0;       // in_region, cross_memory
    const std::byte* data = nullptr;  // in_entry, in_area, staged
    std::size_t bytes = 0;
    Header header;
  };

  FrameReceiver() = default;
  FrameReceiver(Direction* shared, const std::byte* staging, std::size_t staging_bytes)
      : shared_(shared), staging_(staging), staging_bytes_(staging_bytes) {}

  // The next frame, if there is one. Costs one load where there is none.
  Next next(Frame& frame) {
    const Entry& entry = shared_->entries[position_ % kEntries];
    const std::uint64_t state = entry.state.load(std::memory_order_acquire);
    const std::uint64_t stamp = stamp_of(position_);
    if (state >> kStampShift == stamp) return take(entry, state, frame);
    if (state >> kStampShift == ((stamp - 1) & kStampMask)) return Next::nothing;
    violation_ = "an entry out of turn";
    return Next::violation;
  }
  bool has_next() const {
    const std::uint64_t state = shared_->entries[position_ % kEntries].state.load(std::memory_order_seq_cst);
    return state >> kStampShift == stamp_of(position_);
  }

  // Nothing has come, and there is nothing to tell the sender.
  bool is_idle() const {
    const std::uint64_t state = shared_->entries[position_ % kEntries].state.load(std::memory_order_relaxed);
    return state >> kStampShift == ((stamp_of(position_) - 1) & kStampMask) && !should_tell();
  }

  // Tells the sender that everything delivered so far in the ring and the inline area may be overwritten. True when
  // the sender waits for that.
  bool tell_consumed();
  bool should_tell() const { return position_ - told_ >= kTellEntries || untold_bytes_ >= kTellBytes; }

  // The payload of `slot` is needed no longer. True when the sender waits for room.
  bool acknowledge(std::uint64_t slot);
  bool holds(std::uint64_t slot) const { return slot < kSlots && held_[slot]; }

  // The sender has closed the link: what lies in its own memory is not valid any more.
  bool sender_closed() const { return shared_->closed.load(std::memory_order_seq_cst) != 0; }

  const char* violation() const { return violation_; }

 private:
  Next take(const Entry& entry, std::uint64_t state, Frame& frame);
  bool clear_wish_for_room();
  Next refuse(const char* why) {
    violation_ = why;
    return Next::violation;
  }

  Direction* shared_ = nullptr;
  const std::byte* staging_ = nullptr;
  std::size_t staging_bytes_ = 0;
  std::uint64_t position_ = 0;  // entries taken
  std::uint64_t told_ = 0;
  std::size_t untold_bytes_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::bitset<kSlots> held_;
  const char* violation_ = nullptr;
};

}  // namespace tutti::shm
