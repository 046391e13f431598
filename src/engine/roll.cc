#include "src/engine/roll.h"

#include <cstdint>

#include "src/base/format.h"

namespace tutti {

namespace {
constexpr std::uint32_t kAbsent = ~0u;  // instead of a length
constexpr std::size_t kLengthBytes = 4;
}  // namespace

std::string encode_roll(std::span<const std::optional<std::string>> contributions) {
  std::string bytes;
  for (const auto& contribution : contributions) {
    const std::uint32_t length = contribution ? static_cast<std::uint32_t>(contribution->size()) : kAbsent;
    for (std::size_t i = 0; i < kLengthBytes; ++i) bytes += static_cast<char>(length >> 8 * i & 0xff);
    if (contribution) bytes += *contribution;
  }
  return bytes;
}

Result<std::vector<std::optional<std::string>>> decode_roll(std::string_view bytes, std::size_t survivors) {
  const Status damaged(Code::internal,
                       format("{} bytes that should be the roll of {} members are none", bytes.size(), survivors));
  std::vector<std::optional<std::string>> contributions(survivors);
  for (auto& contribution : contributions) {
    if (bytes.size() < kLengthBytes) return damaged;
    std::uint32_t length = 0;
    for (std::size_t i = 0; i < kLengthBytes; ++i)
      length |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) << 8 * i;
    bytes.remove_prefix(kLengthBytes);
    if (length == kAbsent) continue;
    if (bytes.size() < length) return damaged;
    contribution = std::string(bytes.substr(0, length));
    bytes.remove_prefix(length);
  }
  if (!bytes.empty()) return damaged;
  return contributions;
}

}  // namespace tutti
