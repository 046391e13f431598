// Bundle: all paths and lanes between this process and one other, from the first path to the end of the last.
//
// A path begins with hellos. Each side says which bundle it is of and, once it has heard, which one the other is of;
// who reads its own there takes the path for ready. So both mean the same two bundles, whatever is still under way
// from earlier ones: a side that has lost its bundle begins with a new one, and then the other does, too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "transports/failover/control.h"
#include "transports/failover/lane.h"

namespace tutti::failover {

class Bundle {
 public:
  Bundle(FailoverTransport& transport, const ProcessId& peer, std::uint64_t id);

  // For lanes.
  Path* path_of(std::uint32_t lane) const { return lane < slots_.size() ? slots_[lane].path : nullptr; }
  // That the lane's next frame is to take: its own, or each of the others in turn, or a relayed one; null: none. A
  // large one, whose `bytes` are not 0, may take a faster one than its own.
  Path* path_for(std::uint32_t lane, std::size_t bytes);
  // Sends frame `number` of the lane on that path, or where a lane without its own path finds room.
  SendState put(Path*& path, std::uint32_t lane, std::uint64_t number, const Header& header, const std::byte* payload,
                std::size_t bytes, std::uint64_t cookie);
  bool has_ended_there(std::uint32_t lane, std::uint64_t number) const { return slots_[lane].ended_there >= number; }
  // What this side owes on the path before anything else; false: there is no room now.
  bool flush(Path& path);
  bool is_drained() const;
  void close(const Status& why);
  void refuse(const std::string& why);  // the peer does what no correct one does
  void note_work();
  bool is_coming() const;  // a path is under way, and none is ready
  Path* direct_path() const { return direct_ > 0 ? ready_.front() : nullptr; }

  // For the transport.
  const ProcessId& peer() const { return peer_; }
  std::vector<std::byte>& address() { return address_; }
  Lane* lane(std::uint32_t lane) const { return lane < slots_.size() ? slots_[lane].lane : nullptr; }
  Lane* connect(Path& path, Instant deadline);  // the caller wants this lane
  void add_path(Path& path);
  void on_connected(Path& path, Instant now);
  void on_delivery(Path& path, Event& event, Instant now);
  void on_fetched(Path& path, std::uint64_t token);
  void on_sent(Path& path, std::uint64_t cookie);
  void on_closed(Path& path, Instant now);
  // Sends what is due. `is_idle`: nothing comes at the moment. True while there is more.
  bool work(bool is_idle);
  // Connects lost paths again and ends what takes too long; the time of the next such thing.
  Instant run_timers(Instant now);
  std::uint64_t last_seen() const { return last_seen_; }
  bool waits_for_payload() const;

 private:
  friend class FailoverTransport;

  struct Slot {  // one lane
    Lane* lane = nullptr;
    Path* path = nullptr;           // not ended
    Instant deadline = kNever;      // of the caller's connect
    std::uint64_t ended_here = 0;   // the last path that ended: what we call it
    std::uint64_t ended_there = 0;  // and what the peer called the last that it knows to have ended
    std::uint64_t lost_number = 0;  // of a path that was lost and is not mourned yet: what the peer called it
    Status lost_why;
    Instant lost_at{};
    Instant redial = kNever;
    Nanoseconds pause{0};
    bool lends = false;  // large frames have gone by other paths than the lane's own, as they are faster
  };

  Slot& slot(std::uint32_t lane);
  Lane& open_lane(std::uint32_t lane);
  void make_ready(Path& path, Instant now);
  void end_path(Path& path, const Status& why);
  void erase_ready(Path& path);
  // `may_live`: the peer, for all that this says. Then a relay is looked for, if it was the last path.
  void lose_path(Path& path, const Status& why, bool may_live, Instant now);
  void plan_redial(Slot& slot, bool has_lasted, Instant now);
  Bundle& begin_anew(const std::vector<Path*>& paths, const Status& why);
  void mourn(std::uint32_t lane);

  // Relays: bundle_relays.cc.
  void orphan(const Status& why, Instant now);
  void seek_relay(Instant now);
  void open_waiting_lanes();
  void open_on_reserve(Instant now);
  void end_waiting_lanes();
  bool is_wanted(std::uint32_t lane) const;
  void end_orphan();
  void retire_relays();
  Instant run_relay_timers(Instant now);
  bool is_orphan() const { return orphan_until_ != kNever; }
  bool is_greeting() const;

  void on_control(Path& path, const Control& control, Instant now);
  void on_hello(Path& path, const Control& control, Instant now);
  void on_counts(Path& path, const Control& control);
  void on_ended(std::uint32_t lane, std::uint64_t number, Instant now);
  bool is_empty() const;
  std::uint32_t lanes() const { return std::min(static_cast<std::uint32_t>(slots_.size()), kLanesLimit); }

  // bundle_striping.cc.
  Path& filling(Path& path) const;
  Path* earliest(Path& own, std::size_t bytes);
  void measure(Path& path, std::uint64_t under_way);
  void note_lending(Path& own, const Path& other);

  SendState put_on(Path& path, std::uint32_t lane, std::uint64_t number, const Header& header,
                   const std::byte* payload, std::size_t bytes, std::uint64_t cookie);
  bool send_control(Path& path, const Control& control);
  bool send_counts(Path& path, std::uint32_t first);
  bool confirm();
  static void owe_state(Path& path);
  std::uint64_t received(std::uint32_t lane) const;

  FailoverTransport& transport_;
  const ProcessId peer_;
  const std::uint64_t id_;
  std::uint64_t peer_id_ = 0;  // 0: its hello has not come
  std::uint64_t peer_lanes_ = 0;
  std::uint64_t peer_wants_ = 0;
  bool is_resilient_ = false;
  bool can_relay_ = false;
  bool has_lost_ = false;  // a path that was ready
  bool is_closed_ = false;
  bool has_work_ = false;
  std::vector<std::byte> address_;  // empty: only the peer knows how to connect
  std::vector<Slot> slots_;         // by lane
  std::vector<Path*> ready_;        // direct ones first
  std::size_t direct_ = 0;
  std::size_t turn_ = 0;
  Instant orphan_until_ = kNever;  // there is no path, and one is looked for until then
  Status orphan_why_;
  Instant seek_at_ = kNever;  // a relay, if no lane is connected by then
  Instant retire_at_ = kNever;
  std::vector<ProcessId> asked_;  // to relay
  std::uint64_t last_seen_ = 0;   // the transport's poll in which something came
};

}  // namespace tutti::failover
