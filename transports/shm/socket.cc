#include "transports/shm/socket.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/format.h"
#include "src/memory/shared_regions.h"

namespace tutti::shm {

void Message::set_text(std::string_view value) {
  text_bytes = static_cast<std::uint32_t>(std::min(value.size(), text.size()));
  std::memcpy(text.data(), value.data(), text_bytes);
}

std::string_view Message::get_text() const { return {text.data(), std::min<std::size_t>(text_bytes, text.size())}; }

Result<Descriptor> new_socket() {
  Descriptor socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return resource_error(errno, "create a unix socket");
  return socket;
}

Result<Descriptor> listen_socket(std::string& name) {
  auto socket = new_socket();
  if (!socket) return socket.status();
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // Binding to the bare family asks the kernel for an abstract name that nobody has.
  if (bind(socket->get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) != 0) {
    return Status::from_errno(errno, "bind a unix socket");
  }
  socklen_t length = sizeof address;
  if (getsockname(socket->get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return Status::from_errno(errno, "ask for the name of a unix socket");
  }
  const std::size_t prefix = offsetof(sockaddr_un, sun_path) + 1;
  if (length <= prefix || address.sun_path[0] != '\0') {
    return Status(Code::system, "the kernel gave no abstract name to a unix socket");
  }
  name.assign(address.sun_path + 1, length - prefix);
  if (listen(socket->get(), SOMAXCONN) != 0) return Status::from_errno(errno, "listen on a unix socket");
  return socket;
}

int connect_socket(const Descriptor& socket, std::string_view name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (name.size() + 1 > sizeof address.sun_path) return EINVAL;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 ? 0 : errno;
}

int send_message(const Descriptor& socket, const Message& message, std::span<const int> descriptors) {
  iovec data{const_cast<Message*>(&message), sizeof message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))> control{};
  msghdr header = {};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  }
  for (;;) {
    if (sendmsg(socket.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

namespace {

// What recvmsg(2) says, once.
Received look_for_message(const Descriptor& socket) {
  Received received;
  iovec data{&received.message, sizeof received.message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))> control{};
  msghdr header = {};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  // A peer that closes with something unread leaves ECONNRESET in front of what it sent before; it is reported once.
  ssize_t got = -1;
  for (int resets = 0; got < 0 && resets < 2;) {
    got = recvmsg(socket.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno != EINTR && errno != ECONNRESET) break;
    if (got < 0 && errno == ECONNRESET) ++resets;
  }
  if (got < 0) {
    received.state = errno == EAGAIN ? Received::State::nothing : Received::State::ended;
    return received;
  }
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(part) + i * sizeof(int), sizeof number);
      received.descriptors.emplace_back(number);
    }
  }
  if (got == 0) {
    received.state = Received::State::ended;
  } else if (static_cast<std::size_t>(got) != sizeof(Message) || (header.msg_flags & MSG_TRUNC) != 0 ||
             received.message.version != kMessageVersion) {
    received.state = Received::State::malformed;
  } else if ((header.msg_flags & MSG_CTRUNC) != 0) {
    received.state = Received::State::descriptors_lost;
  } else {
    received.state = Received::State::message;
  }
  return received;
}

}  // namespace

// The kernel looks for a message first and for the peer's end afterwards, not for both at once: a peer that sends its
// last message and closes in between is reported as ended, and the message lies there unread. Nothing can be sent
// after the end, so a second look finds whatever the first one missed.
Received receive_message(const Descriptor& socket) {
  Received received = look_for_message(socket);
  if (received.state != Received::State::ended) return received;
  received = look_for_message(socket);
  // No end lasts for one look: what looked like it was a message of no bytes.
  if (received.state == Received::State::nothing) received.state = Received::State::malformed;
  return received;
}

bool has_ended(const Descriptor& socket) {
  char byte = 0;
  const ssize_t got = recv(socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

Result<Credentials> credentials_of_peer(const Descriptor& socket) {
  ucred raw = {};
  socklen_t length = sizeof raw;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &raw, &length) != 0) {
    return Status::from_errno(errno, "ask who is at the other end of a unix socket (SO_PEERCRED)");
  }
  return Credentials{raw.pid, raw.uid};
}

}  // namespace tutti::shm
