#include "src/api/invitation.h"

#include <algorithm>
#include <cstring>

#include "src/base/format.h"

namespace tutti {

namespace {
constexpr std::size_t kFixedBytes = 8 + 8 + 2;
}  // namespace

std::vector<std::byte> Invitation::encode() const {
  const auto length = static_cast<std::uint16_t>(plan_settings.size());
  const std::vector<std::byte> reach = address.encode();
  std::vector<std::byte> out(kFixedBytes + length + reach.size());
  std::memcpy(out.data(), &nonce, 8);
  std::memcpy(out.data() + 8, &board_offset, 8);
  std::memcpy(out.data() + 16, &length, 2);
  std::memcpy(out.data() + kFixedBytes, plan_settings.data(), length);
  std::copy(reach.begin(), reach.end(), out.begin() + static_cast<std::ptrdiff_t>(kFixedBytes) + length);
  return out;
}

Result<Invitation> Invitation::decode(std::span<const std::byte> bytes) {
  Invitation out;
  std::uint16_t length = 0;
  if (bytes.size() >= kFixedBytes) std::memcpy(&length, bytes.data() + 16, 2);
  if (bytes.size() < kFixedBytes + length) {
    return Status(
        Code::invalid,
        format("{} bytes are too few for a rank's invitation; is it another version of Tutti?", bytes.size()));
  }
  std::memcpy(&out.nonce, bytes.data(), 8);
  std::memcpy(&out.board_offset, bytes.data() + 8, 8);
  out.plan_settings.assign(reinterpret_cast<const char*>(bytes.data()) + kFixedBytes, length);
  Result<ProcessAddress> address = ProcessAddress::decode(bytes.subspan(kFixedBytes + length));
  if (!address) return address.status();
  out.address = std::move(*address);
  return out;
}

std::string plan_settings_of(const Settings& settings) {
  std::string transports;
  for (const std::string& name : settings.transports) transports += (transports.empty() ? "" : ",") + name;
  return format(
      "TUTTI_SEGMENT_BYTES={} TUTTI_EAGER_BYTES={} TUTTI_SHM_BOARD_BYTES={} TUTTI_ALGORITHM={} TUTTI_TRANSPORTS={} "
      "TUTTI_ELASTIC={} TUTTI_ELASTIC_MINIMUM={} TUTTI_ELASTIC_SLOTS={}",
      settings.segment_bytes, settings.eager_bytes, settings.shm_board_bytes, settings.algorithm, transports,
      settings.elastic == Elastic::off  ? "off"
      : settings.elastic == Elastic::on ? "on"
                                        : "step",
      settings.elastic_minimum, settings.elastic_slots ? "on" : "off");
}

}  // namespace tutti
