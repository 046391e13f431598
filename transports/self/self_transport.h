// SelfTransport: the way from a process to itself, for several ranks that live in one process. Both ends of its link
// are one Link: what is sent on it is delivered on it by the next poll(). Nothing is copied but the smallest
// payloads: a delivery's data is the sender's own payload, and the send ends when the delivery is released.
//
// Invariants
//  - One link per lane at a time. Reaches its own process only; nothing leaves it, so nothing can be lost but by
//  close().
//  - After close(), data that was delivered and not yet released is still the sender's payload: sender and receiver
//  are
//    one process here, and keep it until the release themselves.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "src/transport/transport.h"

namespace tutti {

class SelfLink;

struct SelfOptions {
  std::size_t copied_bytes_max = 256;
  std::size_t queue_frames = 1024;  // frames not delivered, and copied ones not released; then `again`
};

class SelfTransport final : public Transport {
 public:
  explicit SelfTransport(const ProcessId& self, const SelfOptions& options = {});
  ~SelfTransport() override;

  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return address_; }
  bool reaches(std::span<const std::byte> address) const override;
  // The link is there at once; `deadline` never matters.
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override;
  void forget(Link* link) override;
  std::size_t poll(std::span<Event> out, Instant now) override;
  // Nobody else can send here, so there is nothing to sleep for: only a look at what is queued.
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override { return events_.empty(); }
  void finish_wait() override {}

 private:
  friend class SelfLink;

  const ProcessId self_;
  const SelfOptions options_;
  Capabilities capabilities_;
  std::array<std::byte, 24> address_;
  std::deque<Event> events_;  // in the order in which they came to be; deliveries too
  std::vector<std::unique_ptr<SelfLink>> links_;
};

}  // namespace tutti
