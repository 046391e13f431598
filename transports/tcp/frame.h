// One frame on the wire: a header of 64 bytes, then the payload. Little-endian.
//
//     magic (4) | payload bytes (4) | the six words of the Header (48) | check (8)
//
// The check covers all before it and the frame's number in its direction, so that a stream that has lost or repeated
// a byte or a frame is noticed at the next header. It is no defence against an attacker; TCP's own sum guards
// payloads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "src/base/bytes.h"
#include "src/transport/transport.h"

namespace tutti::tcp {

constexpr std::size_t kFrameHeaderBytes = 64;
constexpr std::uint32_t kFrameMagic = 0x31465454;  // "TTF1"

constexpr std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Multiplies words in pairs and folds: a few nanoseconds, and any one changed bit changes about half of the result.
inline std::uint64_t frame_check(const std::byte* header, std::uint64_t number) {
  std::uint64_t check =
      fold(load_little_endian<std::uint64_t>(header) ^ 0x9e3779b97f4a7c15ull, number ^ 0xd1b54a32d192ed03ull);
  for (std::size_t at = 8; at < 56; at += 16) {
    check = fold(load_little_endian<std::uint64_t>(header + at) ^ 0x8bb84b93962eacc9ull ^ check,
                 load_little_endian<std::uint64_t>(header + at + 8) ^ 0x2d358dccaa6c78a5ull);
  }
  return check;
}

inline void encode_frame(std::byte* to, const Header& header, std::uint32_t bytes, std::uint64_t number) {
  store_little_endian(to, kFrameMagic);
  store_little_endian(to + 4, bytes);
  for (std::size_t i = 0; i < header.words.size(); ++i) store_little_endian(to + 8 + 8 * i, header.words[i]);
  store_little_endian(to + 56, frame_check(to, number));
}

struct FrameHead {
  Header header;
  std::uint32_t bytes = 0;
};

// Nothing where the 64 bytes are not the header of frame `number`.
inline std::optional<FrameHead> decode_frame(const std::byte* from, std::uint64_t number) {
  if (load_little_endian<std::uint32_t>(from) != kFrameMagic ||
      load_little_endian<std::uint64_t>(from + 56) != frame_check(from, number)) {
    return std::nullopt;
  }
  FrameHead head;
  head.bytes = load_little_endian<std::uint32_t>(from + 4);
  for (std::size_t i = 0; i < head.header.words.size(); ++i)
    head.header.words[i] = load_little_endian<std::uint64_t>(from + 8 + 8 * i);
  return head;
}

}  // namespace tutti::tcp
