// VerbsLink: one lane to one process, over one queue pair. Greeting (over its control link), then open, then closed,
// never back.
//
// link.cc has its life and its events, link_greeting.cc how it comes to be, link_sending.cc and link_receiving.cc the
// frames.
//
// How it ends. Whatever ends it, the queue pair is destroyed and every registration given back before the `closed`
// event: from then on nothing reads a payload or writes to a target. What had come by then is delivered first, unless
// this process closed the link. When a completion fails, the control link has a moment to say why: of a process that
// has ended the queue pair only knows that it does not answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/transport/transport.h"
#include "transports/verbs/connector.h"
#include "transports/verbs/greeting.h"
#include "transports/verbs/queue_pair.h"

namespace tutti::verbs {

class VerbsLink;

// What all links of a transport share.
struct Common {
  Common(VerbsOptions its_options, std::vector<std::unique_ptr<Rail>> its_rails)
      : options(std::move(its_options)), rails(std::move(its_rails)) {}

  const VerbsOptions options;
  std::vector<std::unique_ptr<Rail>> rails;
  std::unique_ptr<Connector> connector;  // null: what links tell each other is enough
  Capabilities capabilities;
  Hello hello;
  std::vector<VerbsLink*> agenda;   // links that the next poll looks at, each once
  std::vector<VerbsLink*> starved;  // links that wait for memory: to be registered, or to send from
  Instant now{};
  Instant next_timer = kNever;
  bool has_refused = false;  // a frame, for want of room
  bool has_room = false;     // for one that was refused: the caller may be about to sleep, and no event tells it

  void add(VerbsLink& link);
  void starve(VerbsLink& link);
  void wake_starved();  // something was given back
  void plan_timer(Instant at) { next_timer = std::min(next_timer, at); }
  void note_room() {
    if (std::exchange(has_refused, false)) has_room = true;
  }
};

class VerbsLink final : public Link {
 public:
  // `control` is the link's own, connecting or connected. `deadline` is that of the greeting.
  VerbsLink(Common& common, std::uint64_t serial, Link& control, Instant deadline);
  ~VerbsLink() override;

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
  void close(const Status& why) override;

  // For the transport.
  std::uint64_t serial() const { return serial_; }
  bool is_closed() const { return state_ == State::closed; }
  // The caller has asked for it, so it is to hear of its end also if it never opens.
  void ask(Instant deadline);
  bool is_known() const { return is_asked_ || has_reported_; }
  bool owes_events() const { return owes_connected_ || owes_closed_; }
  const Rail* rail() const { return queue_pair_ ? &queue_pair_->rail() : nullptr; }
  std::uint32_t queue_pair_number() const { return queue_pair_ ? queue_pair_->number() : 0; }
  void on_control_connected();
  void on_control_bytes(std::span<const std::byte> bytes);
  // The control link is closed, and must not be touched any more.
  void on_control_closed();
  // The connection manager has the peer's request or answer, or has failed.
  void on_managed(const Connector::Event& event);
  void on_completion(const ibv_wc& completion);
  // The port or the device is lost, or the queue pair has failed.
  void fail(const std::string& cause, bool is_cut_off);
  // Ends what takes too long.
  void run_timers();
  bool has_work() const;
  bool stay_on_agenda() { return on_agenda_ = has_work(); }
  std::size_t collect(std::span<Event> out);

 private:
  friend struct Common;
  enum class State : std::uint8_t { greeting, open, closed };
  enum class Heard : std::uint8_t { nothing, hello, offer, ready };

  struct Sending {  // a payload that was announced
    std::uint64_t number = 0;
    const std::byte* payload = nullptr;
    std::size_t bytes = 0;
    std::uint64_t cookie = 0;
    enum class State : std::uint8_t { announced, granted, writing } state = State::announced;
    std::uint64_t address = 0;
    std::uint32_t key = 0;
    Registrar::Loan loan;
  };
  struct Fetching {  // one that the peer has announced
    std::uint64_t number = 0;
    std::size_t bytes = 0;
    std::byte* target = nullptr;
    enum class State : std::uint8_t { announced, wanted, granted } state = State::announced;
    Registrar::Loan loan;
  };
  struct Answer {  // a frame without payload that is to be sent
    FrameKind kind = FrameKind::grant;
    Header header;
  };

  // link_greeting.cc
  void say(const Message& message);
  void on_hello(const Hello& hello);
  void on_offer(const Offer& offer);
  bool is_first() const { return common_.options.process < peer_; }
  void connect_queue_pair();
  void open_if_ready();
  void refuse(const std::string& why);
  std::string awaited() const;

  // link.cc
  void end(Status why);
  void finish(const Status& why);
  Event make_event(EventKind kind);

  // link_sending.cc
  bool send_head(FrameKind kind, const Header& header, const std::byte* payload, std::size_t bytes_sent,
                 std::size_t bytes_said, std::size_t depth);
  void work();
  void flush_answers();
  void write_granted();
  void on_grant(const Head& head);
  void on_decline(const Head& head);
  void on_written_here();

  // link_receiving.cc
  void on_arrival(std::uint32_t immediate, std::uint32_t bytes);
  void deliver(std::span<Event> out, std::size_t& count);
  bool take_frame(std::uint32_t units, Event& event);
  void grant_wanted();
  Fetching* find_fetching(std::uint64_t number);

  Common& common_;
  const std::uint64_t serial_;
  const ProcessId peer_;
  const std::uint32_t lane_;
  Link* control_;
  State state_ = State::greeting;
  Status status_;
  bool is_cut_off_ = false;
  bool is_asked_ = false;
  bool has_reported_ = false;  // the connected event
  bool owes_connected_ = false;
  bool owes_closed_ = false;
  bool on_agenda_ = false;
  Instant deadline_;

  bool control_open_ = false;
  Heard heard_ = Heard::nothing;
  bool is_managed_ = false;  // the connection manager is ready for it
  bool said_ready_ = false;
  std::string peer_name_;
  std::size_t port_ = 0;  // ours
  PortFacts peer_port_;
  Offer peer_offer_;
  std::deque<std::vector<std::byte>> unsaid_;  // messages that the control link had no room for
  std::optional<Farewell> farewell_;

  std::unique_ptr<QueuePair> queue_pair_;
  Pages old_ring_;             // of a closed link: what was delivered last lies there
  std::optional<Status> end_;  // once everything that has come is delivered
  std::string failure_;        // of the queue pair: the control link may still say why
  bool failure_cuts_ = false;
  Instant failed_at_ = kNever;

  RingWriter writer_;
  std::uint64_t next_number_ = 0;
  std::deque<Sending> sending_;
  std::deque<std::uint64_t> writing_;  // numbers, in the order of their writes
  std::deque<std::uint64_t> sent_;     // cookies to be reported
  std::deque<Answer> answers_;
  mutable bool wants_to_drain_ = false;

  RingOwner owner_;
  std::uint64_t expected_number_ = 0;
  std::deque<std::uint32_t> arrivals_;  // frames in the ring: their units
  std::vector<Fetching> fetching_;
  std::size_t granted_ = 0;
  std::deque<std::uint64_t> fetched_;  // tokens to be reported
  bool is_starved_ = false;
};

}  // namespace tutti::verbs
