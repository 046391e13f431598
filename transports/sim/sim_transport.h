// SimTransport: one simulated process's way to the others; made by SimNetwork::attach(). Nothing to sleep on: whoever
// drives the simulation advances the network's clock when all are idle.
#pragma once

#include <array>
#include <deque>
#include <unordered_map>
#include <vector>

#include "src/transport/transport.h"
#include "transports/sim/sim_link.h"

namespace tutti {

class SimTransport final : public Transport {
 public:
  SimTransport(SimNetwork& network, std::uint32_t process);
  ~SimTransport() override;

  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return address_; }
  bool reaches(std::span<const std::byte> address) const override;
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override;
  void forget(Link* link) override;
  // `now` is not looked at: the network's clock is the time.
  std::size_t poll(std::span<Event> out, Instant now) override;
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override { return notes_.empty(); }
  void finish_wait() override {}
  // What is given back is scribbled over: see SimBuffers.
  std::byte* borrow(const std::byte* payload, std::size_t bytes) override;
  void give_back(std::byte* borrowed) override;
  std::byte* segment() override;
  std::size_t segment_bytes() const override;

 private:
  friend class SimLink;
  friend class SimNetwork;

  // Something to report. Deliveries are made up when they are reported.
  struct Note {
    EventKind kind;
    SimLink* link;
    std::uint64_t token;
  };
  void note(EventKind kind, SimLink& link, std::uint64_t token = 0) { notes_.push_back({kind, &link, token}); }

  void retract_closed(const SimLink& link);

  static std::uint64_t key(std::uint32_t peer, std::uint32_t lane) { return std::uint64_t{peer} << 32 | lane; }
  SimLink* current(std::uint32_t peer, std::uint32_t lane) const;
  void set_current(SimLink& link);
  void drop_current(const SimLink& link);

  SimNetwork& network_;
  const std::uint32_t process_;
  Capabilities capabilities_;
  std::array<std::byte, 40> address_;
  std::deque<Note> notes_;
  std::unordered_map<std::byte*, SimBuffer> lent_;
  std::uint64_t polls_ = 0;
  std::vector<SimLink*> links_;
  std::unordered_map<std::uint64_t, SimLink*> current_;  // by key: the link that connect() would return
};

}  // namespace tutti
