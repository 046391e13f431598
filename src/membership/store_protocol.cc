#include "src/membership/store_protocol.h"

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::size_t kLengthBytes = 4;

template <typename T>
void put_number(std::string& out, T value) {
  const auto bits = static_cast<std::make_unsigned_t<T>>(value);
  for (std::size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(bits >> (8 * i));
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

// The length goes in front once the body is known.
std::string framed(std::string out) {
  const std::size_t length = out.size() - kLengthBytes;
  for (std::size_t i = 0; i < kLengthBytes; ++i) out[i] = static_cast<char>(length >> (8 * i));
  return out;
}

// Takes values off the front; after the first that is not all there everything is empty and good() is false.
class Cursor {
 public:
  explicit Cursor(std::string_view body) : rest_(body) {}

  template <typename T>
  T number() {
    if (rest_.size() < sizeof(T)) return static_cast<T>(broken());
    std::make_unsigned_t<T> bits = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bits = static_cast<std::make_unsigned_t<T>>(
          bits | static_cast<std::make_unsigned_t<T>>(static_cast<unsigned char>(rest_[i])) << (8 * i));
    }
    rest_.remove_prefix(sizeof(T));
    return static_cast<T>(bits);
  }

  bool flag() {
    const auto value = number<std::uint8_t>();
    if (value > 1) broken();
    return value == 1;
  }

  std::string text() {
    const auto length = number<std::uint32_t>();
    if (length > rest_.size()) {
      broken();
      return {};
    }
    std::string value(rest_.substr(0, length));
    rest_.remove_prefix(length);
    return value;
  }

  bool good() const { return good_; }
  bool at_end() const { return good_ && rest_.empty(); }

 private:
  int broken() {
    good_ = false;
    rest_ = {};
    return 0;
  }

  std::string_view rest_;
  bool good_ = true;
};

}  // namespace

std::string encode(const StoreRequest& request) {
  std::string out(kLengthBytes, '\0');
  put_number(out, static_cast<std::uint8_t>(request.operation));
  put_number(out, static_cast<std::uint8_t>(request.expected.has_value()));
  put_number(out, request.number);
  put_number(out, request.wait_ns);
  put_text(out, request.key);
  put_text(out, request.value);
  put_text(out, request.expected.value_or(""));
  return framed(std::move(out));
}

std::string encode(const StoreReply& reply) {
  std::string out(kLengthBytes, '\0');
  put_number(out, static_cast<std::uint8_t>(reply.code));
  put_number(out, static_cast<std::uint8_t>(reply.stored));
  put_number(out, static_cast<std::uint8_t>(reply.value.has_value()));
  put_number(out, reply.number);
  put_text(out, reply.text);
  put_text(out, reply.value.value_or(""));
  put_number(out, static_cast<std::uint32_t>(reply.entries.size()));
  for (const auto& [key, value] : reply.entries) {
    put_text(out, key);
    put_text(out, value);
  }
  return framed(std::move(out));
}

Result<StoreRequest> decode_request(std::string_view body) {
  Cursor cursor(body);
  StoreRequest request;
  const auto operation = cursor.number<std::uint8_t>();
  const bool has_expected = cursor.flag();
  request.number = cursor.number<std::int64_t>();
  request.wait_ns = cursor.number<std::int64_t>();
  request.key = cursor.text();
  request.value = cursor.text();
  std::string expected = cursor.text();
  if (!cursor.at_end()) return Status(Code::invalid, format("a request of {} bytes is malformed", body.size()));
  if (operation < 1 || operation > static_cast<std::uint8_t>(StoreOperation::remove)) {
    return Status(Code::invalid, format("a request asks for operation {}, which does not exist", operation));
  }
  if (!has_expected && !expected.empty()) return Status(Code::invalid, "a request has an expected value it denies");
  request.operation = static_cast<StoreOperation>(operation);
  if (has_expected) request.expected = std::move(expected);
  return request;
}

Result<StoreReply> decode_reply(std::string_view body) {
  Cursor cursor(body);
  StoreReply reply;
  const auto code = cursor.number<std::uint8_t>();
  reply.stored = cursor.flag();
  const bool has_value = cursor.flag();
  reply.number = cursor.number<std::int64_t>();
  reply.text = cursor.text();
  std::string value = cursor.text();
  // No room is reserved by the announced count: each entry must really be there.
  for (auto count = cursor.number<std::uint32_t>(); count > 0 && cursor.good(); --count) {
    std::string key = cursor.text();
    reply.entries.emplace_back(std::move(key), cursor.text());
  }
  if (!cursor.at_end() || code > static_cast<std::uint8_t>(Code::internal) || (!has_value && !value.empty())) {
    return Status(Code::invalid, format("a reply of {} bytes is malformed", body.size()));
  }
  reply.code = static_cast<Code>(code);
  if (has_value) reply.value = std::move(value);
  return reply;
}

void FrameReader::feed(std::string_view bytes) {
  buffer_.erase(0, position_);
  position_ = 0;
  buffer_ += bytes;
}

Result<std::optional<std::string_view>> FrameReader::next() {
  const std::string_view rest = std::string_view(buffer_).substr(position_);
  if (rest.size() < kLengthBytes) return std::optional<std::string_view>();
  const std::size_t length = Cursor(rest).number<std::uint32_t>();
  if (length > limit_) {
    return Status(Code::invalid,
                  format("a frame of {} bytes is announced, more than the {} allowed", length, limit_));
  }
  if (rest.size() - kLengthBytes < length) return std::optional<std::string_view>();
  position_ += kLengthBytes + length;
  return std::optional(rest.substr(kLengthBytes, length));
}

}  // namespace tutti
