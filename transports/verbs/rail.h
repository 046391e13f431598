// Rail: one port in use: its queue of completions, the memory that small frames are sent from, and the registrar.
//
// The completion queue holds the completions of all links of the port. It grows with them, so that it can never
// overflow: each link reserves what its queue pair can have outstanding.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/base/status.h"
#include "transports/verbs/memory.h"
#include "transports/verbs/port.h"
#include "transports/verbs/ring.h"

namespace tutti::verbs {

constexpr std::size_t kStagingSlots = 256;

class Rail {
 public:
  static constexpr std::uint16_t kNoSlot = 0xffff;

  static Result<std::unique_ptr<Rail>> open(Port port, const VerbsOptions& options);
  ~Rail();
  Rail(const Rail&) = delete;
  Rail& operator=(const Rail&) = delete;

  const Port& port() const { return port_; }
  const Library& library() const { return port_.device->library; }
  ibv_pd* domain() const { return domain_; }
  ibv_cq* queue() const { return queue_; }
  Registrar& registrar() { return registrar_; }
  std::size_t unit_bytes() const { return unit_bytes_; }

  // Room for so many more completions. `release` counts from when the queue is next seen empty.
  Status reserve(std::size_t completions);
  void release(std::size_t completions) { released_ += completions; }
  // Takes completions that are there; fewer than asked for: there are no more.
  std::size_t take(std::span<ibv_wc> out);

  bool has_slot() const { return !free_.empty(); }
  // Memory for one frame; kNoSlot: there is none now.
  std::uint16_t take_slot();
  void free_slot(std::uint16_t slot) { free_.push_back(slot); }
  std::byte* slot(std::uint16_t slot) const { return staging_.data() + slot * slot_bytes_; }
  std::uint32_t staging_key() const { return staging_registration_.local_key(); }

  // Sleeping: completions from now on make descriptor() readable.
  int descriptor() const { return channel_->fd; }
  int event_descriptor() const { return port_.device->context->async_fd; }
  void arm();
  void disarm();
  // The next event of the device; false: none that concerns this port. `queue_pair` is the number of the one that it
  // is about, or 0.
  struct DeviceEvent {
    ibv_event_type type = IBV_EVENT_DEVICE_FATAL;
    std::uint32_t queue_pair = 0;
    std::string text;  // the library's name of it
  };
  bool take_event(DeviceEvent& event);

  Instant down_since = kNever;  // the port is down

 private:
  Rail(Port port, const VerbsOptions& options);
  Status prepare();

  Port port_;
  const std::size_t unit_bytes_;
  const std::size_t slot_bytes_;
  ibv_pd* domain_ = nullptr;
  ibv_comp_channel* channel_ = nullptr;
  ibv_cq* queue_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t reserved_ = 0;
  std::size_t released_ = 0;
  bool is_armed_ = false;
  Pages staging_;
  Registration staging_registration_;
  std::vector<std::uint16_t> free_;
  Registrar registrar_;
};

}  // namespace tutti::verbs
