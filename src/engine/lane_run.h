// LaneRun: one rank's compiled program in execution, over the channels of one lane. A state machine: it is told what
// has happened (a payload came, a credit came, a send ended, a channel has room again) and does all that can be done
// then. It never waits and reads no clock.
//
// Invariants
//  - Segments of a step are begun in order and, as seen by the steps that need it, done in order (`done` counts the
//  prefix).
//  - Each inbound message's arrivals are queued in segment order (a channel keeps order).
//  - A credit is granted only for segments that can be consumed at once when they come, apart from a reduce that
//  waits
//    for its other operands; those are limited to kFanWindow segments each.
//  - A segment of a group of sends that a transport would copy for each of them is staged once, in memory that the
//    transport lends, for all of the group that have not sent it (lane_run_groups.cc). No send waits for another.
#pragma once

#include <cstdint>
#include <vector>

#include "src/diagnosis/recorder.h"
#include "src/engine/compile.h"
#include "src/engine/kept_input.h"
#include "src/engine/wire.h"
#include "src/memory/reduce.h"

namespace tutti {

class Operation;

class LaneRun {
 public:
  explicit LaneRun(Operation* owner) : owner_(owner) {}

  static constexpr std::uint32_t kFanWindow = 4;
  // Of a group: a send with so many staged segments still to be read waits for its own reader when no memory is left.
  static constexpr std::uint32_t kReadAhead = 4;

  struct Job {  // what is the same for every step
    const CompiledLane* lane = nullptr;
    std::byte* bases[3] = {};  // by Buffer
    Frame frame;               // communicator, number, lane, source, signature
    Reduction reduction{DataType::uint8, ReduceOp::sum};
    ReduceFunction reduce = nullptr;
    std::uint32_t divisor = 0;  // applied by finishing steps; 0 or 1: none
    std::uint64_t element_bytes = 1;
    Recorder* recorder = nullptr;
    KeptInput* kept = nullptr;         // what is overwritten may have to come back; null: nothing is kept
    std::uint64_t credited_above = 0;  // messages of more bytes get their credits without being asked
  };

  // Pooled and reused: a reference to a step is good while the generation is the same.
  StepReference reference(std::uint32_t step) { return {this, step, generation_}; }
  bool is_current(const StepReference& reference) const { return reference.generation == generation_; }

  // Of one peer of the lane.
  struct PeerState {
    Channel* channel = nullptr;
    std::uint32_t to_receive = 0;  // messages of this peer that have not come in full
    std::uint32_t to_send = 0;     // messages to it that have not gone in full
    Recorder::Peer receiving;
    Recorder::Peer sending;
  };

  // Makes the run ready; nothing is sent before start(). Reuses its memory from run to run.
  void prepare(const Job& job);
  void set_channel(std::uint32_t peer, Channel* channel) { peers_[peer].channel = channel; }
  const std::vector<PeerState>& peers() const { return peers_; }
  Operation* owner() const { return owner_; }
  bool is_abandoned() const { return abandoned_; }

  void start(Wire& wire, Recorder::Operation record, Instant now);
  bool is_done() const { return remaining_ == 0; }
  // Nothing of the caller's memory is in use by a transport any more.
  bool is_quiet() const { return outstanding_ == 0; }

  // Whether a message that says its own size (Signature::per_message) has the size it has here.
  bool message_matches(std::uint32_t peer, const Frame& frame) const;
  std::uint64_t expected_elements(std::uint32_t peer, std::uint32_t message) const;

  // A data frame. On error the frame does not belong to this run as it should; the arrival has been consumed.
  Status deliver(Wire& wire, Arrival* arrival, std::uint32_t peer, std::uint32_t message, Instant now);
  Status credit(Wire& wire, std::uint32_t peer, std::uint32_t message, std::uint32_t segments, Instant now);
  Status ask(Wire& wire, std::uint32_t peer, std::uint32_t message, Instant now);
  void sent(Wire& wire, std::uint32_t step, std::uint32_t segment, Instant now);
  // One of the staged segments that this send has sent is not read any more.
  void was_read(Wire& wire, std::uint32_t step, Instant now);
  void fetched(Wire& wire, std::uint32_t step, Arrival* arrival, Instant now);
  void retry(Wire& wire, std::uint32_t step, Instant now);
  // A payload that is being read or written by a transport has been given up with its channel.
  void lost_transfer() { --outstanding_; }

  // Ends the records of what this run moved.
  void close_records(Code result);
  // Gives back all arrivals and staged segments that wait here; nothing is sent or consumed from now on. What a
  // transport still reads or writes is waited for: is_quiet().
  void abandon(Wire& wire);
  // The operation is over; references to this run are stale from now on.
  void finish() { ++generation_; }

 private:
  struct StepState {
    std::uint32_t begun = 0;   // segments sent (send), or allowed by the needs (others)
    std::uint32_t done = 0;    // prefix
    std::uint64_t ahead = 0;   // bit i: segment done + 1 + i is done (sends end in any order)
    std::uint32_t credit = 0;  // send: segments granted by the receiver
    std::uint32_t unread = 0;  // send: staged segments that were sent and are still read
    bool queued = false;
    bool asked = false;  // send: has asked for a credit
  };
  struct MessageState {
    Arrival* head = nullptr;
    Arrival* tail = nullptr;
    std::uint32_t expected = 0;  // segment number of the next arrival
    std::uint32_t granted = 0;
    bool asked = false;
  };

  struct Staged {
    std::uint32_t group = 0;
    std::uint32_t segment = 0;
    std::uint32_t waiting = 0;  // members whose turn to send it is still to come
    SharedPayload* payload = nullptr;
  };
  enum class From : std::uint8_t { source, staged, later };

  std::byte* at(const Place& place, std::uint32_t segment) const {
    return job_.bases[static_cast<int>(place.buffer)] + place.offset +
           std::uint64_t{segment} * job_.lane->segment_bytes;
  }
  // REQUIRES: to be called before every write to the caller's memory
  void before_write(const std::byte* target, std::uint64_t bytes) {
    if (job_.kept != nullptr) job_.kept->before_write(target, bytes);
  }
  bool ready(const CompiledStep& step, std::uint32_t segment) const;
  void queue(std::uint32_t step);
  void work(Wire& wire);
  void advance(Wire& wire, std::uint32_t step);
  void advance_send(Wire& wire, std::uint32_t step);
  SendState send_segment(Wire& wire, std::uint32_t step, const Header& header, std::uint32_t bytes, bool& waits);
  From find_staged(Wire& wire, std::uint32_t step, std::uint32_t bytes, std::size_t& found);
  std::uint32_t still_to_send(std::uint32_t group, std::uint32_t segment, const Transport* transport) const;
  bool take_back_unread(Wire& wire, std::uint32_t group, const Transport* transport);
  void forget_staged(Wire& wire, std::size_t index);
  void advance_receive(Wire& wire, std::uint32_t step);
  void advance_reduce(Wire& wire, std::uint32_t step);
  void advance_copy(Wire& wire, std::uint32_t step);
  void grant(Wire& wire, std::uint32_t inbound, std::uint32_t segments);
  void complete(Wire& wire, std::uint32_t step, std::uint32_t segment);
  void advance_done(std::uint32_t step, std::uint32_t segments);
  void fold(std::uint32_t step, std::uint32_t segment);
  void pop(Wire& wire, std::uint32_t inbound);
  void take_in(Wire& wire, Arrival* arrival, std::uint32_t inbound);
  void open_records(Recorder::Operation operation);

  Operation* owner_;
  Job job_;
  std::vector<StepState> steps_;
  std::vector<MessageState> messages_;  // by inbound index
  std::vector<PeerState> peers_;        // by peer index
  std::vector<Staged> staged_;
  std::vector<std::uint32_t> worklist_;
  std::vector<const std::byte*> sources_;
  std::uint32_t generation_ = 0;
  std::uint32_t remaining_ = 0;
  std::uint32_t outstanding_ = 0;
  Instant now_{};
  bool working_ = false;
  bool abandoned_ = false;
};

}  // namespace tutti
