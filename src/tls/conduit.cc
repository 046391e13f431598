#include "src/tls/conduit.h"

namespace tutti {

ssize_t receive_from(Conduit conduit, std::span<iovec> parts) {
  if (conduit.tls != nullptr) return conduit.tls->receive(conduit.fd, parts);
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  ssize_t got = -1;
  do {
    got = parts.size() == 1 ? recv(conduit.fd, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT)
                            : recvmsg(conduit.fd, &message, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  return got;
}

ssize_t send_to(Conduit conduit, std::span<iovec> parts) {
  if (conduit.tls != nullptr) return conduit.tls->send(conduit.fd, parts);
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  ssize_t sent = -1;
  do {
    sent = parts.size() == 1 ? ::send(conduit.fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                             : sendmsg(conduit.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

}  // namespace tutti
