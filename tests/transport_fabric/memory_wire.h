// MemoryWire: a fabric in this process's memory for tests of transports/fabric, whose wire can be cut: then it takes
// everything and brings nothing, as a network does whose cable is out. It can also lose a single message, as a
// library does that has lost a connection, makes another one, and says nothing of what was under way.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/base/bytes.h"
#include "transports/fabric/chunk_port.h"

namespace tutti::fabric {

class MemoryPort;

struct MemoryNetwork {
  bool is_cut = false;
  std::uint64_t messages = 0;  // said so far
  std::uint64_t lost = 0;      // the number of the one that does not come; the first is 1
  std::map<std::uint64_t, MemoryPort*> ports;
};

class MemoryPort final : public ChunkPort {
 public:
  static constexpr std::size_t kChunkBytes = 16 << 10;

  MemoryPort(ChunkWire& wire, MemoryNetwork& network, PortUser& user, std::uint64_t key)
      : ChunkPort(wire, user, key, {}, kChunkBytes), network_(network) {
    network_.ports[key] = this;
  }
  ~MemoryPort() override {
    close();
    network_.ports.erase(key());
  }

  Status connect(std::span<const std::byte> peer) override {
    greet(load_little_endian<std::uint64_t>(peer.data()));
    return {};
  }
  bool is_closed() const override { return is_closing(); }

  bool hear_all(WireUser& user) {
    const bool has_any = !inbox_.empty();
    for (; !inbox_.empty() && !is_closing(); inbox_.pop_front()) hear(inbox_.front(), user);
    return has_any;
  }

 private:
  bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) override {
    ++network_.messages;
    const auto peer = network_.ports.find(load_little_endian<std::uint64_t>(first.data()));
    if (network_.is_cut || network_.messages == network_.lost || peer == network_.ports.end()) return true;
    auto& message = peer->second->inbox_.emplace_back(first.begin(), first.end());
    if (bytes > 0) message.insert(message.end(), body, body + bytes);
    return true;
  }
  bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                    std::uint64_t number) override {
    say(first, body, bytes);
    said(number);
    return true;
  }
  void let_go() override {}

  MemoryNetwork& network_;
  std::deque<std::vector<std::byte>> inbox_;
};

class MemoryWire final : public ChunkWire {
 public:
  explicit MemoryWire(MemoryNetwork& network) : network_(network) {
    limits_.name = "memory";
    limits_.library = "memory 1";
    limits_.kind = "memory";
    limits_.small_bytes_max = 4 << 10;
    limits_.large_bytes_max = 1 << 20;
  }
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override { return true; }

 private:
  std::unique_ptr<ChunkPort> make_port(PortUser& user, std::uint64_t key) override {
    keys_.push_back(key);
    return std::make_unique<MemoryPort>(*this, network_, user, key);
  }
  std::size_t move() override {
    std::size_t moved = 0;
    for (const std::uint64_t key : keys_) {
      const auto found = network_.ports.find(key);
      if (found != network_.ports.end() && found->second->hear_all(user())) ++moved;
    }
    return moved;
  }

  MemoryNetwork& network_;
  std::vector<std::uint64_t> keys_;  // of this process's ports
};

}  // namespace tutti::fabric
