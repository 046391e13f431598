// What benchmarks of a transport between two forked processes share: a socket pair by which the two exchange
// addresses and begin together, and their arithmetic. What goes wrong ends the process with a sentence.
#pragma once

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "src/transport/transport.h"

namespace tutti {

[[noreturn]] inline void give_up(const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, why.c_str());
  std::_Exit(1);
}

inline double seconds_since(Instant begin) { return std::chrono::duration<double>(monotonic_now() - begin).count(); }

// Of this process, so far.
inline double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

inline void put(int pipe, const void* data, std::size_t bytes) {
  if (write(pipe, data, bytes) != static_cast<ssize_t>(bytes)) give_up("the other process has gone");
}

inline void get(int pipe, void* data, std::size_t bytes) {
  if (recv(pipe, data, bytes, MSG_WAITALL) != static_cast<ssize_t>(bytes)) give_up("the other process has gone");
}

inline void meet(int pipe) {
  char c = 0;
  put(pipe, &c, 1);
  get(pipe, &c, 1);
}

struct OtherSide {
  ProcessId process;
  std::vector<std::byte> address;
};

// Tells the other process of this one, and says of the other what it tells.
inline OtherSide introduce(int pipe, const ProcessId& own, const Transport& transport) {
  OtherSide other;
  put(pipe, &own, sizeof own);
  get(pipe, &other.process, sizeof other.process);
  const auto ours = transport.address();
  std::size_t bytes = ours.size();
  put(pipe, &bytes, sizeof bytes);
  put(pipe, ours.data(), bytes);
  get(pipe, &bytes, sizeof bytes);
  other.address.resize(bytes);
  get(pipe, other.address.data(), bytes);
  return other;
}

// Returns the number of events.
template <typename Take>
std::size_t poll_once(Transport& transport, std::span<Event> events, const Take& take) {
  const std::size_t count = transport.poll(events, monotonic_now());
  for (std::size_t i = 0; i < count; ++i) {
    if (events[i].kind == EventKind::closed) give_up(events[i].link->status().text());
    take(events[i]);
  }
  return count;
}

}  // namespace tutti
