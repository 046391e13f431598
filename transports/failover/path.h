// Path: a link of the wrapped transport, and what both sides know of the frames on it. Plain data; its bundle acts.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "src/transport/transport.h"
#include "transports/failover/control.h"

namespace tutti::failover {

class Bundle;
class Lane;
struct Stream;

struct Path {
  enum class State : std::uint8_t {
    connecting,
    greeting,  // connected; no hello has come that names our bundle
    ready,
    ended,  // nothing is taken from it any more
  };
  struct Fetch {  // a payload that the wrapped transport writes to
    std::uint64_t token = 0;
    Lane* lane = nullptr;
    std::uint64_t sequence = 0;
  };

  Path(Link* its_link, Bundle* its_bundle, std::uint64_t its_number, std::uint32_t its_next_stream)
      : link(its_link),
        bundle(its_bundle),
        lane(its_link->lane()),
        number(its_number),
        send_lane(lane),
        receive_lane(lane),
        next_stream(its_next_stream) {}

  bool is_relayed() const { return lane >= kRelayLanes; }

  Link* const link;
  Bundle* bundle;  // null: it has ended
  const std::uint32_t lane;
  const std::uint64_t number;     // never used again by this process
  std::uint64_t peer_number = 0;  // what the peer calls it
  std::uint32_t narrow_way = 0;   // Link::narrow_way()
  State state = State::connecting;
  bool closed = false;         // its closed event has come
  std::size_t deliveries = 0;  // not released
  Instant deadline = kNever;   // of the greeting
  Instant ready_since{};

  std::uint64_t peer_bundle = 0;  // by its latest hello; 0: none has come
  std::uint64_t told_bundle = 0;  // what our latest hello said that is
  bool owes_hello = false;
  bool owes_state = false;        // what has come of each lane, and which paths have ended
  std::uint32_t counts_told = 0;  // of that: lanes whose count is said
  std::uint32_t ends_told = 0;    // and whose end is

  // A frame without a label is number `sequence` of `lane`: the next one sent, the next one to come.
  std::uint32_t send_lane;
  std::uint64_t send_sequence = 0;
  std::uint32_t receive_lane;
  std::uint64_t receive_sequence = 0;
  std::uint64_t told = 0;   // frames of the path's lane that were confirmed on this path
  std::uint64_t heard = 0;  // and that the peer has confirmed on it

  std::vector<Fetch> fetches;

  // Of large frames, in bytes: what it has taken, and of that what the link still reads. bundle_striping.cc measures
  // how fast it carries them: since `measured_at`, when so much was with the peer and so much on its way.
  std::int64_t taken = 0;
  std::uint64_t in_transport = 0;
  double bytes_per_second = 0;  // 0: not measured
  Instant measured_at{};
  std::int64_t arrived_then = 0;
  std::int64_t under_way_then = 0;

  // Of relays. A frame is the path's own, or of the stream that the latest label names.
  bool may_relay = false;  // both sides want it
  std::uint32_t next_stream;
  std::uint32_t send_stream = 0;
  std::uint32_t receive_stream = 0;
  std::vector<Stream*> streams;
  std::deque<Control> words;             // about them, to be sent
  std::vector<std::byte> relay_address;  // that has come, of the process which the next stream is to go to
};

}  // namespace tutti::failover
