#include "src/membership/tcp_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "src/base/format.h"
#include "src/membership/name_service.h"

namespace tutti {

namespace {

constexpr Nanoseconds kLookUpToListen = std::chrono::seconds(5);  // one's own name is known near by

Result<Descriptor> open_listener(const addrinfo& where, const HostPort& shown, bool dual_stack) {
  const std::string context = format("listen at {}", to_string(shown));
  Descriptor fd(socket(where.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Status::from_errno(errno, context);
  const int on = 1;
  const int only_ipv6 = dual_stack ? 0 : 1;
  if (setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      (where.ai_family == AF_INET6 &&
       setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, sizeof only_ipv6) != 0) ||
      bind(fd.get(), where.ai_addr, where.ai_addrlen) != 0 || listen(fd.get(), SOMAXCONN) != 0) {
    return Status::from_errno(errno, context);
  }
  return fd;
}

addrinfo any_address(sockaddr_in6& six, sockaddr_in& four, std::uint16_t port, int family) {
  addrinfo where = {};
  where.ai_family = family;
  if (family == AF_INET6) {
    six = {};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_any;
    six.sin6_port = htons(port);
    where.ai_addr = reinterpret_cast<sockaddr*>(&six);
    where.ai_addrlen = sizeof six;
  } else {
    four = {};
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(INADDR_ANY);
    four.sin_port = htons(port);
    where.ai_addr = reinterpret_cast<sockaddr*>(&four);
    where.ai_addrlen = sizeof four;
  }
  return where;
}

// Starts a connection and waits for its outcome; returns the errno value, 0 for connected.
int finish_connect(int fd, const addrinfo& to, Instant deadline) {
  if (connect(fd, to.ai_addr, to.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  if (!wait_ready(fd, POLLOUT, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

}  // namespace

void Descriptor::reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

Result<HostPort> parse_host_port(std::string_view text, std::string_view whole) {
  const auto bad = [&] {
    return Status(Code::invalid, format("the address \"{}\" is malformed; expected tcp://HOST:PORT", whole));
  };
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  unsigned port = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || port == 0 || port > 65535)
    return bad();
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  if (host.empty() || host.find_first_of("/[] ") != std::string_view::npos) return bad();
  return HostPort{std::string(host), static_cast<std::uint16_t>(port)};
}

std::string to_string(const HostPort& address) {
  const bool brackets = address.host.find(':') != std::string::npos;
  return brackets ? format("[{}]:{}", address.host, address.port) : format("{}:{}", address.host, address.port);
}

std::string socket_address_text(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "?";
  HostPort shown;
  if (address->sa_family == AF_INET6) {
    const auto* const six = reinterpret_cast<const sockaddr_in6*>(address);
    if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
      inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], text, sizeof text);
    } else {
      inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
    }
    shown.port = ntohs(six->sin6_port);
  } else if (address->sa_family == AF_INET) {
    const auto* const four = reinterpret_cast<const sockaddr_in*>(address);
    inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
    shown.port = ntohs(four->sin_port);
  }
  shown.host = text;
  return to_string(shown);
}

Result<Descriptor> listen_at(const HostPort& address) {
  if (!address.host.empty()) {
    const auto list = look_up(address, AI_PASSIVE, monotonic_now() + kLookUpToListen);
    if (!list) return list.status();
    Result<Descriptor> last = Status(Code::system, format("host {} has no address", address.host));
    for (const addrinfo* where = list->get(); where; where = where->ai_next) {
      last = open_listener(*where, address, false);
      if (last) break;
    }
    return last;
  }
  sockaddr_in6 six;
  sockaddr_in four;
  const HostPort shown{"*", address.port};
  const bool has_ipv6 = static_cast<bool>(Descriptor(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  return open_listener(any_address(six, four, address.port, has_ipv6 ? AF_INET6 : AF_INET), shown, true);
}

Result<std::uint16_t> local_port(int fd) {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return Status::from_errno(errno, "ask for the port of the listener");
  }
  return address.ss_family == AF_INET6 ? ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port)
                                       : ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

Result<Descriptor> connect_once(const HostPort& address, Instant deadline) {
  const auto list = look_up(address, 0, deadline);
  if (!list) return list.status();
  Status last(Code::again, format("host {} has no address", address.host));
  for (const addrinfo* to = list->get(); to; to = to->ai_next) {
    Descriptor fd(socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
      if (errno == EAFNOSUPPORT) continue;
      return Status::from_errno(errno, "open a socket");
    }
    const int error = finish_connect(fd.get(), *to, deadline);
    if (error == 0) {
      tune_connection(fd.get());
      return fd;
    }
    const Status cause = Status::from_errno(error, format("connect to {}", socket_address_text(to->ai_addr)));
    last = Status(Code::again, cause.text());
  }
  return last;
}

void tune_connection(int fd) {
  // Best effort: the connection works without.
  const int on = 1;
  const int idle_seconds = 60;
  const int lost_milliseconds = 120'000;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost_milliseconds, sizeof lost_milliseconds);
}

bool wait_ready(int fd, short events, Instant deadline) {
  while (true) {
    const Instant now = monotonic_now();
    if (now >= deadline) return false;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(std::min<Nanoseconds>(deadline - now, std::chrono::hours(1)));
    pollfd entry = {fd, events, 0};
    const int ready = poll(&entry, 1, static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR && errno != EAGAIN) return true;  // the next call on fd reports it
  }
}

}  // namespace tutti
