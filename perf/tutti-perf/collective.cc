#include "perf/tutti-perf/collective.h"

#include <iterator>

namespace tutti_perf {

namespace {

constexpr Traits kTraits[] = {
    // name, reduces, has_root, has_blocks, is_uneven, has_in_place, same_everywhere
    {"all_reduce", true, false, false, false, true, true},
    {"reduce", true, true, false, false, true, false},
    {"broadcast", false, true, false, false, true, true},
    {"all_gather", false, false, true, false, true, true},
    {"reduce_scatter", true, false, true, false, true, false},
    {"all_to_all", false, false, true, false, true, false},
    {"gather", false, true, true, false, true, false},
    {"scatter", false, true, true, false, true, false},
    {"barrier", false, false, false, false, false, false},
    {"send_receive", false, false, false, false, false, false},
    {"all_gather_v", false, false, true, true, true, true},
    {"reduce_scatter_v", true, false, true, true, true, false},
    {"all_to_all_v", false, false, true, true, false, false},
    {"gather_v", false, true, true, true, false, false},
    {"scatter_v", false, true, true, true, false, false},
};
static_assert(std::size(kTraits) == kKinds);

}  // namespace

const Traits& traits(Kind kind) { return kTraits[static_cast<std::size_t>(kind)]; }

std::optional<Kind> kind_named(std::string_view name) {
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (kTraits[i].name == name) return static_cast<Kind>(i);
  }
  return std::nullopt;
}

double bus_factor(Kind kind, int ranks) {
  const double n = ranks;
  if (kind == Kind::all_reduce) return 2 * (n - 1) / n;
  return traits(kind).has_blocks ? (n - 1) / n : 1;
}

double algorithm_bandwidth(std::uint64_t size_bytes, double time_us) {
  return time_us > 0 ? static_cast<double>(size_bytes) / time_us / 1e3 : 0;
}

std::vector<std::size_t> block_counts(Kind kind, std::size_t total, int ranks) {
  const auto n = static_cast<std::size_t>(ranks);
  if (!traits(kind).has_blocks) return {total};
  if (!traits(kind).is_uneven) return std::vector<std::size_t>(n, total / n);
  std::vector<std::size_t> counts(n);
  std::size_t left = total;
  for (std::size_t r = 0; r + 1 < n; ++r) {
    counts[r] = total / (n * (n + 1) / 2) * (r + 1);
    left -= counts[r];
  }
  counts[n - 1] = left;
  return counts;
}

std::vector<std::size_t> offsets_of(const std::vector<std::size_t>& counts) {
  std::vector<std::size_t> offsets = {0};
  for (const std::size_t count : counts) offsets.push_back(offsets.back() + count);
  return offsets;
}

std::size_t exchange_count(const std::vector<std::size_t>& counts, int from, int to) {
  return counts[static_cast<std::size_t>(from + to) % counts.size()];
}

}  // namespace tutti_perf
