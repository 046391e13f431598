#include "perf/limits/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <utility>

#include "perf/limits/machine.h"
#include "perf/limits/pair.h"

namespace tutti_limits {

namespace {

constexpr std::uint64_t kWord = 8;
constexpr std::size_t kPiece = std::size_t{256} << 10;  // of one call; fits the cache of a core
constexpr int kPatience_ms = 10'000;

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

struct Ends {
  Socket first{-1};
  Socket second{-1};
  std::string error;
};

Ends connected() {
  const auto wrong = [](const char* what) { return Ends{Socket(-1), Socket(-1), what + system_words(errno)}; };
  const Socket listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener.get(), plain, length) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), plain, &length) != 0)
    return wrong("a socket on 127.0.0.1 could not be had: ");
  Socket first(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(first.get(), plain, length) != 0) return wrong("127.0.0.1 could not be connected to: ");
  Socket second(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (second.get() < 0) return wrong("a connection on 127.0.0.1 could not be accepted: ");
  const int on = 1;
  for (const Socket* end : {&first, &second}) setsockopt(end->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return {std::move(first), std::move(second), ""};
}

bool wait_for(int descriptor, short events) {
  pollfd one{descriptor, events, 0};
  return poll(&one, 1, kPatience_ms) > 0;
}

// Sends and receives so many bytes at once, sleeping only where neither moves.
bool exchange(int descriptor, std::uint64_t to_send, std::uint64_t to_receive, std::vector<std::byte>& memory) {
  while (to_send > 0 || to_receive > 0) {
    bool moved = false;
    if (to_send > 0) {
      const ssize_t sent =
          send(descriptor, memory.data(), std::min<std::uint64_t>(kPiece, to_send), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent > 0) to_send -= static_cast<std::uint64_t>(sent);
      moved = sent > 0;
    }
    if (to_receive > 0) {
      const ssize_t got =
          recv(descriptor, memory.data() + kPiece, std::min<std::uint64_t>(kPiece, to_receive), MSG_DONTWAIT);
      if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
      if (got > 0) to_receive -= static_cast<std::uint64_t>(got);
      moved = moved || got > 0;
    }
    const int events = (to_send > 0 ? POLLOUT : 0) | (to_receive > 0 ? POLLIN : 0);
    if (!moved && !wait_for(descriptor, static_cast<short>(events))) return false;
  }
  return true;
}

bool send_word(int descriptor, const char* word) {
  return send(descriptor, word, kWord, MSG_NOSIGNAL) == static_cast<ssize_t>(kWord);
}

bool receive_word(int descriptor, char* word, bool polls) {
  const double begin = now_s();
  for (std::uint64_t got = 0; got < kWord;) {
    if (!polls && !wait_for(descriptor, POLLIN)) return false;
    const ssize_t more = recv(descriptor, word + got, kWord - got, polls ? MSG_DONTWAIT : 0);
    if (more == 0 || (more < 0 && errno != EAGAIN)) return false;
    if (more > 0) got += static_cast<std::uint64_t>(more);
    if (more < 0 && now_s() - begin > kPatience_ms / 1e3) return false;
  }
  return true;
}

// What the two processes do; each gets its end, and says whether all went well.
struct Roles {
  std::function<bool(int)> parent;
  std::function<void(int)> child;
};

// The parent's role is played effort.repetitions + 1 times, the first to warm up; `value` turns seconds into figures.
Figure play(const Roles& roles, bool two_cores, int repetitions, const std::function<double(double)>& value) {
  Figure figure;
  const std::vector<int>& cores = usable_cores();
  if (two_cores && cores.size() < 2) {
    figure.missing = "there is one core only";
    return figure;
  }
  const Ends ends = connected();
  figure.missing = ends.error;
  if (!figure.is_there()) return figure;
  const Pinned pinned(cores.front());
  const Child child([&] {
    pin_to(two_cores ? cores[1] : cores.front());
    roles.child(ends.second.get());
  });
  std::vector<double> values;
  for (int i = -1; i < repetitions; ++i) {
    const double begin = now_s();
    if (!child.runs() || !roles.parent(ends.first.get())) {
      figure.missing = "the connection over 127.0.0.1 broke off or was silent for 10 s";
      return figure;
    }
    if (i >= 0) values.push_back(value(now_s() - begin));
  }
  figure.sample = sample_of(values);
  return figure;
}

Figure latency(bool two_cores, bool polls, const Effort& effort) {
  char word[kWord] = {};
  const int rounds = std::max(20, static_cast<int>(effort.seconds / 20e-6));
  const Roles roles{[&](int end) {
                      for (int i = 0; i < rounds; ++i) {
                        if (!send_word(end, word) || !receive_word(end, word, polls)) return false;
                      }
                      return true;
                    },
                    [&](int end) {
                      while (receive_word(end, word, polls) && send_word(end, word)) {
                      }
                    }};
  return play(roles, two_cores, effort.repetitions, [&](double seconds) { return seconds / (2 * rounds) * 1e6; });
}

// The receiver's last act is a word, so that the sender's time ends when all has arrived.
Figure bandwidth(bool both_ways, std::uint64_t bytes, const Effort& effort) {
  std::vector<std::byte> memory(2 * kPiece);
  const std::uint64_t back = (both_ways ? bytes : 0) + kWord;
  const Roles roles{[&](int end) { return exchange(end, bytes, back, memory); },
                    [&](int end) {
                      while (exchange(end, both_ways ? bytes : 0, bytes, memory) && exchange(end, kWord, 0, memory)) {
                      }
                    }};
  const double payload = static_cast<double>(both_ways ? 2 * bytes : bytes);
  const bool two_cores = usable_cores().size() > 1;
  return play(roles, two_cores, effort.repetitions, [&](double seconds) { return payload / seconds / 1e9; });
}

}  // namespace

std::vector<Named> measure_loopback_latency(const Effort& effort) {
  return {{kTcpBlockingOne, latency(false, false, effort)},
          {kTcpBlockingTwo, latency(true, false, effort)},
          {kTcpPolling, latency(true, true, effort)}};
}

std::vector<Named> measure_loopback_bandwidth(std::uint64_t bytes, const Effort& effort) {
  return {{"one way", bandwidth(false, bytes, effort)}, {"both ways together", bandwidth(true, bytes, effort)}};
}

}  // namespace tutti_limits
