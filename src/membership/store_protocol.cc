#include "src/membership/store_protocol.h"

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::size_t kLengthBytes = 4;

std::string framed(const std::string& body) {
  ByteWriter<std::string> out;
  out.put_counted<std::uint32_t>(body);
  return out.take();
}

// Numbers are unsigned in bytes; what has a sign is read as its two's complement.
std::int64_t get_signed(ByteReader& in) { return static_cast<std::int64_t>(in.get<std::uint64_t>()); }

bool get_flag(ByteReader& in) {
  const auto value = in.get<std::uint8_t>();
  if (value > 1) in.fail();
  return value == 1;
}

}  // namespace

std::string encode(const StoreRequest& request) {
  ByteWriter<std::string> out;
  out.put(static_cast<std::uint8_t>(request.operation));
  out.put(static_cast<std::uint8_t>(request.expected.has_value()));
  out.put(static_cast<std::uint64_t>(request.number));
  out.put(static_cast<std::uint64_t>(request.wait_ns));
  out.put_counted<std::uint32_t>(request.key);
  out.put_counted<std::uint32_t>(request.value);
  out.put_counted<std::uint32_t>(request.expected.value_or(""));
  return framed(out.take());
}

std::string encode(const StoreReply& reply) {
  ByteWriter<std::string> out;
  out.put(static_cast<std::uint8_t>(reply.code));
  out.put(static_cast<std::uint8_t>(reply.stored));
  out.put(static_cast<std::uint8_t>(reply.value.has_value()));
  out.put(static_cast<std::uint64_t>(reply.number));
  out.put_counted<std::uint32_t>(reply.text);
  out.put_counted<std::uint32_t>(reply.value.value_or(""));
  out.put(static_cast<std::uint32_t>(reply.entries.size()));
  for (const auto& [key, value] : reply.entries) {
    out.put_counted<std::uint32_t>(key);
    out.put_counted<std::uint32_t>(value);
  }
  return framed(out.take());
}

Result<StoreRequest> decode_request(std::string_view body) {
  ByteReader in(body);
  StoreRequest request;
  const auto operation = in.get<std::uint8_t>();
  const bool has_expected = get_flag(in);
  request.number = get_signed(in);
  request.wait_ns = get_signed(in);
  request.key = in.get_counted<std::uint32_t>();
  request.value = in.get_counted<std::uint32_t>();
  std::string expected = in.get_counted<std::uint32_t>();
  if (!in.is_at_end()) return Status(Code::invalid, format("a request of {} bytes is malformed", body.size()));
  if (operation < 1 || operation > static_cast<std::uint8_t>(StoreOperation::remove)) {
    return Status(Code::invalid, format("a request asks for operation {}, which does not exist", operation));
  }
  if (!has_expected && !expected.empty()) return Status(Code::invalid, "a request has an expected value it denies");
  request.operation = static_cast<StoreOperation>(operation);
  if (has_expected) request.expected = std::move(expected);
  return request;
}

Result<StoreReply> decode_reply(std::string_view body) {
  ByteReader in(body);
  StoreReply reply;
  const auto code = in.get<std::uint8_t>();
  reply.stored = get_flag(in);
  const bool has_value = get_flag(in);
  reply.number = get_signed(in);
  reply.text = in.get_counted<std::uint32_t>();
  std::string value = in.get_counted<std::uint32_t>();
  // No room is reserved by the announced count: each entry must really be there.
  for (auto count = in.get<std::uint32_t>(); count > 0 && !in.failed(); --count) {
    std::string key = in.get_counted<std::uint32_t>();
    reply.entries.emplace_back(std::move(key), in.get_counted<std::uint32_t>());
  }
  if (!in.is_at_end() || code > static_cast<std::uint8_t>(Code::internal) || (!has_value && !value.empty())) {
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
  const std::size_t length = ByteReader(rest).get<std::uint32_t>();
  if (length > limit_) {
    return Status(Code::invalid,
                  format("a frame of {} bytes is announced, more than the {} allowed", length, limit_));
  }
  if (rest.size() - kLengthBytes < length) return std::optional<std::string_view>();
  position_ += kLengthBytes + length;
  return std::optional(rest.substr(kLengthBytes, length));
}

}  // namespace tutti
