// Links: the engine's view of other processes. A Peer is one process; it has one Channel per lane in use, which wraps
// a transport's Link with what the engine must know about it: the window for uncredited payload, frames that had to
// wait, deliveries being fetched. Links belong to the process; every communicator uses the same ones.
//
// The window. Data frames that the receiver has not granted a credit for may have to be kept by it, so a sender has
// at most kWindowBytes of such payload unconsumed per channel, where each frame counts for kFrameCost more than its
// payload: keeping an empty one costs memory too. The receiver reports what it has consumed. A sender
// whose window is full asks for a credit, which the receiver grants as soon as the message can be consumed: so one
// operation's late receiver never blocks another's traffic.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/base/log.h"
#include "src/engine/address.h"
#include "src/engine/frame.h"
#include "src/transport/transport.h"

namespace tutti {

class LaneRun;
struct Peer;

constexpr std::uint64_t kWindowBytes = 1 << 20;
constexpr std::uint64_t kFrameCost = 256;
constexpr std::uint64_t kHeldBytesMax = 512 << 10;  // payload held in a transport's buffers, per channel

// A frame's payload that has come and is not consumed yet.
struct Arrival {
  Arrival* next = nullptr;
  struct Channel* channel = nullptr;
  std::uint64_t token = 0;
  const std::byte* data = nullptr;  // readable here, unless fetching
  std::uint32_t bytes = 0;
  std::uint32_t segment = 0;
  bool uncredited = false;
  bool holds = false;  // `token` is to be released
  bool in_place = false;
  bool counted = false;    // in the channel's held_bytes and held_frames
  bool transient = false;  // must be used or copied before the transport is polled again
  enum class State : std::uint8_t { readable, fetching, lost } state = State::readable;
  std::unique_ptr<std::byte[]> owned;
};

// A step of a run; stale once the run has gone on to another operation.
struct StepReference {
  LaneRun* run = nullptr;
  std::uint32_t step = 0;
  std::uint32_t generation = 0;
};

struct Channel {
  Peer* peer = nullptr;
  Link* link = nullptr;
  Transport* transport = nullptr;
  std::uint32_t lane = 0;
  std::uint8_t transport_record = 0;  // the transport's number in the flight recorder
  bool open = false;
  bool closed = false;
  Status why;             // when closed
  Instant ends = kNever;  // its link is closed, and it is taken for closed then: see Engine::on_closed

  // Sender's side of the window.
  std::uint64_t uncredited_sent = 0;
  std::uint64_t uncredited_returned = 0;
  // Receiver's side.
  std::uint64_t uncredited_received = 0;
  std::uint64_t consumed = 0;
  std::uint64_t consumed_reported = 0;
  std::uint64_t held_bytes = 0;
  std::uint32_t held_frames = 0;
  std::uint32_t frames_for_nobody = 0;  // kept for communicators that are not made here yet

  std::deque<StepReference> blocked;         // sends that met `again`
  std::deque<StepReference> window_waiters;  // sends that wait for the window
  struct Queued {
    Header header;
    std::vector<std::byte> payload;
  };
  std::deque<Queued> control;  // control frames that met `again`
  bool is_noted = false;       // as one where something waits: Wire::note_waiting
  struct Fetch {
    std::uint64_t token;
    Arrival* arrival;
    StepReference step;       // run == null: the arrival waits for its operation
    bool redispatch = false;  // a control frame: to be handled once its payload is there
    Header header;
  };
  std::vector<Fetch> fetches;

  bool holds_too_much() const {
    return held_bytes > kHeldBytesMax || held_frames > transport->capabilities().held_frames_max;
  }
  bool window_allows(std::uint64_t bytes) const {
    return uncredited_sent - uncredited_returned + bytes + kFrameCost <= kWindowBytes;
  }
};

// Another process (or this one, by the self transport).
struct Peer {
  ProcessAddress address;
  Transport* transport = nullptr;  // the best one that reaches it
  std::vector<std::byte> transport_address;
  std::vector<std::unique_ptr<Channel>> channels;  // by lane
  bool lost = false;                               // a channel closed that nobody here closed
  Instant lost_since{};
  bool died = false;      // it was its death that closed them
  bool goes_on = false;   // it has closed them itself: its death later proves nothing
  bool shut_out = false;  // for its silence, by this process: its channels are being closed
  Nanoseconds heard{-1};  // when something of it came last, by the engine's attentive clock
  Status why;
};

}  // namespace tutti
