// Relays: what goes between two processes through a third one, over paths that these two have to it.
//
// The process that wants it opens a stream on a path to the third, which opens one to the target and carries every
// frame from one to the other. To both ends that is a link like another (RelayLink), whose path belongs to the bundle
// between the two. Frames of streams and the path's own share it: a label goes before each change (control.h).
//
// Invariants
//  - A stream has at most kRelayWindowBytes under way that the next process has not let go of. It is a peer that does
//    no such thing, and is cut off, that sends more. So who carries lends twice that to each pair of processes, for
//    at most kRelayedMax pairs; what has no room waits with its sender.
//  - Nothing is relayed twice: who carries does so between two paths of its own only.
//  - What an end has sent before it closes, or is lost, goes before the word of that.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "transports/failover/control.h"
#include "transports/failover/path.h"

namespace tutti::failover {

class FailoverTransport;
class RelayLink;

constexpr std::uint64_t kRelayWindowBytes = 4 << 20;
constexpr std::uint64_t kRelayFrameCost = 256;  // of each frame, beside its payload
constexpr std::size_t kRelayedMax = 16;         // pairs for which one process carries
constexpr std::size_t kRelayEndsMax = 256;      // links that end here

// Of a stream, in the word that ends it.
enum class RelayEnd : std::uint8_t {
  closed = 1,   // by the end that has opened it, or the other one
  no_path = 2,  // the third has no connection to the target
  full = 3,     // the third carries for as many as it does
  lost = 4,     // the third has lost the connection to the target, which may live
  dead = 5,     // the target's process has ended
};

struct Stream {
  struct Frame {
    Header header;
    std::shared_ptr<std::byte[]> memory;
    std::size_t bytes = 0;
    bool is_whole = true;
    std::uint64_t cost() const { return bytes + kRelayFrameCost; }
  };

  Path* path = nullptr;  // null: it is over
  std::uint32_t id = 0;
  bool is_accepted = false;
  RelayLink* link = nullptr;    // it ends here,
  Stream* other = nullptr;      // or goes on there
  bool is_carried = false;      // it goes on, or is to when there is a path
  ProcessId from;               // of one that goes on, by which it was opened: who has opened it,
  ProcessId to;                 // and to whom
  std::deque<Frame> queue;      // to be sent
  std::uint64_t under_way = 0;  // sent, and the next process has not let go of it
  std::uint64_t held = 0;       // come, and we have not
  std::uint64_t owed = 0;       // of held: we have, and not said so
  RelayEnd ends = RelayEnd{};   // to be said when the queue is empty

  // Goes on as soon as there is a path to `to`.
  bool is_waiting() const {
    return path != nullptr && is_carried && !is_accepted && other == nullptr && ends == RelayEnd{};
  }
};

class RelayLink final : public Link {
 public:
  RelayLink(FailoverTransport& transport, Stream& stream, const ProcessId& peer, std::uint32_t lane);

  ProcessId peer() const override { return peer_; }
  std::uint32_t lane() const override { return lane_; }
  bool is_open() const override { return stream_ != nullptr && stream_->is_accepted; }
  const Status& status() const override { return status_; }
  std::string describe() const override;
  bool is_cut_off() const override { return is_cut_off_; }
  SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) override;
  FetchState fetch(std::uint64_t token, std::byte* target) override;
  void release(std::uint64_t token) override;
  bool is_drained() const override;
  void close(const Status& why) override;

 private:
  friend class Relays;
  struct Delivery {
    Path* path = nullptr;  // null: free
    std::uint64_t token = 0;
    std::uint64_t cost = 0;
    bool is_fetching = false;
  };

  void finish(const Status& why, bool is_cut_off);

  FailoverTransport& transport_;
  Stream* stream_;
  const ProcessId peer_;
  const std::uint32_t lane_;
  const std::string through_;
  Status status_;
  bool is_cut_off_ = false;
  std::vector<Delivery> deliveries_;
};

class Relays {
 public:
  explicit Relays(FailoverTransport& transport) : transport_(transport) {}

  // A link to `peer` through the process at the other end of `path`, which may connect to that address (none where it
  // is empty); `connected` or `closed` follows.
  RelayLink* open(Path& path, const ProcessId& peer, std::uint32_t lane, std::span<const std::byte> address);
  bool owns(const Link* link) const { return links_.contains(link); }
  void forget(const Link* link) { links_.erase(link); }
  // Makes the next frame on the path one of this stream, 0 for the path's own; false: there is no room now.
  static bool label(Path& path, std::uint32_t stream);
  // An event of the path's link; false: it is not about streams.
  bool on_event(Path& path, const Event& event);
  // Nothing more comes by the path or is read for it.
  void on_path_ended(Path& path, bool by_peer);
  // Says by which address somebody can be connected to: this process where the stream is 0.
  void say_address(Path& path, std::uint32_t stream, std::span<const std::byte> address);
  // The first direct path to its peer is ready; there is none any more, and none under way.
  void on_reached(Path& path);
  void on_unreachable(const ProcessId& peer);
  // What the links to the relays have to report.
  bool take_event(Event& event);
  bool has_events() const { return !events_.empty(); }
  // Sends what is due.
  bool has_work() const { return !streams_.empty() || !talking_.empty(); }
  void work();

 private:
  friend class RelayLink;
  struct Sending {  // by a path that still reads it
    Path* path = nullptr;
    Stream* stream = nullptr;  // null: it is over
    std::shared_ptr<std::byte[]> memory;
    std::uint64_t cost = 0;
  };
  struct Fetching {  // of a frame to be carried on
    Path* path = nullptr;
    std::uint64_t token = 0;
    Stream* to = nullptr;  // null: it is over
    std::shared_ptr<std::byte[]> memory;
  };

  Stream& add_stream(Path& path, std::uint32_t id);
  static Stream* find(const Path& path, std::uint32_t id);
  static std::uint32_t new_id(Path& path);
  static bool is_new(const Path& path, std::uint32_t id);
  void say(Path& path, const Control& word);
  static bool say_words(Path& path);
  void report(EventKind kind, RelayLink& link, std::uint64_t token = 0);

  void on_word(Path& path, const Control& word);
  void on_address(Path& path, const Control& word);
  void on_open(Path& path, const Control& word);
  void go_on(Stream& stream, Path& path);
  void on_offer(Path& path, const Control& word);
  void on_accept(Path& path, Stream& stream);
  void on_end(Stream& stream, RelayEnd why);
  void on_frame(Path& path, const Event& event);
  void carry(Path& path, Stream& stream, const Event& event);
  bool on_fetched(const Path& path, std::uint64_t token);
  void on_sent(std::uint64_t cookie);

  void pump(Stream& stream);
  static void let_go(Stream& stream, std::uint64_t cost);
  void end(Stream& stream, RelayEnd why);  // says so, and is over
  void drop(Stream& stream);               // is over

  FailoverTransport& transport_;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::unordered_map<const Link*, std::unique_ptr<RelayLink>> links_;
  std::unordered_map<std::uint64_t, Sending> sending_;  // by cookie
  std::vector<Fetching> fetching_;
  std::vector<Path*> talking_;  // paths with words to be sent
  std::deque<Event> events_;
  std::uint64_t next_sending_ = 0;
};

}  // namespace tutti::failover
