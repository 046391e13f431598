// PullPort: a port over a library that moves messages but has no announcement for large ones with a payload that
// waits at the sender (libfabric, NCCL's plug-ins). The body of a large message is sent when the receiver asks for
// it, who has said before where it goes: the library never has to keep what nobody wants yet.
//
//   sender                                receiver
//     | announce number, head  ----------->  |  on_message
//     |  <----------------------- pull number |  fetch: the place is ready
//     | body  =============================> |  on_fetched
//     |  <----------------------- drop number |  or: given back without
//
// Both sides say hello first, and again when they have heard the other's: a port is ready when it is certain that
// messages get through both ways.
//
// What is said begins with a preamble: the other port's key (random, told over the control connection), what it is
// (of a piece of a body in the upper seven bytes where it belongs), and the number of the large message it is about.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <unordered_map>

#include "transports/fabric/wire.h"

namespace tutti::fabric {

constexpr std::size_t kPreambleBytes = 24;

class PullPort : public Port {
 public:
  bool send_small(const Head& head, const std::byte* body, std::size_t bytes) final;
  bool send_large(const Head& head, const std::byte* body, std::size_t bytes, std::uint64_t cookie) final;
  void fetch(const Message& message, std::byte* target, std::uint64_t token) final;

  // What has come from the peer, whole. False: nothing that it can have sent; the port has failed if it had the key.
  bool hear(std::span<const std::byte> bytes, WireUser& user);
  bool hear(std::span<const std::byte> first, std::span<const std::byte> body, WireUser& user);
  // Says what there was no room for before. False: there still is none.
  bool flush();
  bool is_ready() const override { return is_greeted_; }
  std::optional<Counts> counts() const final { return Counts{said_, heard_}; }
  // Of a large message; its handle is an Offer.
  static void give_back(const Message& message);

 protected:
  enum class What : std::uint8_t { message = 1, announcement = 2, pull = 3, drop = 4, chunk = 5, hello = 6 };
  static constexpr std::size_t kFirstBytesMax = kPreambleBytes + kHeadBytes;

  PullPort(PortUser& user, std::uint64_t key) : user_(user), key_(key) {}
  ~PullPort() override;

  // What a derived class does. All but say() may be called with memory of the caller's, which is the library's until
  // body_sent() or body_taken(). False: no room now.
  virtual bool say(std::span<const std::byte> first, const std::byte* body, std::size_t bytes) = 0;  // copies
  virtual bool send_body(std::uint64_t number, const std::byte* body, std::size_t bytes, std::uint64_t cookie) = 0;
  virtual bool take_body(std::uint64_t number, std::byte* target, std::size_t bytes, std::uint64_t token) = 0;
  virtual void fail(const std::string& words) = 0;
  // For ports that send bodies in pieces (ChunkPort). False: there is more that has no room.
  virtual bool flush_bodies() { return true; }
  virtual void on_chunk(std::uint64_t number, std::uint64_t offset, std::span<const std::byte> bytes);
  std::array<std::byte, kPreambleBytes> chunk_preamble(std::uint64_t number, std::uint64_t offset) const;
  void note_chunk_said() { ++said_; }

  void body_sent(std::uint64_t cookie);
  void body_taken(std::uint64_t token);

  PortUser& user() { return user_; }
  std::uint64_t key() const { return key_; }
  std::uint64_t peer_key() const { return peer_key_; }
  void greet(std::uint64_t peer_key);  // from connect() on messages can be sent
  // Over another way to the same peer, since this one has no answer. What was said over the first need not come.
  void greet_again();
  bool has_heard() const { return has_heard_; }  // the peer's hello
  static bool is_hello(std::span<const std::byte> first) { return static_cast<What>(first[8]) == What::hello; }
  void abandon();  // forgets all bodies; for close()

 private:
  struct Announced {
    const std::byte* body = nullptr;
    std::size_t bytes = 0;
    std::uint64_t cookie = 0;
    bool is_pulled = false;
  };
  struct Offer {
    PullPort* port;
    std::uint64_t number;
  };
  struct Wanted {
    std::uint64_t number = 0;
    std::byte* target = nullptr;
    std::size_t bytes = 0;
    std::uint64_t token = 0;
  };
  struct Owed {
    What what = What::pull;
    std::uint64_t number = 0;
  };

  bool say(What what, std::uint64_t number, const Head* head, const std::byte* body, std::size_t bytes);
  void put_preamble(std::byte* to, What what, std::uint64_t number, std::uint64_t offset) const;
  void owe(const Owed& owed);
  void on_hello(std::uint64_t number);
  void on_pull(std::uint64_t number);
  void on_drop(std::uint64_t number);

  PortUser& user_;
  const std::uint64_t key_;
  std::uint64_t peer_key_ = 0;
  bool can_say_ = false;
  bool has_heard_ = false;   // the peer's hello
  bool is_greeted_ = false;  // and the peer has heard ours
  std::uint64_t said_ = 0;
  std::uint64_t heard_ = 0;
  std::uint64_t next_number_ = 1;
  std::unordered_map<std::uint64_t, Announced> announced_;
  std::deque<std::uint64_t> pulled_;  // bodies that are wanted and had no room
  std::deque<Wanted> wanted_;         // bodies for which no place was ready
  std::deque<Owed> owed_;
  std::unordered_map<std::uint64_t, Offer*> offers_;  // of the peer, neither fetched nor given back
};

}  // namespace tutti::fabric
