// FaultTransport: wraps any other transport and makes it misbehave within the contract (events late, `again` without
// a reason, links stalled or cut) or, for tests of checksums, outside of it (a payload bit flipped). Faults come by
// seeded chance or by explicit trigger. It wraps one side: give both sides one to have faults in both directions.
//
// Invariants
//  - Events of one link keep their order: while one is held back, all that come after it on the link queue behind it.
//  - An event held back never makes a connect miss its deadline.
//  - Transient data that is held back is copied first; everything else stays where the wrapped transport has it.
// Time is what poll() is told.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "src/base/random.h"
#include "src/transport/transport.h"

namespace tutti {

class FaultLink;

struct FaultOptions {
  std::uint64_t seed = 1;
  double delay_probability = 0;  // an event is held back for up to delay_max
  Nanoseconds delay_max{0};
  double again_probability = 0;  // a send is refused
  double stall_probability = 0;  // at an event: the link takes and reports nothing for up to stall_max
  Nanoseconds stall_max{0};
  double cut_probability = 0;          // at a send: the link is closed
  std::uint64_t cut_after_frames = 0;  // every link, counted in what it has sent; 0: never
  std::uint64_t cut_after_bytes = 0;
  double flip_probability = 0;  // a delivered payload has one bit wrong
};

class FaultTransport final : public Transport {
 public:
  FaultTransport(std::unique_ptr<Transport> wrapped, const FaultOptions& options);
  ~FaultTransport() override;

  // Triggers; they act on the link to `peer` on `lane` that was made last, and do nothing where there is none.
  void cut(const ProcessId& peer, std::uint32_t lane = 0);  // as by a lost connection
  void cut_after(const ProcessId& peer, std::uint64_t more_frames, std::uint32_t lane = 0);
  void stall(const ProcessId& peer, Instant until, std::uint32_t lane = 0);
  void flip_next(const ProcessId& peer, std::uint32_t lane = 0);  // the next payload that is delivered
  void set_options(const FaultOptions& options) {
    options_ = options;
  }  // for new chances; the seed is not used again

  Transport& wrapped() { return *wrapped_; }

  const Capabilities& capabilities() const override { return wrapped_->capabilities(); }
  std::span<const std::byte> address() const override { return wrapped_->address(); }
  bool reaches(std::span<const std::byte> address) const override { return wrapped_->reaches(address); }
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override;
  void forget(Link* link) override;
  std::size_t poll(std::span<Event> out, Instant now) override;
  int wait_descriptor() const override { return wrapped_->wait_descriptor(); }
  bool prepare_wait() override;
  void finish_wait() override { wrapped_->finish_wait(); }
  std::byte* borrow(const std::byte* payload, std::size_t bytes) override { return wrapped_->borrow(payload, bytes); }
  void give_back(std::byte* borrowed) override { wrapped_->give_back(borrowed); }
  std::byte* segment() override { return wrapped_->segment(); }
  std::size_t segment_bytes() const override { return wrapped_->segment_bytes(); }

 private:
  friend class FaultLink;

  FaultLink& link_of(Link* wrapped);
  FaultLink* newest(const ProcessId& peer, std::uint32_t lane);
  Nanoseconds up_to(Nanoseconds most);
  Instant held_until(const FaultLink& link, EventKind kind);

  std::unique_ptr<Transport> wrapped_;
  FaultOptions options_;
  Random random_;
  Instant now_{};  // of the latest poll
  std::uint64_t links_made_ = 0;
  bool refused_ = false;             // a send was refused by us: nothing would wake whoever sleeps over it
  std::size_t queued_ = 0;           // events held back
  std::vector<FaultLink*> holding_;  // the links that hold some, the longest first: never in an order by chance
  std::unordered_map<Link*, std::unique_ptr<FaultLink>> links_;  // by the wrapped one
};

}  // namespace tutti
