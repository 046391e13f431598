// ChunkPort: a PullPort over a library that is given no memory of the receiver's: bodies go in pieces, as messages,
// and are copied to where they belong when they come. So nothing the library does late can write where nobody expects
// it any more; the sender's memory is read in place where the library can be made to let go of it.
//
// ChunkWire: what such ports have in common; it knows them by their keys. A port's address is its key and that of the
// wire.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "transports/fabric/pull_port.h"

namespace tutti::fabric {

class ChunkWire;

class ChunkPort : public PullPort {
 public:
  ~ChunkPort() override;  // a derived class closes it before
  std::span<const std::byte> address() const final { return address_; }
  void close() final;
  // For what the wire stands on. Words of the library's, after which the port has failed.
  void fail(const std::string& words) final;
  // A message is done with, a piece of `chunk_of` if that is not 0.
  void said(std::uint64_t chunk_of);

 protected:
  ChunkPort(ChunkWire& wire, PortUser& user, std::uint64_t key, std::span<const std::byte> wire_address,
            std::size_t chunk_bytes);
  // The part of close() that is the library's.
  virtual void let_go() = 0;
  bool is_closing() const { return is_closing_; }
  bool has_failed() const { return has_failed_; }
  void want_flush();  // with the next progress() of the wire

  // Says a piece without copying `body`; chunk_said() follows, perhaps before this returns. False: no room now.
  virtual bool say_in_place(std::span<const std::byte> first, const std::byte* body, std::size_t bytes,
                            std::uint64_t number) = 0;

 private:
  friend class ChunkWire;
  static constexpr std::size_t kUnderWayMax = 32;

  struct Sending {
    const std::byte* body = nullptr;
    std::size_t bytes = 0;
    std::size_t next = 0;  // of the first byte that was not said
    std::size_t under_way = 0;
    std::uint64_t cookie = 0;
  };
  struct Taking {
    std::byte* target = nullptr;
    std::size_t bytes = 0;
    std::size_t come = 0;
    std::uint64_t token = 0;
  };

  bool send_body(std::uint64_t number, const std::byte* body, std::size_t bytes, std::uint64_t cookie) final;
  bool take_body(std::uint64_t number, std::byte* target, std::size_t bytes, std::uint64_t token) final;
  bool flush_bodies() final;
  void on_chunk(std::uint64_t number, std::uint64_t offset, std::span<const std::byte> bytes) final;

  void chunk_said(std::uint64_t number);

  ChunkWire& wire_;
  std::vector<std::byte> address_;
  const std::size_t chunk_bytes_;
  bool is_closing_ = false;
  bool has_failed_ = false;
  bool is_waiting_ = false;  // in the wire's list
  std::unordered_map<std::uint64_t, Sending> sending_;
  std::deque<std::uint64_t> order_;  // of those that are not all said
  std::unordered_map<std::uint64_t, Taking> taking_;
  std::size_t under_way_ = 0;
};

class ChunkWire : public Wire {
 public:
  const WireLimits& limits() const final { return limits_; }
  void set_user(WireUser& user) final { user_ = &user; }
  Result<std::unique_ptr<Port>> open(PortUser& user) final;
  void give_back(const Message& message) final { PullPort::give_back(message); }
  std::size_t progress() final;

 protected:
  virtual std::unique_ptr<ChunkPort> make_port(PortUser& user, std::uint64_t key) = 0;
  virtual std::size_t move() = 0;  // progress() of what it stands on

  // Null: closed here, or of a stranger.
  ChunkPort* find(std::uint64_t key);
  // The port that a message with this beginning is for.
  ChunkPort* addressee(std::span<const std::byte> first);
  WireUser& user() { return *user_; }
  bool has_failures() const { return !failed_.empty(); }
  bool has_waiting() const { return !waiting_.empty(); }

  WireLimits limits_;

 private:
  friend class ChunkPort;

  WireUser* user_ = nullptr;
  std::unordered_map<std::uint64_t, ChunkPort*> ports_;  // by key
  std::vector<ChunkPort*> waiting_;                      // that may have something to say, and room for it
  std::vector<ChunkPort*> batch_;                        // of waiting_, being looked at
  std::vector<std::pair<ChunkPort*, std::string>> failed_;
};

}  // namespace tutti::fabric
