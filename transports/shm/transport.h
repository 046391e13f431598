// ShmTransport: the links of one process, how they come to be, and sleeping.
//
// Setting up a link (pairing.cc): the connector opens a unix connection to the name in the other's address, both
// prove that they know the key, the connector sends an offer (its pair memory, segment and doorbell), the acceptor
// answers with its own segment and doorbell. Where both connect to each other at once, the connection of the smaller
// process id counts: its owner refuses the other's as a duplicate, the other takes it over for the link it is waiting
// for.
//
// Waking: one eventfd, the doorbell, whose descriptor every peer has; it is rung only while `sleeping` is set in our
// segment. It, the listener and the unix connections are in one epoll set, which the caller sleeps on.
//
// A child made by fork() shares the descriptors. It may destroy its copy of the object (or exit): that closes and
// unmaps what is the child's and says nothing to anybody.
#pragma once

#include <sys/types.h>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/base/handshake.h"
#include "transports/shm/address.h"
#include "transports/shm/lending.h"
#include "transports/shm/link.h"
#include "transports/shm/memory.h"
#include "transports/shm/shm.h"
#include "transports/shm/socket.h"

namespace tutti::shm {

// In the tag of an epoll event: it is the pidfd of the connection's peer, not the socket.
constexpr std::uint64_t kProcessBit = std::uint64_t{1} << 62;

class ShmTransport final : public Transport {
 public:
  explicit ShmTransport(ShmOptions options);
  ~ShmTransport() override;
  Status start();  // everything that can fail

  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return address_; }
  bool reaches(std::span<const std::byte> address) const override;
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override;
  void forget(Link* link) override;
  std::size_t poll(std::span<Event> out, Instant now) override;
  int wait_descriptor() const override { return epoll_.get(); }
  bool prepare_wait() override;
  void finish_wait() override;
  std::byte* segment() override { return segment_.mapping.base() + kSegmentHeadBytes; }
  std::size_t segment_bytes() const override { return segment_.mapping.bytes() - kSegmentHeadBytes; }

  std::byte* borrow(const std::byte* payload, std::size_t bytes) override;
  void give_back(std::byte* borrowed) override { lent_.give_back(borrowed); }

  // For the links.
  const ShmOptions& options() const { return options_; }
  pid_t pid() const { return pid_; }
  const std::string& host() const { return host_; }
  std::deque<Event>& events() { return events_; }
  int send(std::uint64_t connection, const Message& message, std::span<const int> descriptors);
  bool socket_has_ended(std::uint64_t connection) const;
  void read_socket(std::uint64_t connection);
  void link_ended(ShmLink& link);
  bool has_lent(std::uint64_t region_id) const { return lent_.has(region_id); }
  void retire_lent(std::uint64_t region_id) { lent_.retire(region_id); }
  void look_at_regions_again() { regions_changed_ = true; }

 private:
  enum class Phase : std::uint8_t {
    retrying,     // the other's backlog was full
    handshaking,  // either side
    offered,      // connector: waits for the answer
    awaiting,     // acceptor: waits for the offer
    open,
  };

  struct Connection {
    std::uint64_t number = 0;
    Phase phase = Phase::handshaking;
    bool is_connector = false;
    Descriptor socket;
    Descriptor process;  // pidfd of the peer, where there is one
    Credentials peer;
    Address address;  // connector
    Instant deadline = kNever;
    std::unique_ptr<Handshake> handshake;
    ShmLink* link = nullptr;  // connector from the beginning, acceptor once open
    SharedMemory pair;        // connector, until open
  };

  // transport.cc
  void check_sockets(Instant now);
  void read_ready(std::uint64_t tag, Instant now);
  void expire(Instant now);
  Status watch(int descriptor, std::uint64_t tag);
  void unwatch(const Descriptor& descriptor);
  Connection* find(std::uint64_t number);
  Connection& add(std::unique_ptr<Connection> connection);
  std::size_t take_events(std::span<Event> out);

  // pairing.cc
  void accept_all(Instant now);
  void turn_away_one();
  void begin(Connection& connection);
  void retry(Connection& connection);
  void peer_has_ended(Connection& connection);
  Status admit(Connection& connection);
  void flush_handshake(Connection& connection);
  void handle(Connection& connection, Received received);
  void handle_handshake(Connection& connection, const Message& message);
  void send_offer(Connection& connection);
  void handle_offer(Connection& connection, Received received);
  void handle_accept(Connection& connection, Received received);
  Status check_offer(const Connection& connection, const Received& received) const;
  ShmLink* current_link(const ProcessId& peer) const;
  ShmLink& new_link(const ProcessId& peer);
  Result<ShmLink::Endpoint> endpoint_from(const Connection& connection, Received& received);
  void open_link(Connection& connection, ShmLink& link, ShmLink::Endpoint endpoint);
  void refuse(Connection& connection, const Status& why);
  void refuse_duplicate(Connection& connection);
  void drop(std::uint64_t number);
  void fail(Connection& connection, const Status& why);  // the set-up ends, and with it the connector's link
  bool probe(const Connection& connection, const Message& message) const;
  Message new_message(MessageType type) const;

  const ShmOptions options_;
  const pid_t pid_;
  const std::string host_;
  Capabilities capabilities_;
  std::vector<std::byte> address_;
  LentMemory lent_;
  SharedMemory segment_;
  Descriptor doorbell_;
  Descriptor epoll_;
  Descriptor listener_;
  Descriptor spare_;  // given up for a moment to turn somebody away when there is no descriptor left
  std::uint64_t probe_word_ = 0;

  std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::uint64_t next_connection_ = 1;
  std::size_t setting_up_ = 0;          // connections that are not open
  Instant earliest_deadline_ = kNever;  // of those, or earlier
  std::vector<std::unique_ptr<ShmLink>> links_;
  std::map<ProcessId, ShmLink*> by_peer_;  // the newest link that is not closed
  std::vector<ShmLink*> open_;
  std::deque<Event> events_;

  std::size_t next_link_ = 0;  // where the next poll begins
  std::uint32_t polls_since_check_ = 0;
  Instant last_check_{};
  bool check_now_ = false;
  bool regions_changed_ = false;
  std::uint64_t regions_serial_ = 0;
};

}  // namespace tutti::shm
