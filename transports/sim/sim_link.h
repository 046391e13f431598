// SimLink: one side's end of a simulated link. Its two ends know each other by handle, so either may vanish first.
//
// Invariants
//  - incoming_ holds the frames sent to this end and not yet reported, oldest first; the first arrived_ of them may
//  be
//    reported. A frame whose `source` is set lies in the sender's memory; it is copied when it departs, or stays
//    there until the receiver takes it (rendezvous). When the sender's end closes, whatever still lies there is lost,
//    and with it all that was sent later.
//  - state_ goes connecting -> open -> closed, never back. closing_noted_ says that the closed event is queued;
//  nothing
//    is queued after it.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "src/transport/transport.h"
#include "transports/sim/sim_network.h"

namespace tutti {

class SimLink final : public Link {
 public:
  SimLink(SimNetwork& network, SimNetwork::Handle self, std::uint32_t owner, std::uint32_t peer, std::uint32_t lane,
          const ProcessId& peer_id);
  ~SimLink() override;

  ProcessId peer() const override { return peer_id_; }
  std::uint32_t lane() const override { return lane_; }
  bool is_open() const override { return state_ == State::open; }
  const Status& status() const override { return status_; }
  std::string describe() const override;
  bool is_cut_off() const override { return is_cut_off_; }
  SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) override;
  FetchState fetch(std::uint64_t token, std::byte* target) override;
  void release(std::uint64_t token) override;
  bool is_drained() const override { return in_our_memory_ == 0; }
  std::uint32_t narrow_way() const override;
  std::byte* segment() override { return segment_start_; }
  void close(const Status& why) override;

 private:
  friend class SimNetwork;
  friend class SimTransport;
  using End = SimNetwork::End;

  enum class State : std::uint8_t { connecting, open, closed };
  struct Frame {
    Header header;
    const std::byte* source = nullptr;
    SimBuffer buffer;
    std::size_t bytes = 0;
    std::uint64_t cookie = 0;
    bool rendezvous = false;
  };
  struct Delivery {
    Frame frame;
    std::byte* target = nullptr;  // of a fetch under way
    bool taken = false;           // the sender's memory is no longer needed
    bool in_place = false;        // does not count against the queue
    bool in_use = false;
  };

  SimLink* pair() const { return network_.find(pair_); }
  void pair_with(SimLink& other);
  SimTransport& transport() const;

  // Queues `connected`, having opened the link; `closed` comes with what has happened to the other side.
  void open();
  void end_by(End end);
  std::string sentence(End end) const;
  // Marks it closed and queues the event, unless that has been done.
  void finish(const Status& why);
  // This end has stopped sending: what lies in our memory is lost; the peer learns of it at `notice` at the earliest.
  void say_farewell(End end, Instant notice);
  // All that lies in the sender's memory is out of reach from now on.
  void lose_source(End end);
  // Of what is on its way to this end only so many frames, from the first on, will come.
  void lose_flight(std::size_t comes);

  void depart(std::uint64_t number);
  void arrive();
  // The peer's end is closed: so is ours, once all that it had sent is here. After a partition a farewell may
  // overtake.
  void hear_farewell(End end);
  void end_if_all_came();
  bool report(Event& event);  // the next delivery
  void fetched(std::uint64_t token);
  bool take_payload(Delivery& delivery, std::byte* target);  // false: it is lost
  void sender_may_reuse(Delivery& delivery);
  void end_send(std::uint64_t cookie);

  SimNetwork& network_;
  const SimNetwork::Handle self_;
  SimNetwork::Handle pair_;
  const std::uint32_t owner_;  // process indexes
  const std::uint32_t peer_;
  const std::uint32_t lane_;
  const ProcessId peer_id_;
  State state_ = State::connecting;
  bool paired_ = false;
  bool closing_noted_ = false;
  bool is_cut_off_ = false;
  End source_end_ = End::closed_by_peer;  // why what lay in the sender's memory is out of reach
  bool farewell_said_ = false;
  Status status_;
  Status pending_status_;  // what status() will be when the closed event is reported
  std::size_t place_ = 0;  // in the transport's list

  // Sending.
  SimPath path_;
  Instant busy_until_{};
  std::uint64_t frames_out_ = 0;
  std::size_t unreleased_frames_ = 0;
  std::size_t unreleased_bytes_ = 0;
  std::size_t in_our_memory_ = 0;

  // Receiving.
  std::deque<Frame> incoming_;
  std::uint64_t first_number_ = 0;  // of incoming_.front()
  std::size_t arrived_ = 0;
  bool truncated_ = false;  // no frame after those in incoming_ will come
  Instant last_arrival_{};  // nothing sent later arrives earlier
  std::vector<Delivery> deliveries_;
  std::vector<std::uint32_t> free_deliveries_;
  std::size_t fetches_under_way_ = 0;    // a farewell waits for them
  std::size_t early_arrivals_ = 0;       // before the accept
  std::uint64_t poll_without_data_ = 0;  // the latest poll that reported a delivery to be fetched
  bool farewell_heard_ = false;
  End farewell_ = End::closed_by_peer;
  std::shared_ptr<std::byte[]> segment_;
  std::byte* segment_start_ = nullptr;
};

}  // namespace tutti
