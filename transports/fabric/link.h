// FabricLink: one link: its control connection, its port, and the frames between.
//
// Invariants
//  - Frames of this side below acknowledged_ are done with at the peer; next_send_ - acknowledged_ <= kWindow.
//  - Frame s of the peer lies in slot s % kWindow from its arrival until it is released; all below consumed_ are
//    released, those from next_receive_ on have not been handed out.
//  - `closed` is reported once the port touches nothing of the caller's any more and the control connection is
//  closed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/transport/transport.h"
#include "transports/fabric/wire.h"
#include "transports/fabric/words.h"

namespace tutti::fabric {

class FabricTransport;

constexpr std::uint64_t kWindow = 64;
constexpr std::size_t kInlineBytes = 96;  // of small frames that the wire does not keep

class FabricLink final : public Link, private PortUser {
 public:
  // `is_known`: the caller has it; else nothing is reported of it unless it opens.
  FabricLink(FabricTransport& transport, Link* control, std::uint64_t key, Instant deadline, bool is_known);
  ~FabricLink() override;

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
  std::uint64_t key() const { return key_; }
  Link* control() const { return control_; }
  bool is_closed() const { return state_ == State::closed; }
  bool is_closing() const { return state_ == State::closing || state_ == State::closed; }
  Instant deadline() const;
  void make_known() { is_known_ = true; }
  void on_control_connected();
  void on_control_word(std::span<const std::byte> bytes);
  void on_control_closed();
  void on_message(const Message& message);
  // Moves on, and reports deliveries. Returns how many.
  std::size_t work(std::span<Event> out, Instant now);
  bool has_work() const;  // whether the next work() has something to do, whatever comes
  // On its way to the state that its control connection has already; work() is to be called in every poll.
  bool is_unsettled() const;
  bool is_withdrawn() const { return !port_ || port_->is_closed(); }
  void withdraw();                                                          // the end of the transport
  void watch(Instant now, Nanoseconds stall_limit, bool ends_when_silent);  // now and then; see FabricOptions

  bool is_attended = false;  // the transport's: in its list

 private:
  enum class State : std::uint8_t {
    connecting,  // the control connection
    greeting,
    open,
    ending,   // nothing more comes; what has come is handed out, of a process that has ended also what was asked for
    closing,  // the port withdraws what is under way
    closed,
  };
  struct Slot {
    enum class State : std::uint8_t { empty, arrived, delivered, fetching };
    State state = State::empty;
    Message message;
    std::array<std::byte, kInlineBytes> inlined;
    std::vector<std::byte> copy;
  };

  void on_sent(std::uint64_t cookie) override;
  void on_fetched(std::uint64_t token) override;
  void on_failed(const std::string& words) override;

  Slot& slot(std::uint64_t sequence) { return slots_[sequence % kWindow]; }
  void greet();
  void on_greeting(const Greeting& greeting);
  void take_frame(const Message& message);
  void keep(Slot& slot, const Message& message);
  void speak();
  bool say(Head::Kind kind);
  bool owes_word() const;
  bool may_hand_out() const;
  bool awaits_fetches() const;
  bool watch_losses(Instant now, Nanoseconds limit);
  void end_watched(const std::string& why, Instant now);
  void end(Code code, const std::string& why, bool is_cut_off);
  void begin_closing();
  void distrust(const std::string& why);
  void violated(const std::string& what);
  void attend();

  FabricTransport& transport_;
  Link* const control_;
  const ProcessId peer_;
  const std::uint32_t lane_;
  Wire& wire_;
  const std::uint64_t key_;
  State state_ = State::connecting;
  Status status_;
  bool is_cut_off_ = false;
  bool is_known_;
  bool is_control_closed_ = false;
  bool has_peer_greeted_ = false;
  bool owes_greeting_ = false;
  Instant deadline_;                 // connecting, greeting: of the whole; ending: of the control connection's word
  std::string peer_name_;            // once it has greeted
  Farewell farewell_;                // the peer's; empty reason: none has come
  std::vector<std::byte> greeting_;  // ours, as sent
  std::unique_ptr<Port> port_;

  std::uint64_t peer_key_ = 0;
  std::size_t small_bytes_max_ = 0;
  std::uint64_t next_send_ = 0;
  std::uint64_t acknowledged_ = 0;
  mutable std::uint64_t drains_until_ = 0;  // the peer is to confirm all below
  std::uint64_t asked_for_ = 0;             // and was asked to confirm these
  Instant heard_at_{};                      // the latest message
  Instant confirmed_at_{};                  // the latest frame, or when one was sent after all had been confirmed
  Instant asked_at_{};                      // the latest ping
  Instant pinged_at_ = kNever;              // since when an answer is waited for
  std::uint64_t answers_heard_ = 0;         // messages that carry nothing
  std::uint64_t peer_said_ = 0;             // so many messages were on their way, when the peer last told
  std::uint64_t carried_then_ = 0;          // messages that carried something, when some were found to be missing
  Instant missing_since_ = kNever;

  std::vector<Slot> slots_;  // none before the link is open
  std::uint64_t next_receive_ = 0;
  std::uint64_t consumed_ = 0;
  Instant fetches_until_{};        // ending: those that have begun may end
  std::uint64_t told_ = 0;         // of it the peer knows this
  std::uint64_t asked_until_ = 0;  // the peer wants to know when it is so much
  bool is_pinged_ = false;         // and now
};

}  // namespace tutti::fabric
