// Party: one process as the conformance cases see it: a transport, the links it has, and a strict reader of events.
//
// It holds every transport to the contract whatever the case at hand is about: `connected` and `closed` come once and
// in this order with the deliveries between them; a pending send ends once; what was `copied` or `sent` is
// overwritten at once, so that a transport which still reads it is found out; payloads are kept at odd addresses;
// data that is held must not change until it is released; a fetch writes its target and nothing beside it. A breach
// is a test failure at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/base/random.h"
#include "src/transport/transport.h"

namespace tutti::conformance {

// The k-th frame of a numbered stream: everything about it follows from these, so both ends can make it.
Header stream_header(std::uint64_t stream, std::uint64_t index, std::size_t bytes);
std::vector<std::byte> stream_payload(std::uint64_t stream, std::uint64_t index, std::size_t bytes);

struct Frame {
  Header header;
  std::vector<std::byte> payload;
  bool complete = false;  // the payload is there; false while a fetch is due, or if it was dropped or lost
  bool had_data = false;
  bool transient = false;

  std::uint64_t stream() const { return header.words[0]; }
  std::uint64_t index() const { return header.words[1]; }
};

// What to do with a delivery.
enum class Take : std::uint8_t {
  copy,         // copy or fetch it, release at once (after the fetch)
  hold,         // if it may be held: copy it, release it when told to; else copy
  fetch_later,  // if it comes without data: leave it until told to; else copy
  drop,         // release it without a look
};

// One link as one side sees it. Outlives the Link object, for the counts.
struct Line {
  Link* link = nullptr;  // null once forgotten
  ProcessId peer;
  std::uint32_t lane = 0;
  bool connected = false;
  bool closed = false;
  Status why;                     // of the closed event
  std::deque<Frame> received;     // in order of the delivery events
  std::uint64_t frames_sent = 0;  // taken by send()
  std::uint64_t sends_ended = 0;  // `sent` events

  struct Held {
    Event event;
    std::size_t frame = 0;  // in `received`
  };
  std::vector<Held> held;       // not released
  std::vector<Held> unfetched;  // not fetched, not released
  struct Fetching {
    std::vector<std::byte> target;  // with a byte to spare before and some after
    std::size_t frame = 0;
    std::size_t bytes = 0;
  };
  std::map<std::uint64_t, Fetching> fetching;               // by token
  std::map<std::uint64_t, std::vector<std::byte>> pending;  // by cookie
  std::uint64_t next_cookie = 0;
  std::vector<std::pair<bool, std::string>> rerouted;  // whether its connection was lost, and what was said

  bool open() const { return connected && !closed; }
  bool owes_nothing() const { return held.empty() && unfetched.empty() && fetching.empty(); }
};

class Party {
 public:
  Party(const ProcessId& id, std::unique_ptr<Transport> transport);
  ~Party();

  const ProcessId& id() const { return id_; }
  Transport& transport() { return *transport_; }
  std::vector<std::byte> address() const;

  // How many events one poll may report, and what becomes of deliveries.
  std::size_t batch = 16;
  std::function<Take(const Line&, const Event&)> taste;

  // Polls once; returns the number of events.
  std::size_t poll(Instant now);

  // transport().connect; a Line is made for a new link. Null with `*error` set where it fails at once.
  Line* connect(Party& peer, Instant deadline, std::uint32_t lane = 0, Status* error = nullptr);
  Line* connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane, Instant deadline,
                Status* error = nullptr);

  // Sends a copy of `payload` from an odd address (shifted by `skew`).
  SendState send(Line& line, const Header& header, const std::vector<std::byte>& payload, std::size_t skew = 1);

  // Releases line.held[index], having checked that its data is what it was (`intact` false: only reads it).
  void release_held(Line& line, std::size_t index, bool intact = true);
  void fetch_now(Line& line, std::size_t index);  // of line.unfetched
  void release_all(Line& line, bool intact = true);

  // Forgets a closed link; releases what is held first.
  void forget(Line& line);

  // All lines ever, oldest first; and the ones that are open to a peer.
  std::deque<std::unique_ptr<Line>>& lines() { return lines_; }
  Line* open_line(const ProcessId& peer, std::uint32_t lane = 0);
  std::size_t count_lines(const ProcessId& peer, bool connected_only = true) const;

 private:
  Line* line_of(Link* link);
  void on_connected(const Event& event);
  void on_delivery(Line& line, const Event& event);
  void on_closed(Line& line);
  void start_fetch(Line& line, const Event& event, std::size_t frame);
  void finish_fetch(Line& line, std::uint64_t token);

  ProcessId id_;
  std::unique_ptr<Transport> transport_;
  std::deque<std::unique_ptr<Line>> lines_;
};

}  // namespace tutti::conformance
