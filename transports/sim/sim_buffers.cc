#include "transports/sim/sim_buffers.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace tutti {

namespace {

constexpr std::size_t kSmallest = 64;
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kKeptOfAClass = 0;
#else
constexpr std::size_t kKeptOfAClass = 256;
#endif

}  // namespace

SimBuffer SimBuffers::take(std::size_t bytes) {
  const std::size_t size = std::bit_ceil(std::max(bytes, kSmallest));
  const auto size_class = static_cast<std::uint8_t>(std::countr_zero(size));
  auto& kept = kept_[size_class];
  if (kept.empty()) {
    // Exactly as long as asked where nothing is kept: the sanitizer then sees every byte too many.
    return {std::make_unique_for_overwrite<std::byte[]>(kKeptOfAClass == 0 ? bytes : size), size_class};
  }
  SimBuffer buffer{std::move(kept.back()), size_class};
  kept.pop_back();
  return buffer;
}

void SimBuffers::give_back(SimBuffer&& buffer) {
  if (buffer.data == nullptr) return;
  auto& kept = kept_[buffer.size_class];
  if (kept.size() < kKeptOfAClass) {
    std::memset(buffer.data.get(), 0xDD, kSmallest);
    kept.push_back(std::move(buffer.data));
  }
  buffer.data.reset();
}

}  // namespace tutti
