// How the store's requests and replies look as bytes. Pure: bytes in, values out, and nothing that a stranger can
// send makes it read out of bounds or hold more than its limit. The file store keeps its journal in the same form.
//
// frame = length of the body (4) | body; all numbers little-endian; text = length (4) | bytes.
// request body = operation (1) | has expected (1) | number (8) | wait in ns (8) | key | value | expected
// reply body   = code (1) | stored (1) | has value (1) | number (8) | text | value | count (4) | count x (key |
// value)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/status.h"
#include "src/membership/store.h"

namespace tutti {

enum class StoreOperation : std::uint8_t { set = 1, get = 2, compare_and_swap = 3, add = 4, gather = 5, remove = 6 };

struct StoreRequest {
  StoreOperation operation = StoreOperation::set;
  std::string key;    // or the prefix
  std::string value;  // set: the value; compare_and_swap: the desired one
  std::optional<std::string> expected;
  std::int64_t number = 0;   // add: the delta; gather: the count
  std::int64_t wait_ns = 0;  // get, gather: how long to wait at most; negative: for ever
  bool operator==(const StoreRequest&) const = default;
};

struct StoreReply {
  Code code = Code::ok;
  std::string text;  // the error sentence, without the address
  bool stored = false;
  std::optional<std::string> value;
  std::int64_t number = 0;
  std::vector<std::pair<std::string, std::string>> entries;
  bool operator==(const StoreReply&) const = default;
};

// The largest bodies that are read. A reply is larger than a request since a gather returns many values.
constexpr std::size_t kStoreRequestBytes = Store::kKeyBytes + 2 * Store::kValueBytes + 64;
constexpr std::size_t kStoreReplyBytes = std::size_t{64} << 20;

// The whole frame. REQUIRES: it is not larger than the limit above.
std::string encode(const StoreRequest& request);
std::string encode(const StoreReply& reply);

// From a frame's body. INVALID with the reason when it is not exactly one request or reply.
Result<StoreRequest> decode_request(std::string_view body);
Result<StoreReply> decode_reply(std::string_view body);

// Cuts a stream into frames. Holds at most one unfinished frame and what one feed brought.
class FrameReader {
 public:
  explicit FrameReader(std::size_t limit) : limit_(limit) {}

  void feed(std::string_view bytes);

  // The next complete body, which lives until the next call; nothing while there is none. INVALID, now and ever
  // after, once a frame announces more than the limit.
  Result<std::optional<std::string_view>> next();

  std::size_t buffered() const { return buffer_.size() - position_; }

 private:
  std::size_t limit_;
  std::string buffer_;
  std::size_t position_ = 0;  // of the first byte that no frame has taken
};

}  // namespace tutti
