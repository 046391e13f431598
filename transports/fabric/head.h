// Head: what precedes every message on a wire, 80 bytes, little-endian.
//
//   key       8  the receiver's own number of the link, random: only who was given it over the control connection,
//                where both have proved that they know the secret, can say anything on the link
//   kind      1  Kind
//   bytes     7  of the frame's payload
//   sequence  8  frame: its number on the link. ask: how many frames were sent before it. ping, taken: how many
//                messages its sender has said to the other's port, this one included; 0: it does not count them
//   taken     8  how many of the frames in the other direction the sender of this is done with
//   words    48  frame: its header
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "src/transport/transport.h"

namespace tutti::fabric {

constexpr std::size_t kHeadBytes = 80;
constexpr std::uint64_t kBodyBytesLimit = std::uint64_t{1} << 30;

struct Head {
  enum class Kind : std::uint8_t {
    frame = 1,
    taken = 2,  // nothing but the number
    ask = 3,    // answer with `taken` once all frames before this are
    ping = 4,   // answer with `taken` at once
  };
  std::uint64_t key = 0;
  Kind kind = Kind::frame;
  std::uint64_t bytes = 0;
  std::uint64_t sequence = 0;
  std::uint64_t taken = 0;
  Header header;
  bool operator==(const Head&) const = default;
};

// REQUIRES: room for kHeadBytes.
void encode(const Head& head, std::byte* to);
// Nothing where the bytes are no head: another size, an unknown kind, more bytes than any frame has.
std::optional<Head> parse_head(std::span<const std::byte> bytes);

}  // namespace tutti::fabric
