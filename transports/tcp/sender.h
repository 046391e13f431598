// The sending half of a link: what has been taken and is not yet in the kernel.
//
// A queue of segments, in the order of the stream. A staged segment is a run of bytes in a ring of this object's own
// (headers, copied payloads); a borrowed one is a payload in the caller's memory, written from there. Neighbouring
// staged runs are one segment, so many small frames leave by one system call. The first frame after a poll is written
// at once, for latency; those behind it wait for the poll or until a batch is full, for throughput.
//
// Invariants: staged bytes <= the ring; borrowed segments plus cookies not yet reported <= kBorrowedMax; once error()
// is set nothing is read from the caller's memory any more.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/tls/conduit.h"
#include "src/transport/transport.h"

namespace tutti::tcp {

class Sender {
 public:
  static constexpr std::size_t kBorrowedMax = 64;

  explicit Sender(std::size_t copied_bytes_max);

  SendState send(Conduit conduit, const Header& header, const std::byte* payload, std::size_t bytes,
                 std::uint64_t cookie);

  // Writes one batch, unless the kernel's buffer is known to be full; begins a new turn.
  void flush(Conduit conduit);
  // The kernel has room again.
  void unblock() { blocked_ = false; }
  // The cookie of a borrowed payload that is wholly written, each once, in order.
  bool take_sent(std::uint64_t& cookie);

  bool is_blocked() const { return blocked_; }
  bool wants_flush() const { return (count_ > 0 || in_conduit_) && !blocked_ && error_ == 0; }
  // TLS holds records that the kernel has not taken yet.
  void note_conduit(Conduit conduit) { in_conduit_ = conduit.has_unsent(); }
  bool has_sent() const { return sent_count_ > 0; }
  bool wrote_this_turn() const { return wrote_this_turn_; }
  int error() const { return error_; }  // errno of the write that ended the stream, or 0
  std::size_t queued_bytes() const { return queued_bytes_; }
  bool is_empty() const { return count_ == 0 && !in_conduit_; }
  bool is_unused() const { return number_ == 0; }

 private:
  struct Segment {
    const std::byte* data;
    std::size_t bytes;
    std::uint64_t cookie;
    bool is_staged;
  };
  static constexpr std::size_t kSegmentsMax = 256;  // a power of two, more than 3 * kBorrowedMax

  SendState write_through(Conduit conduit, const std::byte* head, const std::byte* payload, std::size_t bytes,
                          std::uint64_t cookie);
  std::size_t write(Conduit conduit, iovec* parts, std::size_t count, std::size_t bytes);
  void stage(const std::byte* bytes, std::size_t count);
  void borrow(const std::byte* bytes, std::size_t count, std::uint64_t cookie);
  void push(const Segment& segment);
  void advance(std::size_t written);
  Segment& at(std::size_t place) { return segments_[(first_ + place) % kSegmentsMax]; }

  const std::size_t copied_bytes_max_;
  std::size_t ring_bytes_;
  std::unique_ptr<std::byte[]> ring_;  // untouched pages of it cost no memory
  std::size_t ring_end_ = 0;           // where the next staged byte goes
  std::size_t staged_bytes_ = 0;
  std::size_t queued_bytes_ = 0;
  std::array<Segment, kSegmentsMax> segments_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t borrowed_ = 0;  // borrowed segments and unreported cookies
  std::array<std::uint64_t, kBorrowedMax> sent_;
  std::size_t sent_first_ = 0;
  std::size_t sent_count_ = 0;
  std::uint64_t number_ = 0;  // of the next frame
  bool blocked_ = false;
  bool in_conduit_ = false;
  bool wrote_this_turn_ = false;
  int error_ = 0;
};

}  // namespace tutti::tcp
