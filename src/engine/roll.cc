#include "src/engine/roll.h"

#include <cstdint>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti {

namespace {
constexpr std::uint32_t kAbsent = ~0u;  // instead of a length
}  // namespace

std::string encode_roll(std::span<const std::optional<std::string>> contributions) {
  ByteWriter<std::string> out;
  for (const auto& contribution : contributions) {
    contribution ? out.put_counted<std::uint32_t>(*contribution) : out.put(kAbsent);
  }
  return out.take();
}

Result<std::vector<std::optional<std::string>>> decode_roll(std::string_view bytes, std::size_t survivors) {
  const Status damaged(Code::internal,
                       format("{} bytes that should be the roll of {} members are none", bytes.size(), survivors));
  std::vector<std::optional<std::string>> contributions(survivors);
  ByteReader in(bytes);
  for (auto& contribution : contributions) {
    const auto length = in.get<std::uint32_t>();
    if (length == kAbsent) continue;
    const auto taken = in.take(length);
    contribution.emplace(reinterpret_cast<const char*>(taken.data()), taken.size());
  }
  if (!in.is_at_end()) return damaged;
  return contributions;
}

}  // namespace tutti
