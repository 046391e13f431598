#include "transports/tcp/sender.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "transports/tcp/frame.h"

namespace tutti::tcp {

namespace {
constexpr std::size_t kRingBytesMin = 256u << 10;
constexpr std::size_t kBatchBytes = 16u << 10;    // queued bytes that are not worth waiting for more
constexpr std::size_t kWriteBytesMax = 1u << 20;  // one turn's: receiving and other links have their turn, too
constexpr std::size_t kWritePartsMax = 64;
constexpr std::size_t kJoinedBytesMax = 512;  // to copy so much costs less than a second part of a message
}  // namespace

Sender::Sender(std::size_t copied_bytes_max)
    : copied_bytes_max_(copied_bytes_max),
      ring_bytes_(std::max(kRingBytesMin, 4 * (copied_bytes_max + kFrameHeaderBytes))),
      ring_(std::make_unique_for_overwrite<std::byte[]>(ring_bytes_)) {}

SendState Sender::send(Conduit conduit, const Header& header, const std::byte* payload, std::size_t bytes,
                       std::uint64_t cookie) {
  if (error_ != 0) return SendState::again;  // the link closes as soon as what the peer has sent is read
  const bool copies = bytes <= copied_bytes_max_;
  const std::size_t to_stage = kFrameHeaderBytes + (copies ? bytes : 0);
  if (ring_bytes_ - staged_bytes_ < to_stage || (!copies && borrowed_ == kBorrowedMax)) return SendState::again;

  std::byte head[kFrameHeaderBytes];
  encode_frame(head, header, static_cast<std::uint32_t>(bytes), number_);
  if (count_ == 0 && !blocked_ && !wrote_this_turn_) return write_through(conduit, head, payload, bytes, cookie);
  ++number_;
  stage(head, kFrameHeaderBytes);
  if (copies) {
    stage(payload, bytes);
  } else {
    borrow(payload, bytes, cookie);
  }
  if (!blocked_ && queued_bytes_ >= kBatchBytes) flush(conduit);
  return copies ? SendState::copied : SendState::pending;
}

// The queue is empty: the frame goes to the kernel from where it is, and only what does not fit is queued. A frame
// that fits whole is `copied` whatever its size.
SendState Sender::write_through(Conduit conduit, const std::byte* head, const std::byte* payload, std::size_t bytes,
                                std::uint64_t cookie) {
  std::byte joined[kFrameHeaderBytes + kJoinedBytesMax];
  iovec parts[2] = {{const_cast<std::byte*>(head), kFrameHeaderBytes}, {const_cast<std::byte*>(payload), bytes}};
  std::size_t count = 2;
  if (bytes <= kJoinedBytesMax) {
    std::memcpy(joined, head, kFrameHeaderBytes);
    std::copy_n(payload, bytes, joined + kFrameHeaderBytes);
    parts[0] = {joined, kFrameHeaderBytes + bytes};
    count = 1;
  }
  const std::size_t written = write(conduit, parts, count, kFrameHeaderBytes + bytes);
  if (error_ != 0) return SendState::again;
  ++number_;
  wrote_this_turn_ = true;
  if (written == kFrameHeaderBytes + bytes) return SendState::copied;
  if (written < kFrameHeaderBytes) stage(head + written, kFrameHeaderBytes - written);
  const std::size_t skip = written < kFrameHeaderBytes ? 0 : written - kFrameHeaderBytes;
  if (bytes <= copied_bytes_max_) {
    stage(payload + skip, bytes - skip);
    return SendState::copied;
  }
  borrow(payload + skip, bytes - skip, cookie);
  return SendState::pending;
}

std::size_t Sender::write(Conduit conduit, iovec* parts, std::size_t count, std::size_t bytes) {
  const ssize_t written = send_to(conduit, {parts, count});
  if (written < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) {
    error_ = errno;
    return 0;
  }
  const std::size_t taken = written < 0 ? 0 : static_cast<std::size_t>(written);
  note_conduit(conduit);
  blocked_ = taken < bytes || in_conduit_;
  return taken;
}

void Sender::flush(Conduit conduit) {
  wrote_this_turn_ = false;
  if (!wants_flush()) return;
  iovec parts[kWritePartsMax];
  std::size_t count = 0;
  std::size_t bytes = 0;
  while (count < std::min(count_, kWritePartsMax) && bytes < kWriteBytesMax) {
    const Segment& segment = at(count);
    const std::size_t take = std::min(segment.bytes, kWriteBytesMax - bytes);
    parts[count++] = {const_cast<std::byte*>(segment.data), take};
    bytes += take;
  }
  advance(write(conduit, parts, count, bytes));
}

void Sender::stage(const std::byte* bytes, std::size_t count) {
  queued_bytes_ += count;
  staged_bytes_ += count;
  while (count > 0) {
    const std::size_t run = std::min(count, ring_bytes_ - ring_end_);
    std::byte* const to = ring_.get() + ring_end_;
    std::memcpy(to, bytes, run);
    if (count_ > 0 && at(count_ - 1).is_staged && at(count_ - 1).data + at(count_ - 1).bytes == to) {
      at(count_ - 1).bytes += run;
    } else {
      push({to, run, 0, true});
    }
    ring_end_ = (ring_end_ + run) % ring_bytes_;
    bytes += run;
    count -= run;
  }
}

void Sender::borrow(const std::byte* bytes, std::size_t count, std::uint64_t cookie) {
  queued_bytes_ += count;
  ++borrowed_;
  push({bytes, count, cookie, false});
}

void Sender::push(const Segment& segment) { at(count_++) = segment; }

void Sender::advance(std::size_t written) {
  queued_bytes_ -= written;
  while (written > 0) {
    Segment& segment = at(0);
    const std::size_t part = std::min(written, segment.bytes);
    segment.data += part;
    segment.bytes -= part;
    written -= part;
    if (segment.is_staged) staged_bytes_ -= part;
    if (segment.bytes > 0) return;
    if (!segment.is_staged) sent_[(sent_first_ + sent_count_++) % kBorrowedMax] = segment.cookie;
    first_ = (first_ + 1) % kSegmentsMax;
    --count_;
  }
}

bool Sender::take_sent(std::uint64_t& cookie) {
  if (sent_count_ == 0) return false;
  cookie = sent_[sent_first_];
  sent_first_ = (sent_first_ + 1) % kBorrowedMax;
  --sent_count_;
  --borrowed_;
  return true;
}

}  // namespace tutti::tcp
