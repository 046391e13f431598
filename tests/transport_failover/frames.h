// Two ends of a link over which frames of all sizes are sent while a test disturbs what carries them: each has to
// come, once and in order.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/base/log.h"
#include "src/transport/transport.h"
#include "tests/conformance/reserve.h"

namespace tutti {

// One end: a process's transport, and what has come by it. `transport` is the test's to make.
struct FrameEnd {
  Log sink() {
    return Log(LogLevel::info,
               [this](LogLevel, std::string_view, std::string_view text) { log += std::string(text) + "\n"; });
  }
  // With a tcp connection in reserve, and fail-over that is soon taken back.
  std::unique_ptr<Transport> reserved(std::unique_ptr<Transport> preferred) {
    FailoverOptions options;
    options.pause_min = std::chrono::milliseconds(10);
    options.log = sink();
    return conformance::with_tcp_in_reserve(id, std::move(preferred), options);
  }

  void poll() {
    Event events[16];
    const std::size_t count = transport->poll(events, monotonic_now());
    for (std::size_t i = 0; i < count; ++i) {
      const Event& event = events[i];
      if (event.kind == EventKind::connected) link = event.link;
      if (event.kind == EventKind::closed) closed = event.link->status().text();
      if (event.kind == EventKind::fetched) event.link->release(event.token);
      if (event.kind != EventKind::delivery) continue;
      EXPECT_EQ(event.header.words[0], frames++) << "out of order";
      if (event.data == nullptr && event.bytes > 0 && !is_late) {
        targets.emplace_back(event.bytes);
        if (event.link->fetch(event.token, targets.back().data()) == FetchState::done)
          event.link->release(event.token);
      } else if (!is_late) {
        event.link->release(event.token);
      }
    }
  }

  ProcessId id = *new_process_id();
  std::string log;
  std::unique_ptr<Transport> transport;
  Link* link = nullptr;
  std::string closed;
  std::uint64_t frames = 0;
  bool is_late = false;  // holds what comes
  std::deque<std::vector<std::byte>> targets;
};

inline bool until(FrameEnd& a, FrameEnd& b, const std::function<bool()>& condition) {
  const Instant give_up = monotonic_now() + std::chrono::seconds(20);
  while (!condition() && monotonic_now() < give_up) {
    a.poll();
    b.poll();
  }
  return condition();
}

inline void connect(FrameEnd& a, FrameEnd& b) {
  const Instant deadline = monotonic_now() + std::chrono::seconds(10);
  ASSERT_TRUE(a.transport->connect(b.id, b.transport->address(), 0, deadline).is_ok());
  ASSERT_TRUE(until(a, b, [&] { return a.link != nullptr && b.link != nullptr; })) << a.log << b.log;
}

// Sends frames of all sizes until `count` have come; `disturb` is called when so many have.
inline void stream(FrameEnd& from, FrameEnd& to, std::uint64_t count, std::uint64_t when,
                   const std::function<void()>& disturb) {
  const std::vector<std::byte> payload(100'000, std::byte{5});
  const std::uint64_t had = to.frames;
  std::uint64_t next = had;
  ASSERT_TRUE(until(from, to,
                    [&] {
                      if (disturb && to.frames - had >= when) {
                        disturb();
                        when = ~0ull;
                      }
                      if (next < had + count) {
                        const SendState state = from.link->send(
                            Header{{next}}, payload.data(), next % 5 == 0 ? payload.size() : 50 * (next % 100), next);
                        if (state == SendState::copied || state == SendState::pending) ++next;
                      }
                      return to.frames == had + count && from.link->is_drained();
                    }))
      << to.frames - had << " of " << count << "; " << from.closed << from.log;
}

}  // namespace tutti
