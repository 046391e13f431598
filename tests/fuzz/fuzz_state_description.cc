// Whatever other ranks say of their states: taken or refused, and what is taken is within bounds, says the same when
// it is written again, and can be told apart from another one in words.
#include <string>

#include "src/state/description.h"
#include "tests/fuzz/check.h"

using tutti::StateDescription;
using tutti::StateSummary;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto summary = StateSummary::decode(bytes)) {
    const auto again = summary->encode();
    FUZZ_CHECK(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
  }
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto whole = StateDescription::decode(text);
  if (!whole) {
    FUZZ_CHECK(whole.status().code() == tutti::Code::internal && !whole.status().text().empty());
    return 0;
  }
  FUZZ_CHECK(whole->encode() == text);
  StateDescription less = *whole;
  FUZZ_CHECK(difference(*whole, "a", less, "b").empty());
  if (less.tensors.empty()) return 0;
  less.tensors.erase(less.tensors.begin() + static_cast<std::ptrdiff_t>(size % less.tensors.size()));
  FUZZ_CHECK(!difference(*whole, "a", less, "b").empty() && !difference(less, "a", *whole, "b").empty());
  return 0;
}
