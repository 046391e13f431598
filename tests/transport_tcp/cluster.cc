#include "tests/transport_tcp/cluster.h"

#include <algorithm>
#include <array>
#include <thread>

namespace tutti::tcp {

TcpOptions test_options() {
  TcpOptions options;
  options.process = *new_process_id();
  options.host = *this_host_id();
  options.host_name = host_name();
  options.key = *derive_key("one secret", "tutti tcp v1");
  return options;
}

Node::Node(TcpOptions options) : id(options.process) {
  options.log =
      Log(LogLevel::warn, [this](LogLevel, std::string_view, std::string_view text) { log.emplace_back(text); });
  auto made = make_tcp_transport(std::move(options));
  if (made) {
    transport = *std::move(made);
  } else {
    ADD_FAILURE() << made.status().text();
  }
}

std::vector<std::byte> Node::address() const {
  const auto bytes = transport->address();
  return {bytes.begin(), bytes.end()};
}

Link* Node::connect(const Node& peer, std::uint32_t lane, Nanoseconds limit) {
  enter();
  const auto link = transport->connect(peer.id, peer.transport->address(), lane, monotonic_now() + limit);
  EXPECT_TRUE(link.is_ok()) << link.status().text();
  return link ? *link : nullptr;
}

std::size_t Node::poll() {
  std::array<Event, 16> events;
  enter();
  const std::size_t count = transport->poll(events, monotonic_now());
  for (std::size_t i = 0; i < count; ++i) {
    const Event& event = events[i];
    switch (event.kind) {
      case EventKind::connected:
        connected.push_back(event.link);
        break;
      case EventKind::closed:
        closed.push_back(event.link->status().text());
        std::erase(connected, event.link);
        break;
      case EventKind::sent:
        ++sent;
        break;
      case EventKind::delivery:
        if (event.data != nullptr) {
          received.assign(event.data, event.data + event.bytes);
          event.link->release(event.token);
          ++frames;
        } else if (fetches) {
          target.resize(event.bytes);
          if (event.link->fetch(event.token, target.data()) != FetchState::done) break;
          event.link->release(event.token);
          received = target;
          ++frames;
        }
        break;
      case EventKind::fetched:
        event.link->release(event.token);
        received = target;
        ++frames;
        break;
      case EventKind::rerouted:
        break;
    }
  }
  return count;
}

bool Node::has_logged(std::string_view part) const {
  return std::any_of(log.begin(), log.end(), [&](const auto& line) { return line.find(part) != std::string::npos; });
}

bool poll_until(const std::vector<Node*>& nodes, const std::function<bool()>& condition) {
  const Instant end = monotonic_now() + std::chrono::seconds(20);
  while (!condition()) {
    std::size_t events = 0;
    for (Node* node : nodes) events += node->poll();
    if (events == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    if (monotonic_now() > end) return false;
  }
  return true;
}

void poll_for(const std::vector<Node*>& nodes, Nanoseconds duration) {
  const Instant end = monotonic_now() + duration;
  (void)poll_until(nodes, [&] { return monotonic_now() > end; });
}

std::pair<Link*, Link*> join(Node& a, Node& b, std::uint32_t lane) {
  const std::size_t had = b.connected.size();
  Link* const at_a = a.connect(b, lane);
  EXPECT_TRUE(poll_until({&a, &b}, [&] { return at_a->is_open() && b.connected.size() > had; }));
  return {at_a, b.connected.size() > had ? b.connected.back() : nullptr};
}

std::vector<std::byte> pattern(std::size_t bytes, unsigned seed) {
  std::vector<std::byte> result(bytes);
  for (std::size_t i = 0; i < bytes; ++i) result[i] = static_cast<std::byte>(i * 131 + seed + (i >> 8));
  return result;
}

}  // namespace tutti::tcp
