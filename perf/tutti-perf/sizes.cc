#include "perf/tutti-perf/sizes.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tutti_perf {

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  double number = 0;
  const auto [rest, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc() || !(number >= 0)) return std::nullopt;
  std::string_view suffix(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  static constexpr std::string_view kUnits = "kmgt";
  int power = 0;
  if (!suffix.empty()) {
    const std::size_t unit = kUnits.find(static_cast<char>(suffix[0] | 0x20));
    if (unit != std::string_view::npos) {
      power = static_cast<int>(unit) + 1;
      suffix.remove_prefix(1);
      if (suffix.starts_with("i")) suffix.remove_prefix(1);
    }
    if (suffix != "" && suffix != "B" && suffix != "b") return std::nullopt;
  }
  const double bytes = std::ldexp(number, 10 * power);
  if (bytes >= 0x1p62 || bytes != std::floor(bytes)) return std::nullopt;
  return static_cast<std::uint64_t>(bytes);
}

std::string bytes_text(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  double value = static_cast<double>(bytes);
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return value == std::floor(value) ? fmt::format("{:.0f} {}", value, kUnits[unit])
                                    : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::vector<std::uint64_t> sizes_of(const Sweep& sweep, std::uint64_t unit) {
  std::vector<std::uint64_t> sizes;
  double next = static_cast<double>(sweep.begin);
  while (next <= static_cast<double>(sweep.end)) {
    const std::uint64_t size = std::max<std::uint64_t>(static_cast<std::uint64_t>(next) / unit, 1) * unit;
    if (sizes.empty() || sizes.back() != size) sizes.push_back(size);
    next = sweep.step > 0 ? next + static_cast<double>(sweep.step) : std::max(next * sweep.factor, next + 1);
  }
  return sizes;
}

}  // namespace tutti_perf
