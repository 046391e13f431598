#include "src/state/state_chunks.h"

#include <algorithm>

namespace tutti {

StateChunks::StateChunks(const Tensors& tensors, std::uint64_t chunk_bytes) {
  bool shared = false;  // the last chunk takes more small tensors
  for (const auto& [name, tensor] : tensors.all()) {
    const bool is_large = tensor.bytes() >= chunk_bytes;
    for (std::uint64_t at = 0; at < tensor.bytes();) {
      const std::uint64_t bytes = std::min(chunk_bytes, tensor.bytes() - at);
      if (!shared || is_large || bytes_.back() + bytes > chunk_bytes) {
        bytes_.push_back(0);
        tensors_.push_back(&name);
        first_.push_back(pieces_.size());
      }
      pieces_.push_back({tensor.memory + at, bytes});
      bytes_.back() += bytes;
      at += bytes;
      shared = !is_large;
    }
  }
  first_.push_back(pieces_.size());
}

std::vector<Digest> StateChunks::digests() const {
  std::vector<Digest> all(count());
  for (std::uint32_t chunk = 0; chunk < count(); ++chunk) all[chunk] = digest_of(pieces(chunk));
  return all;
}

}  // namespace tutti
