// The receiving half of a link: bytes from the kernel in, deliveries out.
//
// A frame that is whole in the buffer is delivered as transient data out of it. A payload too large for that is
// announced as soon as its header is here; then nothing more is read until the caller fetches it (it is received into
// the caller's memory, with what follows it caught in the buffer by the same call) or releases it (it is read away).
//
// Invariants: receive() is the only call that moves or overwrites bytes in the buffer, so data delivered after it
// stays until the next. A header that is not the next one, or too large a payload, ends the stream: fault() says why.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/base/status.h"
#include "src/tls/conduit.h"
#include "src/transport/transport.h"
#include "transports/tcp/frame.h"

namespace tutti::tcp {

class Receiver {
 public:
  explicit Receiver(std::size_t frame_bytes_max);

  // One read from the socket. REQUIRES: next() returned false since, and no delivered data is in use.
  void receive(Conduit conduit);
  // The next delivery or fetched payload. False: more bytes are needed, or a fetch.
  bool next(Event& event);
  FetchState fetch(Conduit conduit, std::uint64_t token, std::byte* target);
  void release(std::uint64_t token);

  // Whether the last read left the socket's buffer empty.
  bool is_drained() const { return drained_ && !ending_; }
  void mark_readable() { drained_ = false; }
  // The end of the stream is in the socket's buffer, perhaps behind data: a read that comes up short may hide it, and
  // no new edge will tell.
  void mark_ending() { ending_ = true; }
  bool waits_for_fetch() const { return phase_ == Phase::announced; }
  // No more bytes will come: the peer's end of the stream (errno 0) or an error.
  bool has_ended() const { return ended_; }
  int error() const { return error_; }
  const Status& fault() const { return fault_; }

 private:
  enum class Phase : std::uint8_t {
    frames,     // frames come whole out of the buffer
    announced,  // a payload waits for the caller
    fetching,   // it goes to the caller's memory
    skipping,   // it goes nowhere
  };

  std::size_t read(Conduit conduit, std::byte* first, std::size_t first_bytes, std::byte* second,
                   std::size_t second_bytes);
  void receive_payload(Conduit conduit);
  void set_low_water(Conduit conduit, std::size_t bytes);
  void make_room();
  std::size_t buffered() const { return end_ - begin_; }
  bool is_sound(const FrameHead& head);

  const std::size_t frame_bytes_max_;
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t appetite_;      // bytes that one read takes into the buffer; small while large payloads come
  std::uint64_t number_ = 0;  // of the next frame; its token too
  Phase phase_ = Phase::frames;
  std::byte* target_ = nullptr;
  std::uint64_t large_token_ = 0;
  std::size_t large_bytes_ = 0;
  std::size_t large_filled_ = 0;
  std::size_t low_water_ = 1;  // bytes below which the kernel wakes nobody
  unsigned sips_ = 0;          // reads of this payload that brought little
  bool drained_ = false;
  bool ending_ = false;
  bool ended_ = false;
  int error_ = 0;
  Status fault_;
};

}  // namespace tutti::tcp
