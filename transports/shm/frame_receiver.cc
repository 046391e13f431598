#include "transports/shm/frame_receiver.h"

namespace tutti::shm {

FrameReceiver::Next FrameReceiver::take(const Entry& entry, std::uint64_t state, Frame& frame) {
  frame.kind = static_cast<FrameKind>(state >> (kBytesBits + kSlotBits) & ((1u << kKindBits) - 1));
  frame.slot = state >> kBytesBits & ((1u << kSlotBits) - 1);
  frame.bytes = state & ((std::uint64_t{1} << kBytesBits) - 1);
  frame.argument = entry.argument;
  frame.header = entry.header;
  frame.data = nullptr;
  if (frame.bytes > kFrameBytesMax) return refuse("a frame longer than frames can be");
  switch (frame.kind) {
    case FrameKind::in_entry:
      if (frame.bytes > kEntryPayloadBytes) return refuse("a payload longer than its entry");
      frame.data = reinterpret_cast<const std::byte*>(&entry.argument);
      ++position_;
      return Next::frame;
    case FrameKind::in_area:
      if (frame.argument > kInlineAreaBytes || frame.bytes > kInlineAreaBytes - frame.argument) {
        return refuse("a payload outside the inline area");
      }
      frame.data = shared_->inline_area + frame.argument;
      untold_bytes_ += frame.bytes + kLine;
      ++position_;
      return Next::frame;
    case FrameKind::staged: {
      const std::size_t slot_bytes = staging_bytes_ / kStagingSlots;
      if (frame.argument >= kStagingSlots || frame.bytes > staging_bytes_ - frame.argument * slot_bytes) {
        return refuse("a payload outside the staging area");
      }
      frame.data = staging_ + frame.argument * slot_bytes;
      break;
    }
    case FrameKind::in_region:
    case FrameKind::cross_memory:
      break;
    default:
      return refuse("a frame of a kind that does not exist");
  }
  if (frame.slot >= kSlots || held_[frame.slot]) return refuse("a frame whose slot is in use");
  held_[frame.slot] = true;
  ++position_;
  return Next::frame;
}

bool FrameReceiver::tell_consumed() {
  told_ = position_;
  untold_bytes_ = 0;
  shared_->consumed.exchange(position_, std::memory_order_seq_cst);
  return clear_wish_for_room();
}

bool FrameReceiver::acknowledge(std::uint64_t slot) {
  held_[slot] = false;
  const std::uint64_t lap = (acknowledged_ / kSlots + 1) & 0xffffffff;
  shared_->acknowledgements[acknowledged_ % kSlots].exchange(lap << 32 | slot, std::memory_order_seq_cst);
  ++acknowledged_;
  return clear_wish_for_room();
}

bool FrameReceiver::clear_wish_for_room() {
  if (shared_->wants_space.load(std::memory_order_seq_cst) == 0) return false;
  shared_->wants_space.store(0, std::memory_order_seq_cst);
  return true;
}

}  // namespace tutti::shm
