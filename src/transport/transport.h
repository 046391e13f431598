// Transport and Link: moving frames between two processes. This header is the contract; enough to write a transport
// from. It knows no rank, no collective, no schedule: a transport sees processes, frames and bytes.
//
// A Transport is one way of reaching other processes (shared memory, TCP, a simulated network). A Link is one ordered
// stream of frames to one other process on one lane (lane 0 always exists where there is a link at all; a transport
// may offer more, over other connections or other NICs). A frame is a fixed header, opaque to the transport, and a
// payload.
//
// Rules
//  - Threads: every call on a transport and its links is made under one lock of the caller's; transports start no
//    thread of their own and never call back up. What happens is reported by poll(), as values.
//  - Nothing blocks, except for a system call that returns at once. poll() reads no clock: `now` is handed in.
//  - Frames of one link arrive exactly once, whole, in the order in which they were sent, or the link is closed.
//  - Every send that was `pending` ends in exactly one `sent` event, or in the link's `closed` event, after which the
//    payload is no longer read. Every delivery is released exactly once by the caller (also after `closed`).
//  - A link ends by exactly one `closed` event; link->status() then says why, in a sentence that names the peer
//    (host, pid, address) and the system's own words. The Link object stays valid until the caller destroys it by
//    Transport::forget(link), or the transport goes.
//  - A stranger (wrong secret, garbage, wrong version, wrong process id) is refused and logged; no event results.
//  - Each lane to a process is a link of its own, or, where a transport says so (transports/failover), the end of one
//    is the end of all.
//  - If both processes connect to each other on one lane at the same time, exactly one link results on each side.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/ids.h"
#include "src/base/status.h"

namespace tutti {

// The top byte of words[1] is not the caller's, who leaves it 0 and finds it 0: a transport around another one may
// use it on the way.
struct Header {
  std::array<std::uint64_t, 6> words{};
  bool operator==(const Header&) const = default;
};

// What a transport is able to do, and roughly how well; the planner's first estimate until it has measured.
struct Capabilities {
  std::string_view name;               // "shm", "tcp", ...
  std::size_t frame_bytes_max = 0;     // the largest payload of one frame; at least 1 MiB
  std::size_t copied_bytes_max = 0;    // payloads up to this size are always `copied` when taken
  std::uint32_t lanes_max = 1;         // how many lanes to one peer make sense
  std::uint32_t held_frames_max = 16;  // deliveries a receiver may hold on a link without stopping its sender, of
                                       // those that are neither transient nor in place; and at most 512 KiB of them
  bool has_segment = false;            // Link::segment() gives memory shared with the peer (see below)
  double bytes_per_second = 0;         // one lane, one direction
  Nanoseconds latency{0};              // one small frame, one way
};

enum class SendState : std::uint8_t {
  copied,   // taken, and the payload may be overwritten now; no event follows
  pending,  // taken; the payload must stay as it is until the `sent` event with the cookie
  again,    // not taken: the queue is full. Try again after a later poll
  closed,   // not taken: the link is closed
};

enum class FetchState : std::uint8_t { done, pending, closed };

class Link {
 public:
  virtual ~Link() = default;

  virtual ProcessId peer() const = 0;
  virtual std::uint32_t lane() const = 0;
  virtual bool is_open() const = 0;          // connected and not closed
  virtual const Status& status() const = 0;  // why it is closed; ok while it lives
  virtual std::string describe() const = 0;  // "tcp node07:41200 -> node08:38112", for messages

  // Of a closed link: whether it ended because nothing came through any more, which says nothing of the peer: it may
  // live, and others may reach it. False where the peer's process ended or closed it, and where this side did.
  virtual bool is_cut_off() const { return false; }

  // What the latest `rerouted` event was about, in words, for the record; empty: there was none.
  virtual std::string_view news() const { return {}; }

  // Sends one frame. Allowed from the `connected` event on. REQUIRES: bytes <= frame_bytes_max.
  virtual SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) = 0;

  // Brings the payload of a delivery without `data` to `target` (all of its bytes). done: it is there. pending: a
  // `fetched` event with the token follows; target must stay until then. Called at most once per delivery, and soon:
  // the transport may stop receiving on this link until it is. closed: the payload is lost with the link.
  virtual FetchState fetch(std::uint64_t token, std::byte* target) = 0;

  // The caller no longer needs the delivery's data. Exactly once per delivery.
  virtual void release(std::uint64_t token) = 0;

  // Makes a peer that sleeps in wait look again, after something was written to a shared segment behind the
  // transport's back (a board). Cheap when the peer is awake. Does nothing where there is no segment.
  virtual void notify() {}

  // Whether everything that send() has taken has left this process, so that the process may end without losing it.
  virtual bool is_drained() const { return true; }

  // Bytes that send() has taken and that, as far as can be told without asking the peer, are not with it yet. Nothing
  // where that is not known: then `sent` events are all that tells.
  virtual std::optional<std::uint64_t> under_way() const { return std::nullopt; }

  // Whether it does not leave the host. All lanes to that peer then share one path, the host's memory.
  virtual bool is_within_host() const { return false; }

  // Links to one peer that say the same, other than 0, leave by one way that is so narrow that one of them fills it:
  // spread over several, each of which looks for its share, the same bytes take longer. 0: not known to.
  virtual std::uint32_t narrow_way() const { return 0; }

  // The peer's shared segment as mapped here, or null (has_segment is false, or never connected). The mapping stays
  // as long as this object, also after the link is closed: what the peer wrote before it ended can still be read.
  virtual std::byte* segment() { return nullptr; }

  // Closes the link: frames not yet on their way are dropped; a `closed` event follows from poll() with this reason.
  virtual void close(const Status& why) = 0;
};

enum class EventKind : std::uint8_t {
  connected,  // the link is ready: one that connect() returned, or a new one that the peer opened
  delivery,   // a frame has come
  fetched,    // the fetch of `token` is done
  sent,       // the payload of send `token` (its cookie) may be overwritten
  closed,     // the link is closed; nothing else comes from it
  rerouted,   // `token` 1: an open link has lost its own connection and goes on by others; 0: it has it back
};

struct Event {
  EventKind kind = EventKind::closed;
  // delivery: the data must be used (or copied away) and released before the next poll of this transport.
  // Otherwise it may be held, within the transport's bounds: whoever holds much stops the sender.
  bool transient = false;
  // delivery: the data lies in the sender's own memory (shared with us): holding it keeps only that payload waiting.
  bool in_place = false;
  Link* link = nullptr;
  std::uint64_t token = 0;          // delivery, fetched: names the delivery. sent: the sender's cookie. See rerouted
  Header header;                    // delivery
  const std::byte* data = nullptr;  // delivery: the payload, readable until released; null: call fetch
  std::size_t bytes = 0;            // delivery: payload length
};

class Transport {
 public:
  virtual ~Transport() = default;

  virtual const Capabilities& capabilities() const = 0;

  // How others reach this process: opaque bytes for the rendezvous, at most 4 KiB.
  virtual std::span<const std::byte> address() const = 0;

  // Whether a process with this address can be reached from here; decided from facts in the two addresses. Bytes that
  // are no address of this transport are not reachable, never an error.
  virtual bool reaches(std::span<const std::byte> address) const = 0;

  // The link to `peer` on `lane`: the one that exists, or a new one that starts to connect. A `connected` or `closed`
  // event follows for a new one, at the latest at `deadline`. Fails at once where the address is not reachable or a
  // resource has run out (names the limit, such as open files).
  virtual Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                                Instant deadline) = 0;

  // Destroys a closed link whose deliveries are all released.
  virtual void forget(Link* link) = 0;

  // Moves whatever can be moved and reports up to out.size() events. Never blocks.
  virtual std::size_t poll(std::span<Event> out, Instant now) = 0;

  // Sleeping. The caller sleeps on wait_descriptor() becoming readable (poll(2)), after prepare_wait() returned true
  // and before finish_wait(). prepare_wait() returns false when poll() has something to do already. A transport with
  // nothing to wait on returns -1.
  virtual int wait_descriptor() const = 0;
  virtual bool prepare_wait() = 0;
  virtual void finish_wait() = 0;

  // Memory for `bytes` bytes that are to be sent to several peers, who read them where they lie: whoever has copied
  // `payload` there, once, sends from there what would otherwise be copied on the way to each. Such sends may be
  // `pending`. Null: none is free, this transport lends none, or it would not copy `payload` anyway.
  virtual std::byte* borrow(const std::byte* payload, std::size_t bytes) {
    (void)payload, (void)bytes;
    return nullptr;
  }
  // Gives it back, once. REQUIRES: no send from there is pending, except on links that are closed: a peer of those
  // may still read, and finds what was there.
  virtual void give_back(std::byte* borrowed) { (void)borrowed; }

  // This process's own shared segment, for boards: memory that the peers see by Link::segment(). Null without
  // has_segment. `segment_bytes` is its size; who uses which part is the caller's affair.
  virtual std::byte* segment() { return nullptr; }
  virtual std::size_t segment_bytes() const { return 0; }
};

}  // namespace tutti
