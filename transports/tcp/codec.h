// Text in the address and the greeting of TCP.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/bytes.h"

namespace tutti::tcp {

using Writer = ByteWriter<std::vector<std::byte>>;

// One byte of length, then the text, cut to length_max (at most 255).
inline void put_text(Writer& out, std::string_view text, std::size_t length_max) {
  out.put_counted<std::uint8_t>(text.substr(0, length_max));
}

// What is not printable ASCII becomes '?', since the text ends in messages.
inline std::string get_text(ByteReader& in, std::size_t length_max) {
  std::string text = in.get_counted<std::uint8_t>(length_max);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text;
}

}  // namespace tutti::tcp
