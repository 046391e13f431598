// What one process writes into the other's ring, and the 32 bits that come with it (all in host-independent order).
//
// A frame is a head of 64 bytes and, where it carries one, a payload; it takes whole units of the ring and lies in
// one piece. Each write brings an immediate number, which says what it is:
//
//     frame    a frame of so many units lies at the next place
//     credit   so many units, all in all, have been consumed
//     written  the payload that frame `number` announced is in its target
//
// A payload that is too large for the ring is announced; the receiver answers with a grant (where to write it) or
// declines. Frames are numbered in each direction, so one that is not the next is noticed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "src/base/bytes.h"
#include "src/transport/transport.h"

namespace tutti::verbs {

constexpr std::size_t kHeadBytes = 64;

enum class FrameKind : std::uint8_t {
  data = 1,      // with its payload
  announce = 2,  // whose payload waits for a grant
  grant = 3,     // words: number of the announcement, address, key, bytes
  decline = 4,   // words: number of the announcement; nobody wants its payload
};

struct Head {
  FrameKind kind = FrameKind::data;
  std::uint32_t bytes = 0;  // of the payload
  std::uint64_t number = 0;
  Header header;
  bool operator==(const Head&) const = default;
};

constexpr std::uint32_t kHeadMagic = 0x56545400;  // its low byte is the kind

inline void encode_head(std::byte* to, const Head& head) {
  store_little_endian(to, kHeadMagic | static_cast<std::uint32_t>(head.kind));
  store_little_endian(to + 4, head.bytes);
  store_little_endian(to + 8, head.number);
  for (std::size_t i = 0; i < head.header.words.size(); ++i)
    store_little_endian(to + 16 + 8 * i, head.header.words[i]);
}

// Nothing where the 64 bytes are not the head of frame `number`. The peer may write to them at any time: they are to
// be copied first.
inline std::optional<Head> decode_head(const std::byte* from, std::uint64_t number) {
  const auto magic = load_little_endian<std::uint32_t>(from);
  const std::uint32_t kind = magic & 0xff;
  if ((magic & ~0xffu) != kHeadMagic || kind < 1 || kind > 4) return std::nullopt;
  Head head;
  head.kind = static_cast<FrameKind>(kind);
  head.bytes = load_little_endian<std::uint32_t>(from + 4);
  head.number = load_little_endian<std::uint64_t>(from + 8);
  if (head.number != number) return std::nullopt;
  for (std::size_t i = 0; i < head.header.words.size(); ++i)
    head.header.words[i] = load_little_endian<std::uint64_t>(from + 16 + 8 * i);
  return head;
}

enum class Immediate : std::uint8_t { frame = 0, credit = 1, written = 2 };

constexpr std::uint32_t kImmediateMask = (1u << 30) - 1;  // values are kept modulo 2^30

constexpr std::uint32_t pack_immediate(Immediate kind, std::uint64_t value) {
  return static_cast<std::uint32_t>(kind) << 30 | (static_cast<std::uint32_t>(value) & kImmediateMask);
}

}  // namespace tutti::verbs
