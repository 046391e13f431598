#include "transports/tcp/greeting.h"

#include "src/base/format.h"
#include "transports/tcp/address.h"
#include "transports/tcp/codec.h"

namespace tutti::tcp {

namespace {
constexpr std::uint32_t kMagic = 0x47435454;  // "TTCG"
constexpr std::uint16_t kVersion = 1;
}  // namespace

std::vector<std::byte> encode(const Greeting& greeting) {
  Writer out;
  out.put(kMagic);
  out.put(kVersion);
  out.put(static_cast<std::uint16_t>(greeting.kind));
  out.put(static_cast<std::uint32_t>(greeting.reason));
  out.put(greeting.from.high);
  out.put(greeting.from.low);
  out.put(greeting.to.high);
  out.put(greeting.to.low);
  out.put(greeting.lane);
  out.put(greeting.pid);
  out.put(greeting.frame_bytes_max);
  out.put(greeting.generation);
  put_text(out, greeting.host_name, kHostNameBytesMax);
  auto bytes = out.take();
  bytes.resize(kGreetingBytes);
  return bytes;
}

Result<Greeting> parse_greeting(std::span<const std::byte> bytes, const std::string& peer) {
  ByteReader in(bytes);
  if (in.get<std::uint32_t>() != kMagic) {
    return Status(Code::invalid, format("{} sent no greeting of the tcp transport; connection closed", peer));
  }
  if (const auto version = in.get<std::uint16_t>(); version != kVersion) {
    return Status(Code::invalid,
                  format("{} speaks version {} of the tcp transport, this process version {}; connection "
                         "closed. Run the same Tutti everywhere",
                         peer, version, kVersion));
  }
  Greeting greeting;
  const auto kind = in.get<std::uint16_t>();
  const auto reason = in.get<std::uint32_t>();
  greeting.from.high = in.get<std::uint64_t>();
  greeting.from.low = in.get<std::uint64_t>();
  greeting.to.high = in.get<std::uint64_t>();
  greeting.to.low = in.get<std::uint64_t>();
  greeting.lane = in.get<std::uint32_t>();
  greeting.pid = in.get<std::uint32_t>();
  greeting.frame_bytes_max = in.get<std::uint64_t>();
  greeting.generation = in.get<std::uint64_t>();
  greeting.host_name = get_text(in, kHostNameBytesMax);
  if (in.failed() || kind < 1 || kind > 4 || reason > 4) {
    return Status(Code::invalid,
                  format("{} sent a greeting of kind {} with reason {}, which mean nothing; connection "
                         "closed",
                         peer, kind, reason));
  }
  greeting.kind = static_cast<Greeting::Kind>(kind);
  greeting.reason = static_cast<Greeting::Reason>(reason);
  return greeting;
}

}  // namespace tutti::tcp
