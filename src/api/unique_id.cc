#include "src/api/unique_id.h"

#include <cstring>

#include "src/base/format.h"

namespace tutti {

namespace {

// mark (8) | id (16) | secret (32) | length of the address (1) | address | zeros | checksum (8)
constexpr char kMark[8] = {'t', 'u', 't', 't', 'i', 'i', 'd', '1'};
constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kAddressAt = 8 + 16 + kSecretBytes + 1;
constexpr std::size_t kChecksumAt = sizeof(tutti_unique_id) - 8;
constexpr std::size_t kAddressMax = kChecksumAt - kAddressAt;

std::uint64_t checksum(const unsigned char* bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (std::size_t i = 0; i < kChecksumAt; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
  return hash;
}

}  // namespace

Result<tutti_unique_id> UniqueId::encode() const {
  if (store.size() > kAddressMax || secret.size() != kSecretBytes) {
    return Status(Code::invalid, format("the rendezvous address {} has {} characters; the most is {}", store,
                                        store.size(), kAddressMax));
  }
  tutti_unique_id out = {};
  std::memcpy(out.bytes, kMark, sizeof kMark);
  std::memcpy(out.bytes + 8, &id.high, 8);
  std::memcpy(out.bytes + 16, &id.low, 8);
  std::memcpy(out.bytes + 24, secret.data(), kSecretBytes);
  out.bytes[kAddressAt - 1] = static_cast<unsigned char>(store.size());
  std::memcpy(out.bytes + kAddressAt, store.data(), store.size());
  const std::uint64_t sum = checksum(out.bytes);
  std::memcpy(out.bytes + kChecksumAt, &sum, sizeof sum);
  return out;
}

Result<UniqueId> UniqueId::decode(const tutti_unique_id& in) {
  std::uint64_t sum = 0;
  std::memcpy(&sum, in.bytes + kChecksumAt, sizeof sum);
  const std::size_t length = in.bytes[kAddressAt - 1];
  if (std::memcmp(in.bytes, kMark, sizeof kMark) != 0 || sum != checksum(in.bytes) || length > kAddressMax) {
    return Status(Code::invalid,
                  "the unique id is not one that tutti_unique_id_create made, or it was damaged on its way here");
  }
  UniqueId out;
  std::memcpy(&out.id.high, in.bytes + 8, 8);
  std::memcpy(&out.id.low, in.bytes + 16, 8);
  out.secret.assign(reinterpret_cast<const char*>(in.bytes) + 24, kSecretBytes);
  out.store.assign(reinterpret_cast<const char*>(in.bytes) + kAddressAt, length);
  return out;
}

}  // namespace tutti
