// Board: a flat notice board for small messages among processes that see each other's shared segments. Every member
// has a few cells in its own segment; it publishes by writing one cell and a sequence number, once for all readers,
// and reads by looking at the others' cells. Nothing else moves, so a small all-reduce costs one store per rank and
// one cache miss per peer.
//
// Invariants
//  - Publication s of a member goes to its cell s % kCells. A cell's sequence word is written last (release), so
//  whoever
//    reads the expected sequence (acquire) sees the whole payload.
//  - A member's `consumed` word says: I have read all I need of every publication up to this one. A cell is
//  overwritten
//    only when every member's consumed word has passed what it held. Members that only publish still advance it.
//  - Sequences start above 0, grow from publication to publication (gaps are fine), and mean the same on every
//  member:
//    they are the communicator's operation numbers. A member need not publish in each.
// The memory comes zeroed from the transport's segment; this class does no system call and is as thread-safe as a
// plain object: one thread at a time on each side.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "src/transport/transport.h"

namespace tutti {

class Board {
 public:
  static constexpr std::uint64_t kCells = 4;
  static constexpr std::size_t kLine = 64;

  struct alignas(kLine) CellHead {
    std::atomic<std::uint64_t> sequence;
    std::uint32_t bytes;
    std::uint32_t reserved;
    Header header;
  };
  static_assert(sizeof(CellHead) == kLine);
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

  // Memory that one member's part of a board takes, for payloads of up to `capacity` bytes.
  static constexpr std::size_t member_bytes(std::size_t capacity) {
    return kLine + kCells * (kLine + (capacity + kLine - 1) / kLine * kLine);
  }

  // `parts[m]` is member m's part as mapped here, member_bytes(capacity) long and aligned to kLine; `self` is ours;
  // `tag`, not 0, the same for all members, is unlike that of any other board that may come to lie in this memory.
  Board(std::vector<std::byte*> parts, std::uint32_t self, std::size_t capacity, std::uint32_t tag)
      : parts_(std::move(parts)),
        seen_consumed_(parts_.size(), 0),
        self_(self),
        tag_(tag),
        capacity_((capacity + kLine - 1) / kLine * kLine) {}

  std::uint32_t members() const { return static_cast<std::uint32_t>(parts_.size()); }
  std::size_t capacity() const { return capacity_; }

  // Where the payload of our publication `sequence` goes, or null while somebody may still read what the cell holds.
  std::byte* begin(std::uint64_t sequence) {
    return is_consumed(held_[sequence % kCells]) ? payload(self_, sequence) : nullptr;
  }

  // Whether that member is not the one for whom begin(sequence) has to wait.
  bool is_free_of(std::uint32_t member, std::uint64_t sequence) const {
    return member == self_ || consumed_word(member).load(std::memory_order_acquire) >= held_[sequence % kCells];
  }

  // Whether every other member has read all it needs of our publications up to this one.
  bool is_consumed(std::uint64_t sequence) {
    for (std::uint32_t m = 0; m < members(); ++m) {
      if (seen_consumed_[m] >= sequence || m == self_) continue;
      seen_consumed_[m] = consumed_word(m).load(std::memory_order_acquire);
      if (seen_consumed_[m] < sequence) return false;
    }
    return true;
  }

  // REQUIRES: begin(sequence) gave memory, and `bytes` <= capacity() were written there.
  void publish(std::uint64_t sequence, const Header& header, std::uint32_t bytes) {
    held_[sequence % kCells] = sequence;
    CellHead& cell = head(self_, sequence);
    cell.header = header;
    cell.bytes = bytes;
    cell.sequence.store(sequence, std::memory_order_release);
  }

  // The cell of a member's publication `sequence`, or null if it is not there yet.
  const CellHead* peek(std::uint32_t member, std::uint64_t sequence) const {
    const CellHead& cell = head(member, sequence);
    return cell.sequence.load(std::memory_order_acquire) == sequence ? &cell : nullptr;
  }
  const std::byte* payload_of(std::uint32_t member, std::uint64_t sequence) const {
    return payload(member, sequence);
  }

  // We have read all we need of every publication up to and including `sequence`.
  void consume(std::uint64_t sequence) { consumed_word(self_).store(sequence, std::memory_order_release); }

  // We have completed every operation up to and including `number`; what all members have said so of. For
  // communicators whose operations end together (src/engine/council.h). A member that the others have left behind may
  // look here when they use the memory for their next communicator: what is said of that is nothing said.
  void reach(std::uint32_t number) {
    reached_word(self_).store(std::uint64_t{tag_} << 32 | number, std::memory_order_release);
  }
  std::uint32_t reached(std::uint32_t member) const {
    const std::uint64_t word = reached_word(member).load(std::memory_order_acquire);
    return word >> 32 == tag_ ? static_cast<std::uint32_t>(word) : 0;
  }
  std::uint32_t least_reached() const {
    std::uint32_t least = reached(self_);
    for (std::uint32_t m = 0; m < members(); ++m) least = std::min(least, reached(m));
    return least;
  }

  // A member that has published `sequence` has consumed everything up to `consumed`: saves a look at its consumed
  // word.
  void note_consumed(std::uint32_t member, std::uint64_t consumed) {
    if (seen_consumed_[member] < consumed) seen_consumed_[member] = consumed;
  }

 private:
  std::atomic<std::uint64_t>& consumed_word(std::uint32_t member) const {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(parts_[member]);
  }
  std::atomic<std::uint64_t>& reached_word(std::uint32_t member) const {
    return *(reinterpret_cast<std::atomic<std::uint64_t>*>(parts_[member]) + 1);
  }
  CellHead& head(std::uint32_t member, std::uint64_t sequence) const {
    return *reinterpret_cast<CellHead*>(parts_[member] + kLine + (sequence % kCells) * (kLine + capacity_));
  }
  std::byte* payload(std::uint32_t member, std::uint64_t sequence) const {
    return reinterpret_cast<std::byte*>(&head(member, sequence)) + kLine;
  }

  std::vector<std::byte*> parts_;
  std::vector<std::uint64_t> seen_consumed_;
  std::array<std::uint64_t, kCells> held_{};  // what each of our cells holds
  std::uint32_t self_;
  std::uint32_t tag_;
  std::size_t capacity_;
};

}  // namespace tutti
