// Content: the bytes of tensors, hashed, and copied out and in. The only part of a shared state that looks at their
// memory.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tutti {

// A stretch of a tensor's memory.
struct Piece {
  std::byte* memory = nullptr;
  std::uint64_t bytes = 0;
};

// XXH3, 128 bits: two contents with one digest are taken for equal. It protects against mistakes and chance (one in
// 2^128), not against a member that wants to deceive.
struct Digest {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const Digest&) const = default;
};

// Of the pieces one after the other: the same however the bytes are cut into pieces.
Digest digest_of(std::span<const Piece> pieces);
Digest digest_of(std::span<const std::byte> bytes);

void copy_out(std::span<const Piece> pieces, std::byte* to);
void copy_in(std::span<const Piece> pieces, const std::byte* from);

}  // namespace tutti
