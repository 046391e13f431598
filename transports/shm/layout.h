// What lies in shared memory. Every word in here may be changed at any time by a process that is buggy or hostile, so
// readers take each value once, check it against what they know themselves, and close the link when it cannot be.
//
// Pair memory, one per link, made by the side that connected:
//
//      | Direction (connector sends) | Direction (acceptor sends) | staging, connector sends | staging, acceptor
//      sends |
//
// A Direction is a ring of entries, one cache line each, written by the sender; the word `state` is written last and
// carries a stamp, the lap number, so the receiver needs to look at nothing but the next entry's line. Payloads of up
// to 8 bytes sit in the entry; up to kInlineBytesMax in the inline area, a byte ring that is freed together with the
// entries. Frames with a larger payload hold an acknowledgement slot: the receiver writes the slot's number into the
// ring of acknowledgements when it needs the payload no longer, in whatever order it likes.
//
// Waking. `sleeping` in the segment says that its owner sleeps, or is about to. Whoever has something for it
// publishes first and then looks at `sleeping`; the owner sets it first and then looks for what is published. All
// four accesses are sequentially consistent, so at least one sees the other. `wants_space` works the same way for a
// sender that found no room.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/transport/transport.h"
#include "transports/shm/slots.h"

namespace tutti::shm {

constexpr std::size_t kLine = 64;
constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kFrameBytesMax = std::size_t{1} << 20;

constexpr std::uint64_t kEntries = 256;        // of a ring
constexpr std::uint64_t kSlots = 256;          // frames that wait for an acknowledgement, per direction
constexpr std::size_t kEntryPayloadBytes = 8;  // carried in the entry itself
constexpr std::size_t kInlineBytesMax = 4096;  // carried in the inline area
constexpr std::size_t kInlineAreaBytes = 64 << 10;
constexpr std::uint64_t kStagingSlots = Slots::kCount;  // the staging area is cut into so many equal slots
constexpr std::size_t kStagingBytesMin = 2 * kFrameBytesMax;
constexpr std::size_t kStagingBytesMax = std::size_t{1} << 30;

// The receiver tells what it has consumed when this much of the ring or the inline area is waiting to be told.
constexpr std::uint64_t kTellEntries = kEntries / 4;
constexpr std::size_t kTellBytes = kInlineAreaBytes / 4;

enum class FrameKind : std::uint8_t {
  in_entry = 1,      // argument: the payload
  in_area = 2,       // argument: offset in the inline area
  staged = 3,        // argument: first staging slot
  in_region = 4,     // argument: announced region << kRegionShift | offset
  cross_memory = 5,  // argument: address in the sender
};

// state: stamp (24 bits) | kind (4) | acknowledgement slot (12) | bytes (24)
constexpr int kBytesBits = 24;
constexpr int kSlotBits = 12;
constexpr int kKindBits = 4;
constexpr int kStampShift = kBytesBits + kSlotBits + kKindBits;
constexpr std::uint64_t kStampMask = (std::uint64_t{1} << (64 - kStampShift)) - 1;
static_assert(kFrameBytesMax < (std::size_t{1} << kBytesBits) && kSlots <= (1u << kSlotBits));

constexpr int kRegionShift = 40;  // regions of up to 1 TiB
constexpr std::uint64_t kRegionsMax = std::uint64_t{1} << (64 - kRegionShift);

constexpr std::uint64_t stamp_of(std::uint64_t position) { return (position / kEntries + 1) & kStampMask; }

constexpr std::uint64_t pack_state(std::uint64_t position, FrameKind kind, std::uint64_t slot, std::size_t bytes) {
  return stamp_of(position) << kStampShift | static_cast<std::uint64_t>(kind) << (kBytesBits + kSlotBits) |
         slot << kBytesBits | bytes;
}

struct alignas(kLine) Entry {
  std::atomic<std::uint64_t> state;
  std::uint64_t argument;
  Header header;
};
static_assert(sizeof(Entry) == kLine);

struct Direction {
  // Written by the receiver.
  alignas(kLine) std::atomic<std::uint64_t> consumed;                  // entries that the sender may overwrite
  alignas(kLine) std::atomic<std::uint64_t> acknowledgements[kSlots];  // lap << 32 | slot

  // Written by the sender; the receiver clears wants_space.
  alignas(kLine) std::atomic<std::uint32_t> wants_space;
  std::atomic<std::uint32_t> closed;  // nothing that lies in the memory of the sender's caller is valid any more
  Entry entries[kEntries];
  std::byte inline_area[kInlineAreaBytes];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

constexpr std::size_t kDirectionBytes = (sizeof(Direction) + kPageBytes - 1) / kPageBytes * kPageBytes;
constexpr std::size_t pair_bytes(std::size_t staging_bytes) { return 2 * kDirectionBytes + 2 * staging_bytes; }

// The first page of a process's segment; the rest is the callers'.
struct SegmentHead {
  alignas(kLine) std::atomic<std::uint32_t> sleeping;
};
constexpr std::size_t kSegmentHeadBytes = kPageBytes;

}  // namespace tutti::shm
