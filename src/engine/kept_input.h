// KeptInput: what an operation in place overwrites of its input, so that it can be undone until its outcome is
// certain. Whoever is about to write says so; what is written for the first time is copied just before, piece by
// piece, while it is in the caches for the operation's own sake, and past the caches, since it is hardly ever read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace tutti {

class KeptInput {
 public:
  // From now on, of these bytes. Nothing is kept yet.
  void begin(std::byte* input, std::uint64_t bytes);
  void before_write(const std::byte* target, std::uint64_t bytes);
  void restore();
  void end();  // the outcome is certain

  bool is_active() const { return input_ != nullptr; }

 private:
  struct Range {
    std::uint64_t begin;
    std::uint64_t end;
  };

  void keep(std::uint64_t begin, std::uint64_t end);

  std::byte* input_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::vector<Range> kept_;  // ascending; they do not touch each other
  std::unique_ptr<std::byte[]> copy_;
  std::uint64_t capacity_ = 0;
};

}  // namespace tutti
