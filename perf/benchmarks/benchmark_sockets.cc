// What each way of moving bytes through a TCP connection of this host costs, so that the tcp transport uses those
// that pay: two threads, each pinned to a core, exchange bytes in both directions at once (what every collective
// does), or play an 8-byte message to and fro. The ways take turns, and each row is the median of all repetitions and
// its ratio to the plain one. Usage: benchmark_sockets [repetitions]
//
// Bytes go in pieces of 256 KiB from and to memory of `bytes`, which lies in caches or not as its size says.
#include <time.h>  // linux/errqueue.h needs it

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef TUTTI_HAS_LIBURING
#include <liburing.h>
#endif

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kPieceBytes = std::size_t{256} << 10;
constexpr int kRounds = 5000;
constexpr std::size_t kWordBytes = 8;

enum class Means { calls, zero_copy, ring };

struct Way {
  const char* name;
  Means means = Means::calls;
  int buffer_bytes = 0;              // 0: the kernel's own choice
  const char* congestion = nullptr;  // nullptr: the system's own choice
  int busy_poll_us = 0;
};

constexpr Way kWays[] = {
    {.name = "plain send and recv"},
    {.name = "buffers of 256 KiB", .buffer_bytes = 256 << 10},
    {.name = "buffers of 1 MiB", .buffer_bytes = 1 << 20},
    {.name = "buffers of 4 MiB", .buffer_bytes = 4 << 20},
    {.name = "congestion control cubic", .congestion = "cubic"},
    {.name = "congestion control reno", .congestion = "reno"},
    {.name = "congestion control bbr", .congestion = "bbr"},
    {.name = "SO_BUSY_POLL of 50 us", .busy_poll_us = 50},
    {.name = "MSG_ZEROCOPY", .means = Means::zero_copy},
#ifdef TUTTI_HAS_LIBURING
    {.name = "io_uring", .means = Means::ring},
#endif
};
constexpr std::size_t kWayCount = std::size(kWays);

constexpr std::size_t kSizes[] = {64u << 10, 1u << 20, 16u << 20};

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "benchmark_sockets: %s: %s (%d)\n", why.c_str(), std::strerror(errno), errno);
  std::_Exit(1);
}

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// False: this kernel does not have the way.
bool prepare(int fd, const Way& way) {
  const int on = 1;
  bool has = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
  if (way.buffer_bytes > 0) {
    has = has && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &way.buffer_bytes, sizeof way.buffer_bytes) == 0 &&
          setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &way.buffer_bytes, sizeof way.buffer_bytes) == 0;
  }
  if (way.congestion != nullptr) {
    const auto length = static_cast<socklen_t>(std::strlen(way.congestion));
    has = has && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, way.congestion, length) == 0;
  }
  if (way.busy_poll_us > 0) {
    has = has && setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &way.busy_poll_us, sizeof way.busy_poll_us) == 0;
  }
  if (way.means == Means::zero_copy) has = has && setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0;
  return has;
}

// Two ends of a connection, set as the way says; ends[0] is -1 where this kernel does not have it.
struct Connection {
  explicit Connection(const Way& way) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    auto* const plain = reinterpret_cast<sockaddr*>(&address);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    const bool has = prepare(listener, way) && prepare(ends[0], way);  // what is accepted inherits
    if (has && (bind(listener, plain, bytes) != 0 || listen(listener, 1) != 0 ||
                getsockname(listener, plain, &bytes) != 0 || connect(ends[0], plain, bytes) != 0)) {
      give_up("no connection over 127.0.0.1");
    }
    if (has) ends[1] = accept(listener, nullptr, nullptr);
    if (has && (ends[1] < 0 || !prepare(ends[1], way))) give_up("no connection over 127.0.0.1");
    close(listener);
    if (has) return;
    close(ends[0]);
    ends[0] = -1;
  }
  ~Connection() {
    for (const int end : ends) {
      if (end >= 0) close(end);
    }
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int ends[2] = {-1, -1};
};

// One thread's end.
class End {
 public:
  End(int fd, const Way& way, std::size_t bytes) : fd_(fd), way_(way), out_(bytes), in_(bytes) {
#ifdef TUTTI_HAS_LIBURING
    if (way.means == Means::ring && io_uring_queue_init(8, &ring_, 0) != 0) give_up("no io_uring");
#endif
  }
  ~End() {
#ifdef TUTTI_HAS_LIBURING
    if (way_.means == Means::ring) io_uring_queue_exit(&ring_);
#endif
  }
  End(const End&) = delete;
  End& operator=(const End&) = delete;

  // Sends and receives all of the memory.
  void exchange() {
#ifdef TUTTI_HAS_LIBURING
    if (way_.means == Means::ring) return exchange_by_ring();
#endif
    std::size_t sent = 0;
    std::size_t got = 0;
    while (sent < out_.size() || got < in_.size()) {
      if (sent < out_.size()) sent += send_piece(out_.data() + sent, std::min(kPieceBytes, out_.size() - sent));
      if (got < in_.size()) got += receive_piece(in_.data() + got, std::min(kPieceBytes, in_.size() - got));
      if (way_.means == Means::zero_copy) reap();
    }
    while (unreaped_ > 0) reap();
  }

  void send_word() {
    char word[kWordBytes] = {};
    if (::send(fd_, word, sizeof word, MSG_NOSIGNAL) != sizeof word) give_up("send");
  }

  void receive_word() {
    char word[kWordBytes];
#ifdef TUTTI_HAS_LIBURING
    if (way_.means == Means::ring) {
      io_uring_prep_recv(io_uring_get_sqe(&ring_), fd_, word, sizeof word, MSG_WAITALL);
      io_uring_submit(&ring_);
      take_completion();
      return;
    }
#endif
    while (recv(fd_, word, sizeof word, MSG_DONTWAIT) != sizeof word) {
    }
  }

 private:
  std::size_t send_piece(const char* from, std::size_t bytes) {
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (way_.means == Means::zero_copy ? MSG_ZEROCOPY : 0);
    const ssize_t sent = ::send(fd_, from, bytes, flags);
    if (sent < 0 && errno != EAGAIN && errno != ENOBUFS) give_up("send");
    if (sent > 0 && way_.means == Means::zero_copy) ++unreaped_;
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }

  std::size_t receive_piece(char* to, std::size_t bytes) {
    const ssize_t got = recv(fd_, to, bytes, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) give_up("recv");
    return got < 0 ? 0 : static_cast<std::size_t>(got);
  }

  // The kernel says which pieces it has no more use for.
  void reap() {
    char control[256];
    msghdr message{};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (recvmsg(fd_, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      sock_extended_err range;
      std::memcpy(&range, CMSG_DATA(header), sizeof range);
      if (range.ee_origin == SO_EE_ORIGIN_ZEROCOPY) unreaped_ -= range.ee_data - range.ee_info + 1;
    }
  }

#ifdef TUTTI_HAS_LIBURING
  void exchange_by_ring() {
    std::size_t sent = 0;
    std::size_t got = 0;
    bool sends = false;
    bool receives = false;
    while (sent < out_.size() || got < in_.size()) {
      if (!sends && sent < out_.size()) {
        io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
        io_uring_prep_send(entry, fd_, out_.data() + sent, std::min(kPieceBytes, out_.size() - sent), MSG_NOSIGNAL);
        io_uring_sqe_set_data64(entry, 1);
        sends = true;
      }
      if (!receives && got < in_.size()) {
        io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
        io_uring_prep_recv(entry, fd_, in_.data() + got, std::min(kPieceBytes, in_.size() - got), 0);
        io_uring_sqe_set_data64(entry, 2);
        receives = true;
      }
      io_uring_submit(&ring_);
      const auto [which, bytes] = take_completion();
      (which == 1 ? sent : got) += bytes;
      (which == 1 ? sends : receives) = false;
    }
  }

  struct Completion {
    std::uint64_t which;
    std::size_t bytes;
  };

  Completion take_completion() {
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) != 0) io_uring_get_events(&ring_);
    if (completion->res <= 0) give_up("io_uring: a send or receive ended with " + std::to_string(completion->res));
    const Completion result{io_uring_cqe_get_data64(completion), static_cast<std::size_t>(completion->res)};
    io_uring_cqe_seen(&ring_, completion);
    return result;
  }

  io_uring ring_{};
#endif

  const int fd_;
  const Way& way_;
  std::vector<char> out_;
  std::vector<char> in_;
  std::uint32_t unreaped_ = 0;
};

void pin(unsigned core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core % std::max(1u, std::thread::hardware_concurrency()), &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

// Microseconds of one exchange, or of half a round trip where bytes is 0; negative: this kernel does not have the
// way.
double measure(const Way& way, std::size_t bytes) {
  const Connection connection(way);
  if (connection.ends[0] < 0) return -1;
  std::barrier<> gate(2);
  double time_us = 0;
  const auto play = [&](unsigned side) {
    pin(side);
    End end(connection.ends[side], way, bytes);
    const int count = bytes == 0 ? kRounds : static_cast<int>(std::max<std::size_t>(3, (128u << 20) / bytes));
    for (const int rounds : {count / 4 + 1, count}) {  // the first to warm up
      gate.arrive_and_wait();
      const double begin = now_us();
      for (int i = 0; i < rounds; ++i) {
        if (bytes > 0) {
          end.exchange();
          continue;
        }
        if (side == 0) end.send_word();
        end.receive_word();
        if (side == 1) end.send_word();
      }
      gate.arrive_and_wait();
      if (side == 0) time_us = (now_us() - begin) / rounds / (bytes == 0 ? 2 : 1);
    }
  };
  std::thread other(play, 1);
  play(0);
  other.join();
  return time_us;
}

void report(const char* what, std::size_t bytes, int repetitions) {
  std::vector<double> times[kWayCount];
  for (int i = 0; i < repetitions; ++i) {
    for (std::size_t way = 0; way < kWayCount; ++way) times[way].push_back(measure(kWays[way], bytes));
  }
  std::printf("\n%s\n%-28s %10s %10s %10s\n", what, "", "median us", "best us", "to plain");
  const double plain = median(times[0]);
  for (std::size_t way = 0; way < kWayCount; ++way) {
    const double typical = median(times[way]);
    if (typical < 0) {
      std::printf("%-28s this kernel does not have it\n", kWays[way].name);
      continue;
    }
    std::printf("%-28s %10.2f %10.2f %10.2f\n", kWays[way].name, typical,
                *std::min_element(times[way].begin(), times[way].end()), typical / plain);
  }
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::atoi(argv[1]) : 5;
  if (repetitions < 1) {
    std::fprintf(stderr, "benchmark_sockets: \"%s\" is not a number of repetitions; usage: benchmark_sockets [5]\n",
                 argv[1]);
    return 2;
  }
  report("8 bytes, one way", 0, repetitions);
  for (const std::size_t bytes : kSizes) {
    report((std::to_string(bytes >> 10) + " KiB, both ways at once").c_str(), bytes, repetitions);
  }
#ifndef TUTTI_HAS_LIBURING
  std::puts("\nio_uring: not built in (install liburing-dev and configure again)");
#endif
  return 0;
}
