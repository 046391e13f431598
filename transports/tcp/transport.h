// TcpTransport: one process's end of all its TCP links.
//
// transport.cc has the calls of the interface and the polling; accepting.cc, dialing.cc and connections.cc have how
// connections become links.
//
// All sockets are in one epoll set, edge-triggered: asking it costs less than one read that finds nothing, however
// many links there are. What an edge has told is kept (in the links' Receiver and Sender, and in `accepting_`) until
// a system call has found the opposite. Only while frames come, most polls read the latest link without asking: an
// answer is then seen by one system call instead of two.
//
// Exactly one link per peer and lane: of the two processes the one with the smaller id decides about every
// connection, by saying `go` on it. It refuses the peer's dial while its own is connected or a link exists that the
// peer cannot know of yet, which the generation tells: a number that counts the links of a lane. A hello with the
// number of the existing link comes from a peer that has lost it, so that link is closed and the new connection
// taken.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "transports/tcp/address.h"
#include "transports/tcp/dial.h"
#include "transports/tcp/link.h"
#include "transports/tcp/listener.h"
#include "transports/tcp/setup.h"
#include "transports/tcp/strangers.h"
#include "transports/tcp/tcp.h"

namespace tutti::tcp {

class TcpTransport final : public Transport {
 public:
  TcpTransport(TcpOptions options, Listener listener, std::vector<Interface> interfaces, Descriptor epoll,
               Descriptor timer);

  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return encoded_; }
  bool reaches(std::span<const std::byte> address) const override;
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override;
  void forget(Link* link) override;
  std::size_t poll(std::span<Event> out, Instant now) override;
  int wait_descriptor() const override { return epoll_.get(); }
  bool prepare_wait() override;
  void finish_wait() override;

 private:
  // What a descriptor in the epoll set belongs to: in the top byte of the event's number, the serial below.
  enum class Watched : std::uint8_t { listener, timer, setup, link };

  struct Lane {
    TcpLink* link = nullptr;       // the newest; may be closed; null once forgotten
    std::uint64_t generation = 0;  // how many links this lane has had that both sides agreed on
    std::optional<Dial> dial;      // while link is connecting
    SecretKey key{};               // what to prove then
    IpAddress local;               // between which two the newest open link went
    IpAddress remote;
  };
  using LaneKey = std::pair<ProcessId, std::uint32_t>;
  using Setups = std::unordered_map<std::uint64_t, Setup>;

  // transport.cc
  void watch(int fd, Watched kind, std::uint64_t serial, bool is_new);
  void gather(Instant now);
  void run_timers(Instant now);
  void plan_timer(Instant at) { next_timer_ = std::min(next_timer_, at); }
  bool has_open_link(const ProcessId& peer) const;
  static void keep_way(std::vector<Route>& routes, const Lane& lane);
  TcpLink& add_link(const ProcessId& peer, std::uint32_t lane, std::string peer_name);

  // connections.cc
  void advance(std::uint64_t serial, Instant now);
  void on_heard(std::uint64_t serial, Setup& setup, Instant now);
  void adopt(std::uint64_t serial, Setup& setup, const LaneKey& key, std::uint64_t generation);
  const Interface* interface_of(const IpAddress& ip) const;  // null: none of those that were there at first
  void drop(std::uint64_t serial, const std::string& cause, bool definitive, Instant now);
  void run_setup_timers(Instant now);
  // `key` is the acceptor's. Null where there is no TLS.
  std::unique_ptr<TlsChannel> make_tls(TlsChannel::Role role, const SecretKey& key, const Endpoint& peer) const;
  Greeting make_greeting(Greeting::Kind kind, const LaneKey& key) const;

  // accepting.cc
  void accept_all(Instant now);
  bool make_place(Instant now);
  void on_hello(std::uint64_t serial, Setup& setup, Instant now);
  Greeting::Reason judge(const Greeting& hello) const;
  bool decides_for(const Setup& setup, const Lane& lane) const;

  // dialing.cc
  void begin_try(const LaneKey& key, Lane& lane, Instant now, Status* refused);
  void on_reply(std::uint64_t serial, Setup& setup, Instant now);
  void run_dial_timers(Instant now);
  void give_up(Lane& lane, Instant now);

  const TcpOptions options_;
  Capabilities capabilities_;
  Listener listener_;
  Descriptor epoll_;
  Descriptor timer_;
  Address address_;
  std::vector<std::byte> encoded_;
  Strangers strangers_;
  Agenda agenda_;
  std::unordered_map<std::uint64_t, std::unique_ptr<TcpLink>> links_;
  std::map<LaneKey, Lane> lanes_;
  std::vector<LaneKey> dialing_;                       // lanes with a dial
  std::vector<std::pair<Instant, Descriptor>> quiet_;  // sockets of links that were cut off, and until when
  Setups setups_;
  std::size_t accepted_ = 0;  // set-ups of connections that others opened
  std::uint64_t next_serial_ = 1;
  unsigned polls_ = 0;
  unsigned eager_polls_left_ = 0;  // polls that read from the latest link without asking epoll first
  bool accepting_ = true;          // somebody may wait to be accepted
  Instant accept_again_{};         // not before: descriptors or places had run out
  Instant next_silence_check_ = kNever;
  Instant next_timer_ = kNever;
};

}  // namespace tutti::tcp
