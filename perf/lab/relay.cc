// tutti-lab-relay LEFT:RIGHT:NANOSECONDS...: delays all packets between pairs of network devices, both ways. The lab
// starts it in a namespace of its own and talks to it by pipes: it says "ready" once every device is open, takes
// lines "INDEX NANOSECONDS" that change the delay of the pair with that index, and ends when its standard input ends.
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "perf/lab/delay_line.h"

namespace tutti_lab {

namespace {

constexpr Nanoseconds kLongestDelay = 60'000'000'000;
constexpr Nanoseconds kSecond = 1'000'000'000;

std::optional<Nanoseconds> parse_number(std::string_view text) {
  Nanoseconds value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > kLongestDelay) return {};
  return value;
}

class Relay {
 public:
  // Opens the devices of LEFT:RIGHT:NANOSECONDS; false once it has said why it cannot.
  bool add_pair(const std::string& argument) {
    const auto first = argument.find(':');
    const auto second = argument.rfind(':');
    const auto delay = parse_number(std::string_view(argument).substr(second + 1));
    if (first == std::string::npos || first == second || !delay) {
      std::fprintf(stderr, "tutti-lab-relay: '%s' is not LEFT:RIGHT:NANOSECONDS.\n", argument.c_str());
      return false;
    }
    const int left = open_or_say(argument.substr(0, first));
    const int right = open_or_say(argument.substr(first + 1, second - first - 1));
    if (left < 0 || right < 0) return false;
    lines_.emplace_back(left, right, *delay);
    lines_.emplace_back(right, left, *delay);
    return true;
  }

  int run() {
    std::vector<pollfd> polled = {{STDIN_FILENO, POLLIN, 0}};
    for (const DelayLine& line : lines_) polled.push_back({line.source(), POLLIN, 0});
    for (;;) {
      const timespec pause = time_to_next();
      if (ppoll(polled.data(), polled.size(), has_waiting() ? &pause : nullptr, nullptr) < 0 && errno != EINTR) {
        std::fprintf(stderr, "tutti-lab-relay: ppoll: %s (%d).\n", std::strerror(errno), errno);
        return 1;
      }
      if (polled[0].revents != 0 && !take_orders()) break;
      for (std::size_t i = 0; i < lines_.size(); ++i) {
        if (polled[i + 1].revents != 0) lines_[i].receive();
      }
      for (DelayLine& line : lines_) line.send();
    }
    say_drops();
    return 0;
  }

 private:
  static int open_or_say(const std::string& device) {
    const char* step = "";
    const int fd = open_device(device.c_str(), &step);
    if (fd < 0) {
      std::fprintf(stderr, "tutti-lab-relay: device %s: %s: %s (%d).\n", device.c_str(), step, std::strerror(errno),
                   errno);
    }
    return fd;
  }

  bool has_waiting() const {
    return std::any_of(lines_.begin(), lines_.end(), [](const DelayLine& line) { return line.next_due() >= 0; });
  }

  timespec time_to_next() const {
    Nanoseconds next = kLongestDelay;
    const Nanoseconds now = monotonic_ns();
    for (const DelayLine& line : lines_) {
      if (line.next_due() >= 0) next = std::min(next, line.next_due() - now);
    }
    next = std::max<Nanoseconds>(next, 0);
    return {next / kSecond, next % kSecond};
  }

  // False where there will be no more orders.
  bool take_orders() {
    char bytes[4096];
    const ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
    if (got <= 0) return got < 0 && errno == EINTR;
    orders_.append(bytes, static_cast<std::size_t>(got));
    for (auto end = orders_.find('\n'); end != std::string::npos; end = orders_.find('\n')) {
      obey(orders_.substr(0, end));
      orders_.erase(0, end + 1);
    }
    return true;
  }

  void obey(const std::string& order) {
    const auto blank = order.find(' ');
    const auto index = parse_number(order.substr(0, blank));
    const auto delay = blank == std::string::npos ? std::nullopt : parse_number(order.substr(blank + 1));
    if (!index || !delay || static_cast<std::size_t>(*index) >= lines_.size() / 2) {
      std::fprintf(stderr, "tutti-lab-relay: '%s' is not INDEX NANOSECONDS; nothing is changed.\n", order.c_str());
      return;
    }
    for (std::size_t side = 0; side < 2; ++side) lines_[2 * *index + side].set_delay(*delay);
  }

  void say_drops() const {
    std::uint64_t full = 0;
    std::uint64_t device = 0;
    for (const DelayLine& line : lines_) {
      full += line.dropped_full();
      device += line.dropped_by_device();
    }
    if (full > 0) {
      std::fprintf(stderr, "tutti-lab-relay: %llu packets lost because 256 MiB waited already.\n",
                   static_cast<unsigned long long>(full));
    }
    if (device > 0) {
      std::fprintf(stderr, "tutti-lab-relay: %llu packets lost at devices that were down or took no more.\n",
                   static_cast<unsigned long long>(device));
    }
  }

  std::vector<DelayLine> lines_;  // pair i: there at 2 i, back at 2 i + 1
  std::string orders_;            // what was read of the next line
};

}  // namespace

}  // namespace tutti_lab

int main(int count, char** arguments) {
  prctl(PR_SET_TIMERSLACK, 1);   // the default lets the kernel be 50 us late
  std::signal(SIGINT, SIG_IGN);  // the lab ends the relay after the ranks
  tutti_lab::Relay relay;
  for (int i = 1; i < count; ++i) {
    if (!relay.add_pair(arguments[i])) return 2;
  }
  std::puts("ready");
  std::fflush(stdout);
  return relay.run();
}
