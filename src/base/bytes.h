// Numbers and texts as bytes, little-endian: what everything is written with that goes to another process or to a
// file. A ByteReader never reads past its bytes: it remembers that it would have had to, and gives zeros and nothing
// from then on, so that a decoder is one straight line with one question at its end.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tutti {

template <std::unsigned_integral T>
void store_little_endian(std::byte* to, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

template <std::unsigned_integral T>
T load_little_endian(const std::byte* from) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | static_cast<T>(from[i]) << (8 * i));
  return value;
}

// Bytes: std::string or std::vector<std::byte>.
template <typename Bytes>
class ByteWriter {
 public:
  template <std::unsigned_integral T>
  void put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) bytes_.push_back(static_cast<Element>(value >> (8 * i)));
  }
  void put(std::span<const std::byte> bytes) {
    const std::size_t size = bytes_.size();
    bytes_.resize(size + bytes.size());
    if (!bytes.empty()) std::memcpy(bytes_.data() + size, bytes.data(), bytes.size());
  }
  void put(std::string_view text) { put(std::as_bytes(std::span(text))); }
  // The length as a Length, then the text. REQUIRES: it fits
  template <std::unsigned_integral Length>
  void put_counted(std::string_view text) {
    put(static_cast<Length>(text.size()));
    put(text);
  }
  std::size_t size() const { return bytes_.size(); }
  Bytes take() { return std::move(bytes_); }

 private:
  using Element = typename Bytes::value_type;
  Bytes bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}
  explicit ByteReader(std::string_view bytes) : rest_(std::as_bytes(std::span(bytes))) {}

  template <std::unsigned_integral T>
  T get() {
    const auto bytes = take(sizeof(T));
    return bytes.empty() ? T{0} : load_little_endian<T>(bytes.data());
  }
  // The next `count` bytes, or none (and the reader has failed) where fewer are left.
  std::span<const std::byte> take(std::size_t count) {
    if (count > rest_.size()) {
      fail();
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  // What put_counted wrote, if it is no longer than `longest`.
  template <std::unsigned_integral Length>
  std::string get_counted(std::size_t longest = std::numeric_limits<Length>::max()) {
    const std::size_t length = get<Length>();
    if (length > longest) fail();
    const auto bytes = take(failed_ ? 0 : length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // What was read cannot be meant: as if the bytes had ended before it.
  void fail() {
    failed_ = true;
    rest_ = {};
  }
  bool failed() const { return failed_; }
  std::size_t left() const { return rest_.size(); }
  bool is_at_end() const { return !failed_ && rest_.empty(); }  // and everything was there

 private:
  std::span<const std::byte> rest_;
  bool failed_ = false;
};

}  // namespace tutti
