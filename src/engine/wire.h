// Wire: what lane runs use to put frames on channels and to give back what came. Owns the bookkeeping between the
// engine's steps and the transports' cookies and tokens: every pending send and every delivery has one entry here
// until it ends, exactly once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "src/engine/links.h"

namespace tutti {

// Memory that a transport has lent, for a payload that goes to several of its peers. It goes back when the run that
// shares it has let go of it and no transport reads it any more.
struct SharedPayload {
  Transport* transport = nullptr;
  std::byte* memory = nullptr;
  std::uint32_t readers = 0;  // sends that are pending
  bool is_held = false;       // by the run
  SharedPayload* next = nullptr;
};

class Wire {
 public:
  // One payload that a transport still reads.
  struct PendingSend {
    StepReference step;
    std::uint32_t segment = 0;
    Channel* channel = nullptr;       // null: free
    SharedPayload* shared = nullptr;  // it reads this; the step has been done since it was sent
    std::vector<std::byte> control;   // a control frame's own payload
  };

  // Sends one data frame; `pending` sends are remembered under a cookie until `take_pending`. `shared`, where the
  // payload lies in it, stays while it is read, whatever becomes of the run, so `pending` is as good as `copied` for
  // whoever sends. The end of the reading comes by `take_pending` all the same.
  SendState send_data(Channel& channel, const Header& header, const std::byte* payload, std::uint32_t bytes,
                      StepReference step, std::uint32_t segment, SharedPayload* shared = nullptr);
  PendingSend take_pending(std::uint64_t cookie);
  // All sends that died with a channel.
  void take_pending_of(const Channel& channel, std::vector<PendingSend>& out);

  // Null: see Transport::borrow. What is there is the caller's to write, before the first send.
  SharedPayload* borrow(Transport& transport, const std::byte* payload, std::uint32_t bytes);
  void let_go(SharedPayload* shared);

  // Control frames never get lost while the channel lives and never overtake each other.
  void send_control(Channel& channel, const Frame& frame, std::span<const std::byte> payload = {});
  void flush_control(Channel& channel);

  // Channels with something that met `again`, or is there before they are open; in the order in which that was noted,
  // each once. Who takes them tries again, and notes those where something is left.
  void note_waiting(Channel& channel);
  bool has_waiting() const { return !waiting_.empty(); }
  std::vector<Channel*> take_waiting();

  Arrival* new_arrival();
  // The payload has been used: gives the delivery back to its transport and the bytes to the sender's window.
  void consume(Arrival* arrival);
  // The payload is in memory of its own (owned) now: the transport gets the delivery back, the window does not move.
  void let_go(Arrival* arrival);
  void keep_copy(Arrival* arrival, std::unique_ptr<std::byte[]> owned);

  // Memory for one segment. Buffers of one size are kept and reused while warm.
  std::unique_ptr<std::byte[]> take_buffer(std::uint32_t bytes);
  void give_buffer(std::unique_ptr<std::byte[]> buffer, std::uint32_t bytes);

 private:
  std::uint32_t next_cookie();
  void report_consumed(Channel& channel);
  void give_back_unless_used(SharedPayload* shared);

  std::vector<PendingSend> pending_;
  std::vector<std::uint32_t> free_pending_;
  std::vector<std::unique_ptr<SharedPayload>> shared_;
  SharedPayload* free_shared_ = nullptr;
  std::vector<std::unique_ptr<Arrival>> arrivals_;
  Arrival* free_arrivals_ = nullptr;
  struct Spare {
    std::unique_ptr<std::byte[]> memory;
    std::uint32_t bytes;
  };
  std::vector<Spare> spare_;
  std::vector<Channel*> waiting_;
};

}  // namespace tutti
