// Conduit: a connected socket, with TLS on it or without. Reading and writing it is one call either way.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <span>

#include "src/tls/channel.h"

namespace tutti {

struct Conduit {
  Conduit(int descriptor, TlsChannel* channel = nullptr) : fd(descriptor), tls(channel) {}  // NOLINT: a socket is one
  int fd;
  TlsChannel* tls;

  bool has_unsent() const { return tls != nullptr && tls->has_unsent(); }
};

// As recvmsg and sendmsg with MSG_DONTWAIT, interrupted by no signal. EPROTO: see the channel's status.
ssize_t receive_from(Conduit conduit, std::span<iovec> parts);
ssize_t send_to(Conduit conduit, std::span<iovec> parts);
inline ssize_t receive_from(Conduit conduit, void* to, std::size_t bytes) {
  iovec part{to, bytes};
  return receive_from(conduit, {&part, 1});
}
inline ssize_t send_to(Conduit conduit, const void* from, std::size_t bytes) {
  iovec part{const_cast<void*>(from), bytes};
  return send_to(conduit, {&part, 1});
}

}  // namespace tutti
