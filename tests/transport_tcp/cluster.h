// Processes of a test: tcp transports in this one process, polled in turn until something is so.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/transport/transport.h"
#include "transports/tcp/tcp.h"

namespace tutti::tcp {

TcpOptions test_options();  // a new process id, this host, loopback's key "one secret"

struct Node {
  explicit Node(TcpOptions options);

  ProcessId id;
  std::vector<std::string> log;  // everything at warn or worse
  std::unique_ptr<Transport> transport;
  std::vector<Link*> connected;
  std::vector<std::string> closed;  // the sentence of each link's end
  std::vector<std::byte> received;  // the last payload
  std::size_t frames = 0;
  std::size_t sent = 0;                 // `sent` events
  std::vector<std::byte> target;        // of fetches
  std::function<void()> enter = [] {};  // called before each use of the transport: enters its network namespace
  bool fetches = true;                  // false: large payloads are left unfetched

  std::vector<std::byte> address() const;
  Link* connect(const Node& peer, std::uint32_t lane = 0, Nanoseconds limit = std::chrono::seconds(20));
  std::size_t poll();
  bool has_logged(std::string_view part) const;
};

// Polls all until `condition` holds; false after 20 s.
bool poll_until(const std::vector<Node*>& nodes, const std::function<bool()>& condition);
// Polls all for this long.
void poll_for(const std::vector<Node*>& nodes, Nanoseconds duration);

// Links a to b and waits for both ends; {a's, b's}.
std::pair<Link*, Link*> join(Node& a, Node& b, std::uint32_t lane = 0);

std::vector<std::byte> pattern(std::size_t bytes, unsigned seed);

}  // namespace tutti::tcp
