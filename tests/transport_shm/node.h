// Node: one process's transport in these tests, with what its links reported.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "transports/shm/shm.h"

namespace tutti::shm_test {

inline ShmOptions options_for(std::uint64_t number) {
  ShmOptions options;
  options.process = ProcessId{{number, number}};
  options.host = HostId{{1, 2}};
  options.key.fill(std::byte{7});
  return options;
}

struct Node {
  explicit Node(std::uint64_t number) : Node(options_for(number)) {}
  explicit Node(ShmOptions options) : id(options.process) {
    options.regions = &regions;
    options.log =
        Log(LogLevel::debug, [this](LogLevel, std::string_view, std::string_view text) { lines.emplace_back(text); });
    auto made = make_shm_transport(std::move(options));
    if (!made) {
      ADD_FAILURE() << made.status().text();
      return;
    }
    transport = std::move(*made);
  }

  // Polls once. Deliveries go to on_delivery, which must release them; without it they are released unread.
  std::size_t poll() {
    const std::size_t count = transport->poll(events, monotonic_now());
    for (std::size_t i = 0; i < count; ++i) {
      const Event& event = events[i];
      if (event.kind == EventKind::connected) connected.push_back(event.link);
      if (event.kind == EventKind::closed) closed.push_back(event.link);
      if (event.kind == EventKind::sent) ++sent;
      if (event.kind != EventKind::delivery) continue;
      ++delivered;
      if (on_delivery) {
        on_delivery(event);
      } else {
        event.link->release(event.token);
      }
    }
    return count;
  }

  bool until(const std::function<bool()>& condition) {
    const Instant give_up = monotonic_now() + std::chrono::seconds(30);
    while (!condition()) {
      if (monotonic_now() > give_up) return false;
      if (poll() == 0) std::this_thread::yield();
    }
    return true;
  }

  Link* connect(const ProcessId& peer, std::span<const std::byte> address) {
    const auto link = transport->connect(peer, address, 0, monotonic_now() + std::chrono::seconds(20));
    EXPECT_TRUE(link.is_ok()) << link.status().text();
    return link ? *link : nullptr;
  }

  // A link to a node of the same test process.
  Link* join(Node& other) {
    Link* const link = connect(other.id, other.transport->address());
    const std::size_t before = other.connected.size();
    EXPECT_TRUE(until([&] {
      other.poll();
      return link->is_open() && other.connected.size() > before;
    }));
    return link;
  }

  bool has_logged(const std::string& text) const {
    for (const std::string& line : lines) {
      if (line.find(text) != std::string::npos) return true;
    }
    return false;
  }

  ProcessId id;
  SharedRegions regions;
  std::vector<std::string> lines;  // of the log
  std::unique_ptr<Transport> transport;
  std::array<Event, 32> events;
  std::vector<Link*> connected;
  std::vector<Link*> closed;
  std::size_t sent = 0;
  std::size_t delivered = 0;
  std::function<void(const Event&)> on_delivery;
};

inline Header header_of(std::uint64_t word) {
  Header header;
  header.words[0] = word;
  return header;
}

}  // namespace tutti::shm_test
