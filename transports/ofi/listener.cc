#include "transports/ofi/listener.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <charconv>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

namespace tutti::ofi {

namespace {

constexpr suseconds_t kReadLimit_us = 1000;  // a request comes as one segment

bool listens_at(int socket, const sockaddr_storage& address, socklen_t bytes) {
  int is_listening = 0;
  socklen_t size = sizeof is_listening;
  if (getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) != 0 || is_listening == 0) return false;
  sockaddr_storage its{};
  size = sizeof its;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&its), &size) != 0 || its.ss_family != address.ss_family)
    return false;
  return size <= bytes && std::memcmp(&its, &address, size) == 0;
}

}  // namespace

void limit_reads_of_accepted(std::span<const std::byte> address) {
  sockaddr_storage wanted{};
  if (address.size() < sizeof(sockaddr_in) || address.size() > sizeof wanted) return;
  std::memcpy(&wanted, address.data(), address.size());
  if (wanted.ss_family != AF_INET && wanted.ss_family != AF_INET6) return;
  std::error_code error;
  std::filesystem::directory_iterator each("/proc/self/fd", error);
  for (; !error && each != std::filesystem::directory_iterator(); each.increment(error)) {
    const std::string name = each->path().filename();
    int descriptor = -1;
    std::from_chars(name.data(), name.data() + name.size(), descriptor);
    if (!listens_at(descriptor, wanted, static_cast<socklen_t>(address.size()))) continue;
    // What is accepted inherits it. libfabric itself makes a connection that it takes one that does not block.
    const timeval limit{.tv_sec = 0, .tv_usec = kReadLimit_us};
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
}

}  // namespace tutti::ofi
