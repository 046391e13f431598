#include "transports/tcp/socket.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "src/base/format.h"

namespace tutti::tcp {

namespace {

void set_option(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

std::optional<tcp_info> read_info(int fd) {
  tcp_info info{};
  socklen_t bytes = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return std::nullopt;
  return info;
}

}  // namespace

void Descriptor::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

std::string describe_errno(int error) {
  const char* const words = strerrordesc_np(error);
  const char* const symbol = strerrorname_np(error);
  std::string text =
      format("{} ({}, {})", words != nullptr ? words : "error", symbol != nullptr ? symbol : "errno", error);
  rlimit limit{};
  if (error == EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    text += format("; this process may open {} files (ulimit -n)", limit.rlim_cur);
  } else if (error == ENFILE) {
    text += "; this host's limit on open files is reached (fs.file-max)";
  }
  return text;
}

Descriptor open_socket(bool v6) {
  return Descriptor(socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
}

void tune(int fd, const SocketTuning& tuning) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (tuning.buffer_bytes > 0) {
    const int bytes = static_cast<int>(std::min<std::size_t>(tuning.buffer_bytes, 1u << 30));
    set_option(fd, SOL_SOCKET, SO_SNDBUF, bytes);
    set_option(fd, SOL_SOCKET, SO_RCVBUF, bytes);
  }
  // TCP_USER_TIMEOUT is left alone: it also ends connections to peers that are alive and merely do not read.
  if (tuning.silence_limit.count() > 0) {
    const auto third = std::chrono::duration_cast<std::chrono::seconds>(tuning.silence_limit / 3).count();
    const int seconds = static_cast<int>(std::clamp<std::int64_t>(third, 1, 3600));
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
    // More than check_silence waits for: the kernel's own end is a reset, which the peer would take for our
    // process's.
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 9);
  }
}

void tune_for_this_host(int fd) {
  for (const std::string_view control : {"cubic", "reno"}) {  // the second is in every kernel, and anybody may use it
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, control.data(), static_cast<socklen_t>(control.size())) == 0)
      return;
  }
}

int start_connect(int fd, const IpAddress& source, const Endpoint& destination) {
  set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  const SocketAddress from = to_socket_address({source, 0});
  if (bind(fd, from.get(), from.bytes) != 0) return errno;
  const SocketAddress to = to_socket_address(destination);
  return connect(fd, to.get(), to.bytes) == 0 ? 0 : errno;
}

std::optional<int> connect_outcome(int fd) {
  pollfd state{fd, POLLOUT, 0};
  if (::poll(&state, 1, 0) == 0) return std::nullopt;
  int error = 0;
  socklen_t bytes = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) return errno;
  if (error != 0) return error;
  // A port that listens to nobody may be given to the very socket that dials it, which then talks to itself.
  SocketAddress peer;
  if (getpeername(fd, peer.get(), &peer.bytes) != 0) return errno;
  return from_socket_address(peer.get()) == local_endpoint(fd) ? ECONNREFUSED : 0;
}

Endpoint local_endpoint(int fd) {
  SocketAddress address;
  if (getsockname(fd, address.get(), &address.bytes) != 0) return {};
  return from_socket_address(address.get());
}

Silence measure_silence(int fd) {
  const auto info = read_info(fd);
  if (!info) return {};
  return {std::chrono::milliseconds(info->tcpi_last_ack_recv), std::chrono::milliseconds(info->tcpi_last_data_sent),
          info->tcpi_probes, info->tcpi_retransmits};
}

Nanoseconds round_trip(int fd) {
  const auto info = read_info(fd);
  return info ? std::chrono::microseconds(info->tcpi_min_rtt) : Nanoseconds::max();
}

std::size_t unacknowledged_bytes(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

}  // namespace tutti::tcp
