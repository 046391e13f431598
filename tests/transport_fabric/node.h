// A process that talks over a wire: what tests of a fabric's ports are made of.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "transports/fabric/head.h"
#include "transports/fabric/wire.h"

namespace tutti::fabric {

// A process: a wire with one port, which fetches what is large.
struct Node : WireUser, PortUser {
  explicit Node(std::unique_ptr<Wire> its) : wire(std::move(its)) {
    wire->set_user(*this);
    open();
  }
  void open() {
    failure.clear();
    auto opened = wire->open(*this);
    EXPECT_TRUE(opened.is_ok()) << opened.status().text();
    port = *std::move(opened);
  }
  std::uint64_t key() const { return load_little_endian<std::uint64_t>(port->address().data()); }
  void on_message(const Message& message) override {
    if (message.is_large) {
      fetched.resize(message.bytes);
      return port->fetch(message, fetched.data(), 1);
    }
    small.emplace_back(reinterpret_cast<const char*>(message.data), message.bytes);
  }
  void on_sent(std::uint64_t) override { ++sent; }
  void on_fetched(std::uint64_t) override { ++fetches; }
  void on_failed(const std::string& words) override { failure = words; }

  std::unique_ptr<Wire> wire;
  std::unique_ptr<Port> port;
  std::string failure;
  std::vector<std::string> small;
  std::vector<std::byte> fetched;
  int sent = 0;
  int fetches = 0;
};

inline bool until(std::initializer_list<Node*> nodes, const std::function<bool()>& holds) {
  const Instant end = monotonic_now() + std::chrono::seconds(10);
  while (!holds()) {
    if (monotonic_now() > end) return false;
    for (Node* const node : nodes) node->wire->progress();
  }
  return true;
}

inline Status meet(Node& a, Node& b) {
  TUTTI_RETURN_IF_ERROR(a.port->connect(b.port->address()));
  TUTTI_RETURN_IF_ERROR(b.port->connect(a.port->address()));
  return until({&a, &b}, [&] { return a.port->is_ready() && b.port->is_ready(); })
             ? Status()
             : Status(Code::timeout, "not ready");
}

inline bool say(Node& from, const std::string& text) {
  const Head head{.bytes = text.size()};
  return from.port->send_small(head, reinterpret_cast<const std::byte*>(text.data()), text.size());
}

}  // namespace tutti::fabric
