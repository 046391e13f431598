#include "src/state/content.h"

#include <cstring>

// Compiled in, so that nothing of it is needed at run time.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace tutti {

namespace {

Digest from(const XXH128_hash_t& hash) { return {hash.high64, hash.low64}; }

}  // namespace

Digest digest_of(std::span<const std::byte> bytes) { return from(XXH3_128bits(bytes.data(), bytes.size())); }

Digest digest_of(std::span<const Piece> pieces) {
  if (pieces.size() == 1) return from(XXH3_128bits(pieces[0].memory, pieces[0].bytes));
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for (const Piece& piece : pieces) XXH3_128bits_update(&state, piece.memory, piece.bytes);
  return from(XXH3_128bits_digest(&state));
}

void copy_out(std::span<const Piece> pieces, std::byte* to) {
  for (const Piece& piece : pieces) {
    std::memcpy(to, piece.memory, piece.bytes);
    to += piece.bytes;
  }
}

void copy_in(std::span<const Piece> pieces, const std::byte* from) {
  for (const Piece& piece : pieces) {
    std::memcpy(piece.memory, from, piece.bytes);
    from += piece.bytes;
  }
}

}  // namespace tutti
