// Wire: what a library that drives a fabric (UCX, libfabric, a plug-in of NCCL's) has to offer so that
// transports/fabric makes a transport of it. It moves messages between two Ports and knows no link, no frame and no
// secret.
//
// A message is a head of kHeadBytes and a body. A small one (at most small_bytes_max) is copied when it is taken and
// comes as a whole. A large one is announced: its head comes, and the body is moved when the receiver has said where
// to, straight from memory to memory where the library can do that. Messages of a port may overtake each other.
//
// Rules
//  - Threads and time: as in src/transport/transport.h. A wire reports to its WireUser, and PortUsers, from
//  progress() alone.
//  - A port that fails says so once, with the library's own words, and moves nothing from then on.
//  - Port::close() withdraws what is under way. Memory of the caller's (bodies of large messages, targets of fetches)
//    is not touched any more once is_closed() is true, which progress() brings about, unless unreleased() says
//    otherwise; nothing is reported of the port after close().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "transports/fabric/head.h"

namespace tutti::fabric {

class Port;

struct WireLimits {
  std::string_view name;  // of the transport that comes of it: "ucx", "ofi", "ncclnet"
  std::string library;    // for messages: "UCX 1.13.1"
  std::string device;     // for messages, of a library that is told which to use
  // What both ends must have in common to talk, such as the provider's name; sent with the address.
  std::string kind;
  std::size_t small_bytes_max = 0;
  std::size_t large_bytes_max = 0;
  double bytes_per_second = 0;
  Nanoseconds latency{0};
};

// A small message's body where the wire has it, until give_back(), or the announcement of a large one.
struct Message {
  Head head;
  const std::byte* data =
      nullptr;             // small: valid until the handle is given back; null handle: until the call returns
  std::size_t bytes = 0;   // of the body
  void* handle = nullptr;  // the wire's own
  bool is_large = false;
};

class WireUser {
 public:
  virtual ~WireUser() = default;
  // Whoever gets a handle gives it back exactly once: by give_back(), or, of a large message, by fetch().
  virtual void on_message(const Message& message) = 0;
};

class PortUser {
 public:
  virtual ~PortUser() = default;
  virtual void on_sent(std::uint64_t cookie) = 0;
  virtual void on_fetched(std::uint64_t token) = 0;
  virtual void on_failed(const std::string& words) = 0;
};

class Port {
 public:
  struct Counts {
    std::uint64_t said = 0;   // messages that the wire has taken for the peer
    std::uint64_t heard = 0;  // and those that have come from it
  };

  virtual ~Port() = default;
  // For the peer's connect(); at most kPortAddressBytesMax.
  virtual std::span<const std::byte> address() const = 0;
  virtual Status connect(std::span<const std::byte> peer_address) = 0;
  // Whether messages get through both ways; some time after connect().
  virtual bool is_ready() const = 0;
  // Both return false where there is no room now; progress() makes some.
  virtual bool send_small(const Head& head, const std::byte* body, std::size_t bytes) = 0;
  virtual bool send_large(const Head& head, const std::byte* body, std::size_t bytes, std::uint64_t cookie) = 0;
  // The body of a large message of this port's peer, to `target`; on_fetched follows.
  virtual void fetch(const Message& message, std::byte* target, std::uint64_t token) = 0;
  virtual void close() = 0;
  virtual bool is_closed() const = 0;
  // Of a closed port: what the library has said instead of letting go of the caller's memory, which it may still use.
  virtual std::string unreleased() const { return {}; }
  // Nothing where the library vouches for every message or says that the port has failed.
  virtual std::optional<Counts> counts() const { return std::nullopt; }
};

constexpr std::size_t kPortAddressBytesMax = 3 << 10;

class Wire {
 public:
  virtual ~Wire() = default;
  virtual const WireLimits& limits() const = 0;
  virtual void set_user(WireUser& user) = 0;  // before anything else
  virtual Result<std::unique_ptr<Port>> open(PortUser& user) = 0;
  // The message is no longer needed: a small one has been read, of a large one the body is not wanted.
  virtual void give_back(const Message& message) = 0;
  // Moves what can be moved; returns how much was, 0 for nothing.
  virtual std::size_t progress() = 0;
  // As of a Transport. A wire without a descriptor is looked at from time to time while the caller sleeps.
  virtual int wait_descriptor() const = 0;
  virtual bool prepare_wait() = 0;
};

}  // namespace tutti::fabric
