#include "transports/tcp/listener.h"

#include <netinet/in.h>

#include <cerrno>

#include "src/base/format.h"

namespace tutti::tcp {

namespace {

constexpr int kBacklog = 1024;

// An all-zero address, so that whichever NIC a peer knows works.
int bind_and_listen(int fd, bool v6, std::uint16_t port) {
  const int on = 1;
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (v6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  const SocketAddress any = to_socket_address({IpAddress{.is_v6 = v6}, port});
  if (bind(fd, any.get(), any.bytes) != 0) return errno;
  return listen(fd, kBacklog) == 0 ? 0 : errno;
}

}  // namespace

Listener::Listener(Descriptor descriptor, bool has_ipv6)
    : descriptor_(std::move(descriptor)), port_(local_endpoint(descriptor_.get()).port), has_ipv6_(has_ipv6) {}

Result<Listener> Listener::open(std::uint16_t first, std::uint16_t last) {
  int error = 0;
  for (const bool v6 : {true, false}) {
    for (std::uint32_t port = first; port <= last; ++port) {
      Descriptor descriptor = open_socket(v6);
      error = descriptor ? bind_and_listen(descriptor.get(), v6, static_cast<std::uint16_t>(port)) : errno;
      if (error == 0) return Listener(std::move(descriptor), v6);
      if (error != EADDRINUSE && error != EACCES) break;
    }
    if (error == EADDRINUSE || error == EMFILE || error == ENFILE) break;  // IPv4 would fare no better
  }
  return Status(Code::system,
                format("tcp: cannot listen on a port of {}-{}: {}. Choose another range, or free a port", first, last,
                       describe_errno(error)));
}

Listener::Accepted Listener::accept() const {
  SocketAddress remote;
  Descriptor descriptor(accept4(descriptor_.get(), remote.get(), &remote.bytes, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!descriptor) return {Descriptor(), {}, errno};
  return {std::move(descriptor), from_socket_address(remote.get()), 0};
}

}  // namespace tutti::tcp
