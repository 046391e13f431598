// ShmLink: one pair of processes. Chooses how each payload travels, maps the peer's regions, and ends the link once
// and with a reason, whatever goes wrong.
//
// States: connecting -> open -> closed, or connecting -> closed. While open, the peer may be gone already: what it
// had sent is still delivered before the `closed` event. After `closed` the pair memory stays mapped until the link
// is destroyed, because deliveries may still be held.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "transports/shm/frame_receiver.h"
#include "transports/shm/frame_sender.h"
#include "transports/shm/memory.h"
#include "transports/shm/shm.h"
#include "transports/shm/socket.h"

namespace tutti::shm {

class ShmTransport;

class ShmLink final : public Link {
 public:
  ShmLink(ShmTransport& transport, const ProcessId& peer) : transport_(transport), peer_(peer) {}

  // What both sides agreed on when the link was set up.
  struct Endpoint {
    std::uint64_t connection = 0;  // its number in the transport
    pid_t pid = 0;                 // of the peer
    bool is_connector = false;
    bool can_read_peer = false;  // by cross-memory attach
    std::size_t staging_bytes = 0;
    Mapping pair;
    Mapping segment;
    Descriptor doorbell;
  };
  void open(Endpoint endpoint);
  void allow_cross_memory_sends() { peer_can_read_ = true; }

  ProcessId peer() const override { return peer_; }
  std::uint32_t lane() const override { return 0; }
  bool is_open() const override { return state_ == State::open; }
  const Status& status() const override { return status_; }
  std::string describe() const override;
  SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) override;
  FetchState fetch(std::uint64_t token, std::byte* target) override;
  void release(std::uint64_t token) override;
  void notify() override { wake_peer(); }
  // What was copied lies in memory that the peer has mapped, and so does, or soon will, what the transport has lent,
  // which is not written again while this link has not had it read; what else is pending lies in the caller's.
  bool is_drained() const override { return pending_count_ == pending_lent_; }
  std::byte* segment() override { return endpoint_.segment ? endpoint_.segment.base() + kSegmentHeadBytes : nullptr; }
  void close(const Status& why) override;

  // For the transport.
  bool is_closed() const { return state_ == State::closed; }
  bool is_peer_gone() const { return peer_gone_; }
  std::uint64_t connection() const { return endpoint_.connection; }
  void set_connection(std::uint64_t connection) { endpoint_.connection = connection; }
  // Whether receive() would find nothing: cheap, because most polls ask most links in vain.
  bool is_idle() const {
    return receiver_.is_idle() && !sender_.has_outstanding() && !peer_gone_ && state_ == State::open;
  }
  // Everything that has come, as events; says `closed` when the peer is gone and all it sent was delivered.
  std::size_t receive(Event* out, std::size_t room);
  bool has_work();  // for prepare_wait
  void peer_is_gone(const Status& why);
  void handle(const Message& message, std::vector<Descriptor> descriptors);  // region, region_gone, ready, farewell
  void end(const Status& why);                                               // the link closes now, with this reason
  void violated(const std::string& what);  // the link closes, because the peer did what no peer may
  void announce_gone_regions();

 private:
  enum class State : std::uint8_t { connecting, open, closed };

  struct Announced {  // a region of ours that the peer has mapped
    std::uint64_t number = 0;
    std::uint64_t pending = 0;
    bool is_lent = false;  // the transport's own, see LentMemory
  };
  struct PeerRegion {  // a region of the peer's that we have mapped
    Mapping mapping;
    std::uint64_t held = 0;
    bool gone = false;
  };
  struct Held {
    FrameKind kind{};
    PeerRegion* region = nullptr;
    std::uint64_t region_number = 0;
    std::uint64_t address = 0;
    std::size_t bytes = 0;
  };
  enum class Placed : std::uint8_t { yes, no_room, not_possible };

  SendState try_send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie,
                     bool& placed);
  Placed send_from_region(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie);
  Announced* announce(const SharedRegions::Region& region);
  bool sends_by_cross_memory() const;
  void take_acknowledgements();
  bool fill_event(const FrameReceiver::Frame& frame, Event& event);
  bool find_in_region(const FrameReceiver::Frame& frame, Held& held, Event& event);
  void map_region(const Message& message, const std::vector<Descriptor>& descriptors);
  void drop_region(std::uint64_t number);
  void wake_peer();
  std::atomic<std::uint32_t>& peer_sleeping();

  ShmTransport& transport_;
  const ProcessId peer_;
  State state_ = State::connecting;
  bool peer_gone_ = false;
  bool peer_can_read_ = false;
  bool stalled_ = false;  // the last send found no room
  std::uint64_t pending_count_ = 0;
  std::uint64_t pending_lent_ = 0;  // of those, out of lent memory
  Status status_;
  Status gone_why_;
  Endpoint endpoint_;
  FrameReceiver receiver_;
  FrameSender sender_;
  std::array<Held, kSlots> held_;
  std::unordered_map<std::uint64_t, Announced> announced_;          // by SharedRegions id
  std::unordered_map<std::uint64_t, std::uint64_t> announced_ids_;  // by number, the reverse
  std::unordered_map<std::uint64_t, PeerRegion> peer_regions_;      // by number
  std::uint64_t next_region_number_ = 1;
};

}  // namespace tutti::shm
