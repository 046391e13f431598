// FrameSender: the sending half of one Direction. Copies small payloads into the ring, larger ones into the staging
// area, or only says where a payload lies, and learns from the receiver's acknowledgements when it is free again.
//
// Invariants
//  - An entry, a byte of the inline area, a staging slot and an acknowledgement slot are used again only after the
//    receiver has said that it is done with them; what it says is checked against what is really outstanding.
//  - At most kSlots frames are unacknowledged, so the ring of acknowledgements cannot overflow.
// After violation() is not null the peer has written nonsense and the object must not be used for sending any more.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "transports/shm/layout.h"

namespace tutti::shm {

class FrameSender {
 public:
  using Taken = Slots::Taken;
  struct Acknowledged {
    enum class Kind : std::uint8_t { nothing, staged, pending };
    Kind kind = Kind::nothing;
    std::uint64_t cookie = 0;
    std::uint64_t region = 0;  // what was passed to send_referred
  };

  FrameSender() = default;
  FrameSender(Direction* shared, std::byte* staging, std::size_t staging_bytes);

  // REQUIRES: bytes <= kInlineBytesMax
  bool send_copied(const Header& header, const std::byte* payload, std::size_t bytes);
  Taken send_staged(const Header& header, const std::byte* payload, std::size_t bytes);
  // The payload stays where it is; `kind` is in_region or cross_memory.
  bool send_referred(FrameKind kind, std::uint64_t argument, const Header& header, std::size_t bytes,
                     std::uint64_t cookie, std::uint64_t region);

  // One acknowledgement that has come, taken in. REQUIRES: has_outstanding()
  Acknowledged next_acknowledgement();
  bool has_outstanding() const { return free_slots_ < kSlots; }

  bool has_acknowledgement() const;

  // Asks the receiver to wake us when there is room; has_consumed_news() tells whether it has freed entries since we
  // last looked.
  void ask_for_room() { shared_->wants_space.exchange(1, std::memory_order_seq_cst); }
  bool has_consumed_news() const { return shared_->consumed.load(std::memory_order_seq_cst) != consumed_; }

  // From now on the receiver must not use what lies in our own memory.
  void mark_closed() { shared_->closed.store(1, std::memory_order_seq_cst); }

  const char* violation() const { return violation_; }

 private:
  struct Outstanding {
    Acknowledged::Kind kind = Acknowledged::Kind::nothing;
    Slots::Run staging;
    std::uint64_t cookie = 0;
    std::uint64_t region = 0;
  };

  bool has_entry();
  void take_in_consumed();
  bool reserve_inline(std::size_t bytes, std::size_t& offset);
  std::uint64_t take_slot(const Outstanding& outstanding);
  void publish(FrameKind kind, std::uint64_t argument, std::uint64_t slot, const Header& header, std::size_t bytes);

  Direction* shared_ = nullptr;
  Slots staging_;

  std::uint64_t position_ = 0;     // entries written
  std::uint64_t consumed_ = 0;     // entries that the receiver is done with, as last seen
  std::uint64_t inline_head_ = 0;  // bytes of the inline area handed out, and given back, since the beginning
  std::uint64_t inline_tail_ = 0;
  std::uint64_t acknowledged_ = 0;  // acknowledgements taken in
  std::uint64_t free_slots_ = 0;
  const char* violation_ = nullptr;

  std::array<std::uint64_t, kEntries> inline_ends_{};  // inline_head_ after each entry
  std::array<std::uint16_t, kSlots> free_slot_stack_{};
  std::array<Outstanding, kSlots> outstanding_{};
};

}  // namespace tutti::shm
