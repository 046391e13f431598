// MemoryWire: a fabric in this process's memory for tests of transports/fabric, whose wire can be cut: then it takes
// everything and brings nothing, as a network does whose cable is out. It can also lose a single message, as a
// library does that has lost a connection, makes another one, and says nothing of what was under way.
#pragma once

#include <gtest/gtest.h>

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
  std::uint64_t next_key = 1;
  std::map<std::uint64_t, MemoryPort*> ports;
};

class MemoryPort final : public ChunkPort {
 public:
  static constexpr std::size_t kChunkBytes = 16 << 10;

  MemoryPort(MemoryNetwork& network, PortUser& user, std::uint64_t key)
      : ChunkPort(user, key, kChunkBytes), network_(network), address_(sizeof key) {
    store_little_endian(address_.data(), key);
    network_.ports[key] = this;
  }
  ~MemoryPort() override { network_.ports.erase(key()); }

  std::span<const std::byte> address() const override { return address_; }
  Status connect(std::span<const std::byte> peer) override {
    greet(load_little_endian<std::uint64_t>(peer.data()));
    return {};
  }
  void close() override {
    is_closed_ = true;
    abandon_chunks();
  }
  bool is_closed() const override { return is_closed_; }

  bool progress(WireUser& user) {
    const bool has_any = !inbox_.empty();
    for (; !inbox_.empty() && !is_closed_; inbox_.pop_front()) hear(inbox_.front(), user);
    if (!is_closed_) static_cast<void>(flush());
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
    chunk_said(number);
    return true;
  }
  void fail(const std::string& words) override { ADD_FAILURE() << words; }

  MemoryNetwork& network_;
  std::vector<std::byte> address_;
  std::deque<std::vector<std::byte>> inbox_;
  bool is_closed_ = false;
};

class MemoryWire final : public Wire {
 public:
  explicit MemoryWire(MemoryNetwork& network) : network_(network) {
    limits_.name = "memory";
    limits_.library = "memory 1";
    limits_.kind = "memory";
    limits_.small_bytes_max = 4 << 10;
    limits_.large_bytes_max = 1 << 20;
  }
  const WireLimits& limits() const override { return limits_; }
  void set_user(WireUser& user) override { user_ = &user; }
  Result<std::unique_ptr<Port>> open(PortUser& user) override {
    ports_.push_back(network_.next_key);
    return std::unique_ptr<Port>(std::make_unique<MemoryPort>(network_, user, network_.next_key++));
  }
  void give_back(const Message& message) override { PullPort::give_back(message); }
  std::size_t progress() override {
    std::size_t moved = 0;
    for (const std::uint64_t key : ports_) {
      const auto found = network_.ports.find(key);
      if (found != network_.ports.end() && found->second->progress(*user_)) ++moved;
    }
    return moved;
  }
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override { return true; }

 private:
  MemoryNetwork& network_;
  WireLimits limits_;
  WireUser* user_ = nullptr;
  std::vector<std::uint64_t> ports_;  // keys of this process's
};

}  // namespace tutti::fabric
