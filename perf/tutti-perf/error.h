// Error: a sentence, or nothing. What the tool's functions return when they can go wrong.
#pragma once

#include <string>
#include <utility>

namespace tutti_perf {

class [[nodiscard]] Error {
 public:
  Error() = default;
  explicit Error(std::string text) : text_(std::move(text)) {}
  explicit operator bool() const { return !text_.empty(); }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace tutti_perf
