// Sizes in bytes as people write them, and the list of sizes that a run goes through.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tutti_perf {

// "8", "64k", "4M", "1G", "1.5M", "64KiB"; k, M, G, T are powers of 1024. Nothing for anything else.
std::optional<std::uint64_t> parse_bytes(std::string_view text);

// "8 B", "64 KiB", "1.5 MiB"
std::string bytes_text(std::uint64_t bytes);

struct Sweep {
  std::uint64_t begin = 8;
  std::uint64_t end = 16u << 20;
  double factor = 2;       // used where step is 0
  std::uint64_t step = 0;  // bytes
};

// The sizes from begin to end, each rounded down to a multiple of `unit` but at least one unit, without repetitions.
std::vector<std::uint64_t> sizes_of(const Sweep& sweep, std::uint64_t unit);

}  // namespace tutti_perf
