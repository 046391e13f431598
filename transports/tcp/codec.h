// Little-endian numbers in byte strings: what the address, the greeting and the frame header are written with. A
// Reader never reads past its bytes: it remembers that it would have had to, and gives zeros from then on.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::tcp {

template <std::unsigned_integral T>
void store(std::byte* to, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

template <std::unsigned_integral T>
T load(const std::byte* from) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | static_cast<T>(from[i]) << (8 * i));
  return value;
}

class Writer {
 public:
  template <std::unsigned_integral T>
  void put(T value) {
    std::byte bytes[sizeof(T)];
    store(bytes, value);
    put(std::span<const std::byte>(bytes));
  }
  void put(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  // One byte of length, then the text, cut to length_max (at most 255).
  void put_text(std::string_view text, std::size_t length_max) {
    const auto length = std::min(text.size(), length_max);
    put(static_cast<std::uint8_t>(length));
    put(std::as_bytes(std::span(text.data(), length)));
  }
  std::size_t size() const { return bytes_.size(); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <std::unsigned_integral T>
  T get() {
    const auto bytes = take(sizeof(T));
    return bytes.empty() ? T{0} : load<T>(bytes.data());
  }
  // The next `count` bytes, or none (and the reader has failed) where fewer are left.
  std::span<const std::byte> take(std::size_t count) {
    if (count > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  // Text as put_text writes it; what is not printable ASCII becomes '?', since it ends in messages.
  std::string get_text(std::size_t length_max) {
    const auto length = get<std::uint8_t>();
    if (length > length_max) failed_ = true;
    std::string text;
    for (const std::byte b : take(length)) {
      const char c = static_cast<char>(b);
      text.push_back(c >= 0x20 && c < 0x7f ? c : '?');
    }
    return text;
  }
  bool failed() const { return failed_; }
  std::size_t left() const { return rest_.size(); }

 private:
  std::span<const std::byte> rest_;
  bool failed_ = false;
};

}  // namespace tutti::tcp
