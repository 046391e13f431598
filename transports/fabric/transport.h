// FabricTransport: all links of a process over its wires; polling and sleeping.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "transports/fabric/fabric.h"
#include "transports/fabric/link.h"

namespace tutti::fabric {

class FabricTransport final : public Transport {
 public:
  FabricTransport(std::unique_ptr<Transport> control, std::vector<std::unique_ptr<Wire>> wires,
                  FabricOptions options);
  ~FabricTransport() override;

  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return address_; }
  bool reaches(std::span<const std::byte> address) const override;
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override;
  void forget(Link* link) override;
  std::size_t poll(std::span<Event> out, Instant now) override;
  int wait_descriptor() const override { return epoll_; }
  bool prepare_wait() override;
  void finish_wait() override;

  // For the links.
  Wire& wire_of(std::uint32_t lane) const { return *rails_[lane % rails_.size()]->wire; }
  const Log& log() const { return options_.log; }
  const std::string& own_name() const { return own_name_; }
  void emit(const Event& event) { events_.push_back(event); }
  Instant now() const { return now_; }
  void attend(FabricLink& link);
  // A frame, for want of room. No event tells when there is some; prepare_wait() does.
  SendState refused() {
    has_refused_ = true;
    return SendState::again;
  }
  void forget_key(std::uint64_t key) { by_key_.erase(key); }
  void bury(FabricLink& link) { buried_.push_back(&link); }  // to be forgotten, nobody knows it

 private:
  struct Rail final : WireUser {
    Rail(FabricTransport& its, std::unique_ptr<Wire> of) : transport(its), wire(std::move(of)) {}
    void on_message(const Message& message) override { transport.on_message(message, *wire); }
    FabricTransport& transport;
    std::unique_ptr<Wire> wire;
  };

  void on_message(const Message& message, Wire& wire);
  std::size_t progress();
  bool prepare_wires();

  Result<FabricLink*> add_link(Link* control, Instant deadline, bool is_known);
  void poll_control(Instant now);
  void handle_control(const Event& event, Instant now);
  void drain_wires();
  std::size_t take_events(std::span<Event> out);
  std::size_t work(std::span<Event> out, Instant now);
  void set_timer(Nanoseconds after);
  void watch_links(Instant now);

  const FabricOptions options_;
  const pid_t pid_;
  const std::string own_name_;
  std::unique_ptr<Transport> control_;
  std::vector<std::unique_ptr<Rail>> rails_;
  Capabilities capabilities_;
  std::vector<std::byte> address_;
  int epoll_ = -1;
  int timer_ = -1;
  bool is_timer_set_ = false;

  std::unordered_map<Link*, std::unique_ptr<FabricLink>> links_;  // by control connection
  std::unordered_map<std::uint64_t, FabricLink*> by_key_;
  std::vector<FabricLink*> attended_;
  std::vector<FabricLink*> batch_;  // of attended_, being worked on
  std::vector<FabricLink*> buried_;
  std::deque<Event> events_;
  std::vector<Event> control_events_;
  bool is_unsettled_ = false;  // some attended link is
  bool has_refused_ = false;   // a frame, and nothing has moved since
  bool may_have_room_ = false;
  std::uint64_t drops_ = 0;  // messages with an unknown key
  Instant now_{};
  Instant last_control_{};
  Instant next_watch_{};
  std::uint32_t polls_since_control_ = 0;
  bool naps_ = false;  // there is a wire without a descriptor
  Nanoseconds nap_{};  // between looks at it
};

}  // namespace tutti::fabric
