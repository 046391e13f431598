// TcpLink: one lane to one process, over one connection. Connecting, then open, then closed, never back.
//
// It turns what its Sender and Receiver find into events when the transport collects them. A link that may have
// something to collect is in the transport's Agenda; collect() is called for those only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/transport/transport.h"
#include "transports/tcp/receiver.h"
#include "transports/tcp/sender.h"
#include "transports/tcp/socket.h"
#include "transports/tcp/tcp.h"

namespace tutti::tcp {

class TcpLink;

// The links that the next poll looks at, each once.
class Agenda {
 public:
  void add(TcpLink& link);
  void remove(TcpLink& link);
  bool is_empty() const { return links_.empty(); }
  // Whether a link that had refused a frame has room again, once: no event tells the caller, who may be about to
  // sleep.
  bool take_made_room() { return std::exchange(made_room_, false); }
  void note_room() { made_room_ = true; }
  // The link that had the latest event, or null.
  TcpLink* latest() const { return latest_; }
  // Collects events of each link in turn and keeps those with more to do; starts with another link each time.
  std::size_t collect(std::span<Event> out);

 private:
  std::vector<TcpLink*> links_;
  TcpLink* latest_ = nullptr;
  bool made_room_ = false;
};

class TcpLink final : public Link {
 public:
  struct Names {
    std::string local;  // "node07 (pid 12)"
    std::string peer;   // "node08 (pid 99)"
  };

  TcpLink(Agenda& agenda, std::uint64_t serial, const ProcessId& peer, std::uint32_t lane, Names names);

  ProcessId peer() const override { return peer_; }
  std::uint32_t lane() const override { return lane_; }
  bool is_open() const override { return state_ == State::open; }
  const Status& status() const override { return status_; }
  std::string describe() const override;
  bool is_cut_off() const override { return is_cut_off_; }
  SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) override;
  FetchState fetch(std::uint64_t token, std::byte* target) override;
  void release(std::uint64_t token) override;
  bool is_drained() const override;
  std::optional<std::uint64_t> under_way() const override;
  bool is_within_host() const override { return is_within_host_; }
  std::uint32_t narrow_way() const override { return narrow_way_; }
  void close(const Status& why) override;

  // For the transport.
  bool is_connecting() const { return state_ == State::connecting; }
  bool is_closed() const { return state_ == State::closed; }
  std::uint64_t serial() const { return serial_; }
  int descriptor() const { return descriptor_.get(); }
  // The connection is there and both sides have agreed on it. REQUIRES: is_connecting().
  // `tls` is null where there is none. `narrow_way` is that of the interface, if it is narrow.
  void open(Descriptor descriptor, std::unique_ptr<TlsChannel> tls, const Endpoint& remote, const TcpOptions& options,
            std::string interface, std::uint32_t narrow_way);
  // Closes with a sentence: who, which addresses, `cause`, what was under way.
  void lose(Code code, std::string_view cause);
  // As the way to the peer has failed, not the peer. Its socket stays open in the meantime: an end of the connection
  // could still reach the peer by a way that is cut in one direction only, and would be taken for our process's end.
  void cut_off(std::string_view cause);
  Descriptor take_socket() { return std::exchange(quiet_, {}); }
  // Something may have come although epoll was not asked.
  void try_receive();
  // epoll says these EPOLL... flags of the socket.
  void on_ready(std::uint32_t flags);
  // Loses the link if the peer's host has left several questions unanswered, for `limit` or longer. Called every now
  // and then.
  void check_silence(Nanoseconds limit, Instant now);
  std::size_t collect(std::span<Event> out);
  bool has_work() const;

 private:
  friend class Agenda;
  enum class State : std::uint8_t { connecting, open, closed };

  Conduit conduit() const { return {descriptor_.get(), tls_.get()}; }
  void fail(int error);
  void flush();
  std::size_t collect_received(std::span<Event> out);
  void finish(Status why);
  Event make_event(EventKind kind);

  Agenda& agenda_;
  const std::uint64_t serial_;
  const ProcessId peer_;
  const std::uint32_t lane_;
  const Names names_;
  State state_ = State::connecting;
  Status status_;
  bool is_cut_off_ = false;
  Descriptor descriptor_;
  Descriptor quiet_;       // after cut_off()
  std::string interface_;  // the local one, for messages
  std::unique_ptr<TlsChannel> tls_;
  bool is_within_host_ = false;
  std::uint32_t narrow_way_ = 0;
  Endpoint local_;
  Endpoint remote_;
  std::optional<Sender> sender_;  // both from open() on, and kept when closed: data may still be in use
  std::optional<Receiver> receiver_;
  Instant last_question_{};  // the latest that check_silence found unanswered
  unsigned questions_unanswered_ = 0;
  Instant understood_{};      // when check_silence last found that the peer takes what it is sent
  bool is_parsed_ = true;     // the receiver has nothing more without another read
  bool has_refused_ = false;  // a frame, and nothing has left the queue since
  bool owes_connected_ = false;
  bool owes_closed_ = false;
  bool on_agenda_ = false;
};

}  // namespace tutti::tcp
