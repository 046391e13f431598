// Log: where sentences for people go. A library neither prints nor exits by itself: whoever builds the process hands
// in the sink (src/api installs one that obeys TUTTI_LOG and the caller's hook). Thread-safe where the sink is.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "src/base/format.h"

namespace tutti {

// Levels go by frequency and consequence, not mood.
enum class LogLevel : int {
  error = 0,  // the caller gets a failing status
  warn = 1,   // slower or reduced, still correct
  info = 2,   // once per communicator
  debug = 3,  // per connection or plan
  trace = 4,  // per operation
};

class Log {
 public:
  // Called with lines at or below `level`; `area` is one word such as "tcp". May be called from any thread.
  using Sink = std::function<void(LogLevel, std::string_view area, std::string_view text)>;

  Log() = default;
  Log(LogLevel level, Sink sink) : level_(level), sink_(std::move(sink)) {}

  bool wants(LogLevel level) const { return sink_ && level <= level_; }

  template <typename... Args>
  void write(LogLevel level, std::string_view area, fmt::format_string<Args...> text, Args&&... args) const {
    if (wants(level)) sink_(level, area, fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  LogLevel level_ = LogLevel::warn;
  Sink sink_;
};

}  // namespace tutti
