// What comes from elsewhere before there are links: a process's address, the invitation around it, a unique id.
// Either it is refused with a sentence, or what was read is written back as the same value.
#include <algorithm>

#include "src/api/invitation.h"
#include "src/api/unique_id.h"
#include "src/engine/address.h"
#include "tests/fuzz/check.h"

using tutti::Invitation;
using tutti::ProcessAddress;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto address = ProcessAddress::decode(bytes);
  if (address) {
    const auto again = ProcessAddress::decode(address->encode());
    FUZZ_CHECK(again.is_ok());
    FUZZ_CHECK(again->process == address->process && again->host_name == address->host_name);
    FUZZ_CHECK(again->reaches.size() == address->reaches.size());
    FUZZ_CHECK(again->encode() == address->encode());
    FUZZ_CHECK(address->reaches.size() <= 16);
  } else {
    FUZZ_CHECK(!address.status().text().empty());
  }
  const auto invitation = Invitation::decode(bytes);
  if (invitation) {
    const auto again = Invitation::decode(invitation->encode());
    FUZZ_CHECK(again.is_ok() && again->encode() == invitation->encode());
  } else {
    FUZZ_CHECK(!invitation.status().text().empty());
  }
  tutti_unique_id id = {};
  std::copy_n(data, std::min(size, sizeof id.bytes), id.bytes);
  FUZZ_CHECK(!tutti::UniqueId::decode(id).is_ok());  // nobody hits the checksum by chance
  tutti::UniqueId unique;
  unique.secret.assign(32, 's');
  unique.store.assign(data, data + size);
  const auto encoded = unique.encode();
  FUZZ_CHECK(encoded.is_ok() || !encoded.status().text().empty());
  if (encoded) FUZZ_CHECK(tutti::UniqueId::decode(*encoded)->store == unique.store);
  return 0;
}
