#include "transports/fabric/words.h"

#include <algorithm>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "transports/fabric/head.h"
#include "transports/fabric/wire.h"

namespace tutti::fabric {

namespace {

using Writer = ByteWriter<std::vector<std::byte>>;

constexpr std::uint32_t kAddressMagic = 0x41465454;   // "TTFA"
constexpr std::uint32_t kGreetingMagic = 0x47465454;  // "TTFG"
constexpr std::uint32_t kFarewellMagic = 0x46465454;  // "TTFF"
constexpr std::uint16_t kVersion = 1;

// What is not printable ASCII becomes '?', since the text ends in messages.
std::string get_text(ByteReader& in, std::size_t length_max) {
  std::string text = in.get_counted<std::uint16_t>(length_max);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return text;
}

void put_text(Writer& out, std::string_view text, std::size_t length_max) {
  out.put_counted<std::uint16_t>(text.substr(0, length_max));
}

void put_bytes(Writer& out, std::span<const std::byte> bytes) {
  out.put(static_cast<std::uint16_t>(bytes.size()));
  out.put(bytes);
}

std::vector<std::byte> get_bytes(ByteReader& in, std::size_t length_max) {
  const std::size_t length = in.get<std::uint16_t>();
  if (length > length_max) in.fail();
  const auto bytes = in.take(in.failed() ? 0 : length);
  return {bytes.begin(), bytes.end()};
}

Status wrong(std::string_view what, std::size_t bytes) {
  return {Code::invalid, format("{} bytes are no {}", bytes, what)};
}

// Whether they begin with this magic number and our version; else why not.
Status check_beginning(ByteReader& in, std::uint32_t magic, std::string_view what, std::size_t bytes) {
  if (in.get<std::uint32_t>() != magic) return wrong(what, bytes);
  const auto version = in.get<std::uint16_t>();
  if (in.failed()) return wrong(what, bytes);
  if (version != kVersion)
    return {Code::invalid, format("a {} of version {}, this process knows {}; run the same Tutti everywhere", what,
                                  version, kVersion)};
  return {};
}

}  // namespace

std::vector<std::byte> encode(const Address& address) {
  Writer out;
  out.put(kAddressMagic);
  out.put(kVersion);
  put_text(out, address.kind, kKindBytesMax);
  put_bytes(out, address.control);
  return out.take();
}

Result<Address> parse_address(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  TUTTI_RETURN_IF_ERROR(check_beginning(in, kAddressMagic, "address of a process on a fabric", bytes.size()));
  Address address;
  address.kind = get_text(in, kKindBytesMax);
  address.control = get_bytes(in, kTransportAddressBytesMax);
  if (!in.is_at_end()) return wrong("address of a process on a fabric", bytes.size());
  return address;
}

std::vector<std::byte> encode(const Greeting& greeting) {
  Writer out;
  out.put(kGreetingMagic);
  out.put(kVersion);
  out.put(greeting.key);
  out.put(greeting.small_bytes_max);
  out.put(greeting.large_bytes_max);
  put_text(out, greeting.name, kNameBytesMax);
  put_text(out, greeting.kind, kKindBytesMax);
  put_bytes(out, greeting.port);
  return out.take();
}

Result<Greeting> parse_greeting(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  TUTTI_RETURN_IF_ERROR(check_beginning(in, kGreetingMagic, "greeting of a fabric", bytes.size()));
  Greeting greeting;
  greeting.key = in.get<std::uint64_t>();
  greeting.small_bytes_max = in.get<std::uint64_t>();
  greeting.large_bytes_max = in.get<std::uint64_t>();
  greeting.name = get_text(in, kNameBytesMax);
  greeting.kind = get_text(in, kKindBytesMax);
  greeting.port = get_bytes(in, kPortAddressBytesMax);
  if (!in.is_at_end() || greeting.small_bytes_max > greeting.large_bytes_max ||
      greeting.large_bytes_max > kBodyBytesLimit) {
    return wrong("greeting of a fabric", bytes.size());
  }
  return greeting;
}

std::vector<std::byte> encode(const Farewell& farewell) {
  Writer out;
  out.put(kFarewellMagic);
  out.put(kVersion);
  out.put(static_cast<std::uint8_t>(farewell.is_cut_off ? 1 : 0));
  put_text(out, farewell.reason, kReasonBytesMax);
  return out.take();
}

bool is_farewell(std::span<const std::byte> bytes) {
  return ByteReader(bytes).get<std::uint32_t>() == kFarewellMagic;
}

Result<Farewell> parse_farewell(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  TUTTI_RETURN_IF_ERROR(check_beginning(in, kFarewellMagic, "farewell of a fabric", bytes.size()));
  Farewell farewell;
  const auto is_cut_off = in.get<std::uint8_t>();
  farewell.is_cut_off = is_cut_off == 1;
  farewell.reason = get_text(in, kReasonBytesMax);
  if (!in.is_at_end() || is_cut_off > 1) return wrong("farewell of a fabric", bytes.size());
  return farewell;
}

}  // namespace tutti::fabric
