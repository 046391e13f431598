// SimBuffers: memory for payloads that are under way in a simulated network. Kept for reuse by size, since a
// simulation takes and gives back millions; what is given back is scribbled over, so that a late reader does not get
// away with it (under the address sanitizer nothing is kept, and it finds the reader).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tutti {

struct SimBuffer {
  std::unique_ptr<std::byte[]> data;  // null: none
  std::uint8_t size_class = 0;
};

class SimBuffers {
 public:
  // At least `bytes` long, not initialised.
  SimBuffer take(std::size_t bytes);
  void give_back(SimBuffer&& buffer);

 private:
  std::array<std::vector<std::unique_ptr<std::byte[]>>, 48> kept_;
};

}  // namespace tutti
