// VerbsTransport: one process's end of all its links, around a control transport.
//
// Every link has a control link of the same peer and lane; whatever the control transport promises (exactly one link
// where both sides connect, strangers refused, deadlines) therefore holds here. A control link belongs to the newest
// VerbsLink made for it; it is forgotten when it has reported its end.
//
// The completion queues are polled in every poll, which costs no system call. The control transport and the devices'
// events are asked in every poll while a link greets, otherwise now and then (kControlPause) and before each sleep.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "transports/verbs/link.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {

class VerbsTransport final : public Transport {
 public:
  VerbsTransport(std::unique_ptr<Transport> control, VerbsOptions options, std::vector<std::unique_ptr<Rail>> rails,
                 std::unique_ptr<Connector> connector, std::vector<std::byte> address, int epoll, int timer);
  ~VerbsTransport() override;

  const Capabilities& capabilities() const override { return common_.capabilities; }
  std::span<const std::byte> address() const override { return address_; }
  bool reaches(std::span<const std::byte> address) const override;
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override;
  void forget(Link* link) override;
  std::size_t poll(std::span<Event> out, Instant now) override;
  int wait_descriptor() const override { return epoll_; }
  bool prepare_wait() override;
  void finish_wait() override;

 private:
  using LaneKey = std::pair<ProcessId, std::uint32_t>;

  VerbsLink& add_link(Link& control, Instant deadline);
  VerbsLink* find(std::uint64_t serial);
  void erase(VerbsLink& link);
  void poll_control();
  void on_control(const Event& event);
  std::size_t poll_completions();
  bool poll_connector();
  bool poll_device_events();
  void on_device_event(Rail& rail, const Rail::DeviceEvent& event);
  void watch_ports();
  void run_timers();
  std::size_t collect(std::span<Event> out);
  bool has_greeting() const { return greeting_ > 0; }

  std::unique_ptr<Transport> control_;
  Common common_;
  std::vector<std::byte> address_;
  std::unordered_map<std::uint64_t, std::unique_ptr<VerbsLink>> links_;
  VerbsLink* latest_ = nullptr;  // that a completion was for
  std::unordered_map<Link*, std::uint64_t> by_control_;
  std::map<LaneKey, VerbsLink*> lanes_;  // the newest of each
  std::size_t greeting_ = 0;             // links that were greeting when the timers last ran
  std::uint64_t next_serial_ = 1;
  Instant control_due_{};
  const int epoll_;
  const int timer_;
};

}  // namespace tutti::verbs
