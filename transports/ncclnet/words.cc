#include "transports/ncclnet/words.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <deque>
#include <mutex>
#include <utility>

namespace tutti::ncclnet {

namespace {

constexpr std::size_t kLineBytes = 256;
constexpr std::size_t kLinesMax = 64;

struct Line {
  LogWeight weight;
  std::string text;
};
struct Lines {
  std::mutex mutex;
  std::deque<Line> lines;
  std::atomic<bool> is_empty{true};
};
Lines& all_lines() {
  static Lines* const all = new Lines;  // threads of a plug-in's may speak while the program ends
  return *all;
}

thread_local std::array<char, kLineBytes> last_warning{};

void keep(LogWeight weight, unsigned long, const char*, int, const char* text, ...) {
  std::array<char, kLineBytes> line{};
  va_list arguments;
  va_start(arguments, text);
  std::vsnprintf(line.data(), line.size(), text, arguments);
  va_end(arguments);
  if (weight == LogWeight::warning || weight == LogWeight::abort) last_warning = line;
  if (weight >= LogWeight::trace) return;
  Lines& all = all_lines();
  const std::lock_guard lock(all.mutex);
  if (all.lines.size() >= kLinesMax) all.lines.pop_front();
  all.lines.push_back({weight, printable(line.data(), line.size())});
  all.is_empty = false;
}

}  // namespace

Logger logger() { return &keep; }

std::string take_warning() {
  std::string words = printable(last_warning.data(), last_warning.size());
  last_warning[0] = 0;
  return words;
}

void write_words(const Log& log) {
  Lines& all = all_lines();
  if (all.is_empty) return;
  std::deque<Line> lines;
  {
    const std::lock_guard lock(all.mutex);
    lines.swap(all.lines);
    all.is_empty = true;
  }
  for (const Line& line : lines) {
    const bool is_warning = line.weight == LogWeight::warning || line.weight == LogWeight::abort;
    log.write(is_warning ? LogLevel::info : LogLevel::debug, "ncclnet", "the plug-in says: {}", line.text);
  }
}

std::string printable(const char* text, std::size_t length_max) {
  std::string copy(text, strnlen(text, length_max));
  std::replace_if(
      copy.begin(), copy.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return copy;
}

}  // namespace tutti::ncclnet
