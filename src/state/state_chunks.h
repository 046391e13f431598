// StateChunks: how the bytes of all tensors are cut for comparing and sending: the same on every rank that has the
// same names, types and counts. A tensor of a chunk or more has chunks of its own, which go straight into its memory;
// smaller ones share chunks, so that thousands of them cost no message each.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/state/content.h"
#include "src/state/tensors.h"

namespace tutti {

inline constexpr std::uint64_t kStateChunkBytes = 1 << 20;

class StateChunks {
 public:
  explicit StateChunks(const Tensors& tensors, std::uint64_t chunk_bytes = kStateChunkBytes);

  std::uint32_t count() const { return static_cast<std::uint32_t>(bytes_.size()); }
  std::uint64_t bytes(std::uint32_t chunk) const { return bytes_[chunk]; }
  std::span<const std::uint64_t> bytes() const { return bytes_; }
  // Never empty, and none of them is.
  std::span<const Piece> pieces(std::uint32_t chunk) const {
    return std::span(pieces_).subspan(first_[chunk], first_[chunk + 1] - first_[chunk]);
  }
  // The tensor of its first byte.
  const std::string& tensor(std::uint32_t chunk) const { return *tensors_[chunk]; }

  std::vector<Digest> digests() const;

 private:
  std::vector<std::uint64_t> bytes_;         // by chunk
  std::vector<const std::string*> tensors_;  // by chunk; of the Tensors that it was made from
  std::vector<std::size_t> first_;           // by chunk, and the end: into pieces_
  std::vector<Piece> pieces_;
};

}  // namespace tutti
