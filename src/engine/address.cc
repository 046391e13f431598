#include "src/engine/address.h"

#include <cstring>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::uint32_t kMagic = 0x31415454;  // "TTA1"
constexpr std::size_t kTextMax = 255;
constexpr std::size_t kReachesMax = 16;
constexpr std::size_t kAddressMax = 4096;

}  // namespace

const ProcessAddress::Reach* ProcessAddress::find(std::string_view transport) const {
  for (const Reach& reach : reaches) {
    if (reach.transport == transport) return &reach;
  }
  return nullptr;
}

std::string ProcessAddress::describe() const { return format("{} pid {}", host_name, pid); }

std::vector<std::byte> ProcessAddress::encode() const {
  ByteWriter<std::vector<std::byte>> out;
  out.put(kMagic);
  for (const std::uint64_t word : {process.high, process.low, host.high, host.low}) out.put(word);
  out.put(pid);
  out.put(pid_namespace);
  out.put(cores);
  out.put(lanes);
  out.put(std::uint8_t{has_segment});
  out.put_counted<std::uint16_t>(std::string_view(host_name).substr(0, kTextMax));
  out.put(static_cast<std::uint8_t>(reaches.size()));
  for (const Reach& reach : reaches) {
    out.put_counted<std::uint16_t>(reach.transport);
    out.put_counted<std::uint16_t>(
        std::string_view(reinterpret_cast<const char*>(reach.address.data()), reach.address.size()));
  }
  return out.take();
}

Result<ProcessAddress> ProcessAddress::decode(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  ProcessAddress address;
  if (in.get<std::uint32_t>() != kMagic)
    return Status(Code::invalid, "a process address does not begin with its mark; another version of Tutti?");
  address.process.high = in.get<std::uint64_t>();
  address.process.low = in.get<std::uint64_t>();
  address.host.high = in.get<std::uint64_t>();
  address.host.low = in.get<std::uint64_t>();
  address.pid = in.get<std::uint32_t>();
  address.pid_namespace = in.get<std::uint64_t>();
  address.cores = in.get<std::uint32_t>();
  address.lanes = in.get<std::uint32_t>();
  address.has_segment = in.get<std::uint8_t>() != 0;
  address.host_name = in.get_counted<std::uint16_t>(kTextMax);
  const std::size_t reaches = in.get<std::uint8_t>();
  if (reaches > kReachesMax)
    return Status(Code::invalid,
                  format("a process address lists {} transports; the most is {}", reaches, kReachesMax));
  for (std::size_t i = 0; i < reaches && !in.failed(); ++i) {
    Reach reach;
    reach.transport = in.get_counted<std::uint16_t>(kTextMax);
    const std::size_t length = in.get<std::uint16_t>();
    if (length > kAddressMax) in.fail();
    const auto blob = in.take(in.failed() ? 0 : length);
    reach.address.assign(blob.begin(), blob.end());
    address.reaches.push_back(std::move(reach));
  }
  if (in.failed())
    return Status(Code::invalid, format("a process address of {} bytes ends too early or is damaged", bytes.size()));
  return address;
}

}  // namespace tutti
