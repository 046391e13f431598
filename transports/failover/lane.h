// Lane: a link that lives as long as its bundle has a path. Sending (lane_sending.cc) keeps what is not confirmed;
// receiving (lane_receiving.cc) puts in order what came over several paths, and remembers which payloads are not
// here yet.
//
// Invariants
//  - Frames first_ .. next_send_ - 1 are kept, in this order. One leaves when the peer has confirmed it and no path
//    reads its payload any more. waiting_ of them have no path; while there are any, nothing new is taken.
//  - Since the lane last changed its path and not all from before is confirmed, at most kSpreadBytes are not.
//  - Frames below next_receive_ were delivered; those of them in incomplete_ have no payload yet, so that the lane
//    confirms what is below the least of these. held_ has frames above next_receive_.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/transport/transport.h"
#include "transports/failover/path.h"

namespace tutti::failover {

class FailoverTransport;

constexpr std::size_t kFramesMax = 4096;                // kept by the sender; held by the receiver
constexpr std::uint64_t kSpreadBytes = 4 << 20;         // of frames that may overtake each other
constexpr std::uint64_t kSpreadSmallBytes = 256 << 10;  // of that for small ones, which others may wait for

class Lane final : public Link {
 public:
  Lane(FailoverTransport& transport, Bundle& bundle, const ProcessId& peer, std::uint32_t lane);

  ProcessId peer() const override { return peer_; }
  std::uint32_t lane() const override { return lane_; }
  bool is_open() const override { return state_ == State::open; }
  const Status& status() const override { return status_; }
  std::string describe() const override;
  SendState send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) override;
  FetchState fetch(std::uint64_t token, std::byte* target) override;
  void release(std::uint64_t token) override;
  bool is_drained() const override;
  void close(const Status& why) override;
  std::string_view news() const override { return news_; }

  // For the bundle.
  bool is_connecting() const { return state_ == State::connecting; }
  bool is_closed() const { return state_ == State::closed; }
  void open(bool is_resilient);
  void end(const Status& why);
  void path_ended(Path& path);
  // Its own path is lost, or back: for the caller's record.
  void tell_route(bool is_lost, std::string what);

  // The peer has all frames below `count`; false: it cannot.
  bool confirmed(std::uint64_t count);
  std::uint64_t confirmed() const { return confirmed_; }
  void sent(std::uint64_t cookie);
  bool has_waiting() const { return waiting_ > 0; }
  void resend();
  struct Backlog {
    std::size_t frames = 0;
    std::uint64_t bytes = 0;
  };
  Backlog waiting_for(std::uint32_t lane) const;  // frames that have lost a path of this lane

  void receive(Path& path, std::uint64_t sequence, Event& event);
  void fetched(Path& path, const Path::Fetch& fetch);
  // The frames that have come whole, with all before them; and what the peer has been told of that.
  std::uint64_t received() const;
  void told(std::uint64_t count);
  // The sender may wait for a word to use a payload again.
  bool owes_soon() const { return told_ < large_until_ && told_ < received(); }
  bool owes_now() const;

 private:
  enum class State : std::uint8_t { connecting, open, closed };
  struct Kept {
    Header header;
    const std::byte* payload = nullptr;
    std::uint64_t cookie = 0;
    Path* path = nullptr;           // null: it waits for one
    std::uint64_t lost_number = 0;  // it was lost with the path of lost_lane that the peer calls so
    std::uint32_t lost_lane = 0;
    std::uint32_t bytes = 0;
    std::uint32_t ring_bytes = 0;  // of the copy, and what was left over before it
    bool in_transport = false;     // the path still reads the payload
  };
  struct Delivery {
    Path* path = nullptr;  // whose delivery `token` it is; null: none
    std::uint64_t token = 0;
    std::uint64_t sequence = 0;
    std::unique_ptr<std::byte[]> memory;
    std::byte* target = nullptr;  // of a fetch
    std::size_t bytes = 0;
    bool is_complete = false;
    bool in_use = false;
  };
  struct Held {
    Header header;
    std::unique_ptr<std::byte[]> memory;
    std::size_t bytes = 0;
    bool is_whole = false;
  };

  Kept& kept(std::size_t place) { return kept_[(kept_first_ + place) & (kept_.size() - 1)]; }
  const Kept& kept(std::size_t place) const { return kept_[(kept_first_ + place) & (kept_.size() - 1)]; }
  bool find_room(std::size_t bytes, std::size_t& at, std::size_t& takes) const;
  static void note_taken(Path& path, const Kept& frame);
  void keep(const Kept& frame);
  void drop_confirmed();
  void note_path(const Path& path);

  std::uint64_t new_delivery();
  void deliver(Path& path, std::uint64_t sequence, Event& event);
  void deliver_held();
  void hold(Path& path, std::uint64_t sequence, Event& event);
  void repeat(Path& path, std::uint64_t sequence, Event& event);
  void complete(Delivery& delivery);
  void note_received(std::uint64_t sequence, std::size_t bytes);

  FailoverTransport& transport_;
  Bundle* bundle_;
  const ProcessId peer_;
  const std::uint32_t lane_;
  State state_ = State::connecting;
  Status status_;
  std::string last_path_;  // its description, while there is none
  std::string news_;
  bool is_resilient_ = false;
  bool has_sent_ = false;
  std::size_t copied_bytes_max_ = 0;

  std::vector<Kept> kept_;  // a ring, a power of two
  std::size_t kept_first_ = 0;
  std::size_t kept_count_ = 0;
  std::uint64_t first_ = 0;  // the number of the first one kept
  std::uint64_t next_send_ = 0;
  std::uint64_t confirmed_ = 0;
  std::uint64_t unconfirmed_bytes_ = 0;
  std::uint64_t spread_until_ = 0;
  std::size_t waiting_ = 0;
  std::uint64_t sent_on_ = 0;  // the number of the path that took the latest frame
  std::unique_ptr<std::byte[]> ring_;
  std::size_t ring_bytes_ = 0;
  std::size_t ring_end_ = 0;
  std::size_t ring_used_ = 0;

  std::uint64_t next_receive_ = 0;
  std::map<std::uint64_t, Held> held_;
  std::uint64_t held_bytes_ = 0;
  std::vector<Delivery> deliveries_;
  std::vector<std::uint32_t> free_deliveries_;
  std::vector<std::uint32_t> incomplete_;
  std::uint64_t told_ = 0;
  std::uint64_t large_until_ = 0;
  std::uint64_t untold_bytes_ = 0;
};

}  // namespace tutti::failover
