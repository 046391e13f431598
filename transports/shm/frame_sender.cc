#include "transports/shm/frame_sender.h"

namespace tutti::shm {

FrameSender::FrameSender(Direction* shared, std::byte* staging, std::size_t staging_bytes)
    : shared_(shared), staging_(staging, staging_bytes), free_slots_(kSlots) {
  for (std::uint64_t i = 0; i < kSlots; ++i) free_slot_stack_[i] = static_cast<std::uint16_t>(kSlots - 1 - i);
}

bool FrameSender::send_copied(const Header& header, const std::byte* payload, std::size_t bytes) {
  if (!has_entry()) return false;
  if (bytes <= kEntryPayloadBytes) {
    std::uint64_t argument = 0;
    if (bytes > 0) std::memcpy(&argument, payload, bytes);
    publish(FrameKind::in_entry, argument, 0, header, bytes);
    return true;
  }
  std::size_t offset = 0;
  if (!reserve_inline(bytes, offset)) return false;
  std::memcpy(shared_->inline_area + offset, payload, bytes);
  publish(FrameKind::in_area, offset, 0, header, bytes);
  return true;
}

FrameSender::Taken FrameSender::send_staged(const Header& header, const std::byte* payload, std::size_t bytes) {
  if (free_slots_ == 0 || !has_entry()) return Taken::no_room;
  Slots::Run run;
  if (const Taken taken = staging_.take(bytes, run); taken != Taken::yes) return taken;
  std::memcpy(staging_.memory(run), payload, bytes);
  publish(FrameKind::staged, run.first, take_slot({Acknowledged::Kind::staged, run, 0, 0}), header, bytes);
  return Taken::yes;
}

bool FrameSender::send_referred(FrameKind kind, std::uint64_t argument, const Header& header, std::size_t bytes,
                                std::uint64_t cookie, std::uint64_t region) {
  if (free_slots_ == 0 || !has_entry()) return false;
  publish(kind, argument, take_slot({Acknowledged::Kind::pending, {}, cookie, region}), header, bytes);
  return true;
}

FrameSender::Acknowledged FrameSender::next_acknowledgement() {
  const std::uint64_t word = shared_->acknowledgements[acknowledged_ % kSlots].load(std::memory_order_seq_cst);
  const std::uint64_t lap = (acknowledged_ / kSlots + 1) & 0xffffffff;
  if (word >> 32 != lap) {
    if (word >> 32 != ((lap - 1) & 0xffffffff)) violation_ = "an acknowledgement out of turn";
    return {};
  }
  const std::uint64_t slot = word & 0xffffffff;
  if (slot >= kSlots || outstanding_[slot].kind == Acknowledged::Kind::nothing) {
    violation_ = "an acknowledgement of a frame that was not sent";
    return {};
  }
  ++acknowledged_;
  const Outstanding done = std::exchange(outstanding_[slot], {});
  free_slot_stack_[free_slots_++] = static_cast<std::uint16_t>(slot);
  if (done.kind == Acknowledged::Kind::staged) staging_.give_back(done.staging);
  return {done.kind, done.cookie, done.region};
}

bool FrameSender::has_acknowledgement() const {
  const std::uint64_t word = shared_->acknowledgements[acknowledged_ % kSlots].load(std::memory_order_seq_cst);
  return word >> 32 == ((acknowledged_ / kSlots + 1) & 0xffffffff);
}

bool FrameSender::has_entry() {
  if (position_ - consumed_ < kEntries) return true;
  take_in_consumed();
  return position_ - consumed_ < kEntries;
}

void FrameSender::take_in_consumed() {
  const std::uint64_t consumed = shared_->consumed.load(std::memory_order_seq_cst);
  if (consumed == consumed_) return;
  if (consumed < consumed_ || consumed > position_) {
    violation_ = "a count of consumed frames that is not possible";
    return;
  }
  consumed_ = consumed;
  inline_tail_ = inline_ends_[(consumed - 1) % kEntries];
}

// Whole lines, in one piece: what is left before the end of the area is skipped where it is too short.
bool FrameSender::reserve_inline(std::size_t bytes, std::size_t& offset) {
  const std::size_t need = (bytes + kLine - 1) / kLine * kLine;
  const std::size_t at = inline_head_ % kInlineAreaBytes;
  const std::size_t skip = at + need > kInlineAreaBytes ? kInlineAreaBytes - at : 0;
  if (inline_head_ + skip + need - inline_tail_ > kInlineAreaBytes) {
    take_in_consumed();
    if (inline_head_ + skip + need - inline_tail_ > kInlineAreaBytes) return false;
  }
  offset = (at + skip) % kInlineAreaBytes;
  inline_head_ += skip + need;
  return true;
}

std::uint64_t FrameSender::take_slot(const Outstanding& outstanding) {
  const std::uint64_t slot = free_slot_stack_[--free_slots_];
  outstanding_[slot] = outstanding;
  return slot;
}

void FrameSender::publish(FrameKind kind, std::uint64_t argument, std::uint64_t slot, const Header& header,
                          std::size_t bytes) {
  Entry& entry = shared_->entries[position_ % kEntries];
  entry.argument = argument;
  entry.header = header;
  inline_ends_[position_ % kEntries] = inline_head_;
  // An exchange, because the caller then looks whether the receiver sleeps (see layout.h).
  entry.state.exchange(pack_state(position_, kind, slot, bytes), std::memory_order_seq_cst);
  ++position_;
  // A burst finds the line of one of its next entries already taken away from the receiver.
  __builtin_prefetch(&shared_->entries[(position_ + 2) % kEntries], 1);
}

}  // namespace tutti::shm
