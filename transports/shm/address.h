// The address of a process, as others get it from the rendezvous: opaque to them, these facts to us.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/base/hmac.h"
#include "src/base/ids.h"

namespace tutti::shm {

struct Address {
  ProcessId process;
  HostId host;
  std::uint32_t user = 0;  // effective user id
  std::optional<SecretKey>
      key;                  // the process's own, where it gives one away with its address (ShmOptions::publish_key)
  std::string socket_name;  // abstract unix socket, without the leading zero byte
};

std::vector<std::byte> encode(const Address& address);
// Nothing where the bytes are no address of this transport.
std::optional<Address> decode(std::span<const std::byte> bytes);

}  // namespace tutti::shm
