// format("{} of {}", a, b): text formatting, by {fmt}. And the few ways in which Tutti prints quantities to people,
// so that a size or a time reads the same in an error, a log line and a table.
#pragma once

#include <fmt/core.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace tutti {

using fmt::format;

std::string format_bytes(std::uint64_t bytes);                   // "512 B", "64 KiB", "1.5 MiB"
std::string format_duration(std::chrono::nanoseconds duration);  // "830 ns", "12.4 us", "3.20 ms", "10.0 s"

}  // namespace tutti
