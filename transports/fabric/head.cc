#include "transports/fabric/head.h"

#include "src/base/bytes.h"

namespace tutti::fabric {

namespace {
constexpr int kKindShift = 56;
}  // namespace

void encode(const Head& head, std::byte* to) {
  store_little_endian(to, head.key);
  store_little_endian(to + 8, head.bytes | static_cast<std::uint64_t>(head.kind) << kKindShift);
  store_little_endian(to + 16, head.sequence);
  store_little_endian(to + 24, head.taken);
  for (std::size_t i = 0; i < head.header.words.size(); ++i)
    store_little_endian(to + 32 + 8 * i, head.header.words[i]);
}

std::optional<Head> parse_head(std::span<const std::byte> bytes) {
  if (bytes.size() != kHeadBytes) return std::nullopt;
  Head head;
  head.key = load_little_endian<std::uint64_t>(bytes.data());
  const auto kind_and_bytes = load_little_endian<std::uint64_t>(bytes.data() + 8);
  const std::uint64_t kind = kind_and_bytes >> kKindShift;
  head.bytes = kind_and_bytes & ((std::uint64_t{1} << kKindShift) - 1);
  if (kind < 1 || kind > 4 || head.bytes > kBodyBytesLimit) return std::nullopt;
  head.kind = static_cast<Head::Kind>(kind);
  head.sequence = load_little_endian<std::uint64_t>(bytes.data() + 16);
  head.taken = load_little_endian<std::uint64_t>(bytes.data() + 24);
  for (std::size_t i = 0; i < head.header.words.size(); ++i)
    head.header.words[i] = load_little_endian<std::uint64_t>(bytes.data() + 32 + 8 * i);
  return head;
}

}  // namespace tutti::fabric
