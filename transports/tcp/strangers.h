// Who was refused, for people: each stranger a line, but no more than a few in a while, since who knocks ten thousand
// times must not fill a disk.
#pragma once

#include <cstddef>
#include <string_view>

#include "src/base/clock.h"
#include "src/base/log.h"

namespace tutti::tcp {

class Strangers {
 public:
  explicit Strangers(Log log) : log_(std::move(log)) {}

  // Writes the sentence at `warn`, or counts it where this while has had its lines.
  void report(std::string_view text, Instant now) {
    if (now - window_began_ > kWindow) {
      if (silenced_ > 0) log_.write(LogLevel::warn, "tcp", "{} more connections were refused before that", silenced_);
      window_began_ = now;
      lines_ = 0;
      silenced_ = 0;
    }
    if (lines_ == kLinesMax) {
      ++silenced_;
      return;
    }
    ++lines_;
    log_.write(LogLevel::warn, "tcp", "{}", text);
  }

 private:
  static constexpr Nanoseconds kWindow = std::chrono::seconds(10);
  static constexpr std::size_t kLinesMax = 20;

  Log log_;
  Instant window_began_{};
  std::size_t lines_ = 0;
  std::size_t silenced_ = 0;
};

}  // namespace tutti::tcp
