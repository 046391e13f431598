#include "src/engine/kept_input.h"

#include <algorithm>
#include <cstring>

#include "src/memory/reduce.h"

namespace tutti {

namespace {
constexpr std::uint64_t kKeptForNext = 64 << 20;  // memory that is not given back: its pages need not be had again
}

void KeptInput::begin(std::byte* input, std::uint64_t bytes) {
  input_ = input;
  bytes_ = bytes;
  kept_.clear();
  if (capacity_ >= bytes) return;
  copy_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
  capacity_ = bytes;
}

void KeptInput::before_write(const std::byte* target, std::uint64_t bytes) {
  const auto first = reinterpret_cast<std::uintptr_t>(target);
  const auto base = reinterpret_cast<std::uintptr_t>(input_);
  if (first >= base + bytes_ || first + bytes <= base) return;
  const std::uint64_t begin = first > base ? first - base : 0;
  const std::uint64_t end = std::min<std::uint64_t>(first + bytes - base, bytes_);
  auto range = std::lower_bound(kept_.begin(), kept_.end(), begin,
                                [](const Range& each, std::uint64_t at) { return each.end < at; });
  Range all{begin, end};
  const auto from = range;
  std::uint64_t at = begin;
  for (; range != kept_.end() && range->begin <= end; ++range) {  // those that overlap it or touch it
    if (at < range->begin) keep(at, range->begin);
    at = std::max(at, range->end);
    all = {std::min(all.begin, range->begin), std::max(all.end, range->end)};
  }
  if (at < end) keep(at, end);
  if (from == range) {
    kept_.insert(from, all);
  } else {
    *from = all;
    kept_.erase(from + 1, range);
  }
}

void KeptInput::keep(std::uint64_t begin, std::uint64_t end) {
  copy(copy_.get() + begin, input_ + begin, end - begin, true);
}

void KeptInput::restore() {
  for (const Range& range : kept_)
    std::memcpy(input_ + range.begin, copy_.get() + range.begin, range.end - range.begin);
}

void KeptInput::end() {
  input_ = nullptr;
  bytes_ = 0;
  kept_.clear();
  if (capacity_ <= kKeptForNext) return;
  copy_.reset();
  capacity_ = 0;
}

}  // namespace tutti
