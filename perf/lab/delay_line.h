// One direction of a delayed link: packets are taken from one network device and given to another a fixed time after
// they arrived. Order is kept whatever becomes of the delay, so a shorter delay counts once the line has run empty of
// packets that wait for a longer one. Packets travel with their virtio header, hence with large segments and
// unfinished checksums as the sender's kernel made them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace tutti_lab {

using Nanoseconds = std::int64_t;

Nanoseconds monotonic_ns();

// A packet socket bound to the device, non-blocking. Returns -1 and leaves errno where that cannot be had; *step is
// then the call that could not be done.
int open_device(const char* name, const char** step);

class DelayLine {
 public:
  DelayLine(int from, int to, Nanoseconds delay) : from_(from), to_(to), delay_(delay) {}

  int source() const { return from_; }
  void set_delay(Nanoseconds delay) { delay_ = delay; }

  // Takes what has arrived, up to a bound so that the other lines get their turn.
  void receive();
  // Gives away what is due.
  void send();
  // When send() has something to do next; negative: nothing waits.
  Nanoseconds next_due() const { return waiting_.empty() ? -1 : waiting_.front().due; }

  std::uint64_t dropped_full() const { return dropped_full_; }
  std::uint64_t dropped_by_device() const { return dropped_by_device_; }

 private:
  struct Packet {
    Nanoseconds due = 0;
    std::vector<std::byte> bytes;  // virtio header and frame
  };

  const int from_;
  const int to_;
  Nanoseconds delay_;
  std::deque<Packet> waiting_;
  std::size_t waiting_bytes_ = 0;
  Nanoseconds last_due_ = 0;
  std::uint64_t dropped_full_ = 0;
  std::uint64_t dropped_by_device_ = 0;
};

}  // namespace tutti_lab
