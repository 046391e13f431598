// SimNetwork: a network that is not there. It owns a virtual clock and everything that is under way; each process
// gets a SimTransport from attach(). No threads, no real time, no randomness but the seed's: the same seed and the
// same calls give the same events at the same virtual times, and trace_hash() tells whether they did.
//
// How it behaves
//  - A directed path between two processes has a latency and a rate, drawn once per link from the options' ranges (or
//    set by set_path), and each frame a jitter on top. Order on a link is kept.
//  - The forms that the Transport contract allows are all used, drawn anew for every frame: payloads copied at once,
//  kept
//    pending until they have gone or until the receiver has taken them; deliveries with data, transient or not, and
//    without, to be fetched at once or with a `fetched` event later.
//  - A partition is like a cut cable: what runs into it waits, as TCP would send it again, and comes after heal(). A
//    connect that cannot get through is closed by its deadline. Nobody is told of a partition; that is for
//    heartbeats.
//  - A crash ends a process without a word: what had left it still arrives, then its peers' links close after a
//  delay.
//
// The network must outlive its transports. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/base/ids.h"
#include "src/base/random.h"
#include "transports/sim/sim_buffers.h"

namespace tutti {

class SimLink;
class SimTransport;

struct SimOptions {
  Nanoseconds latency_min{2'000};
  Nanoseconds latency_max{50'000};
  Nanoseconds jitter_max{10'000};
  double bytes_per_second_min = 1e9;
  double bytes_per_second_max = 2e10;
  Nanoseconds crash_notice_min{100'000};  // from a crash to the peers' closed events
  Nanoseconds crash_notice_max{5'000'000};

  std::size_t frame_bytes_max = std::size_t{1} << 20;
  std::size_t copied_bytes_max = 256;
  std::uint32_t lanes_max = 4;
  std::uint32_t narrow_ways = 0;  // which the lanes take in turn; 0: none is narrow
  std::size_t segment_bytes = 0;  // 0: no segments

  std::size_t lent_buffers = 0;  // how many a process may have borrowed at a time

  // `again` beyond so many frames or bytes that the receiver has not released yet.
  std::size_t queue_frames = 64;
  std::size_t queue_bytes = std::size_t{8} << 20;
  double again_probability = 0;  // and now and then without a reason

  // Of payloads above copied_bytes_max: how many stay in the sender's memory (the others are copied at once), and how
  // many of those stay until the receiver has them (the others until they have left).
  double pending_probability = 0.6;
  double rendezvous_probability = 0.4;
  // Of deliveries: transient ones, ones without data; of fetches: those that end in a `fetched` event.
  double transient_probability = 0.3;
  double no_data_probability = 0.2;
  double fetch_pending_probability = 0.5;
};

// One direction between two processes.
struct SimPath {
  Nanoseconds latency{0};
  double bytes_per_second = 0;
};

class SimNetwork {
 public:
  explicit SimNetwork(std::uint64_t seed, const SimOptions& options = {});
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  // A transport for a new process. Its destruction is the process's orderly end: its links close at its peers.
  std::unique_ptr<SimTransport> attach(const ProcessId& id);

  // The clock. advance() goes to the next thing that happens; false where nothing is due ever. advance_to() goes to
  // `when`, through all that happens on the way.
  Instant now() const { return now_; }
  Instant next_time();  // kNever: nothing is due
  bool advance();
  void advance_to(Instant when);

  // Faults. A crashed process's transport reports nothing more and takes nothing more.
  void crash(const ProcessId& process);
  void partition(const ProcessId& from, const ProcessId& to);  // one way
  void partition_both_ways(const ProcessId& a, const ProcessId& b);
  void heal(const ProcessId& from, const ProcessId& to);  // one way
  void heal_all();
  void refuse_connects(const ProcessId& process, bool refuse);
  // Closes the links between two processes, all lanes, as a fault of the network would: both sides get `closed`.
  void cut(const ProcessId& a, const ProcessId& b);
  // Only one lane's link, and some of what is under way on it is lost. One of the two notices up to `later` after the
  // other.
  void cut_lane(const ProcessId& a, const ProcessId& b, std::uint32_t lane, Nanoseconds later);
  // Nothing comes through between the two any more, in either direction: what is under way is lost, links close as
  // cut off, each side's at some time up to `later`, and connects have no answer, until heal_all().
  void sever(const ProcessId& a, const ProcessId& b, Nanoseconds later);
  // From now on, for links that exist and for new ones.
  void set_path(const ProcessId& from, const ProcessId& to, const SimPath& path);
  // Of one lane, for the links that exist.
  void set_lane_path(const ProcessId& from, const ProcessId& to, std::uint32_t lane, const SimPath& path);

  const SimOptions& options() const { return options_; }
  // Of everything that happened and was reported so far.
  std::uint64_t trace_hash() const { return trace_hash_; }
  std::uint64_t happenings() const { return happened_; }

 private:
  friend class SimLink;
  friend class SimTransport;

  enum class Kind : std::uint8_t { request, accept, refuse, deadline, departed, arrival, sent, fetched, farewell };
  // Why a link ends, as a farewell or refusal carries it.
  enum class End : std::uint8_t {
    closed_by_peer,
    peer_ended,
    peer_crashed,
    cut,
    severed,
    replaced,
    nobody_there,
    refused,
    wrong_process
  };

  // A link that may be gone by the time it is looked at.
  struct Handle {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
  };
  struct Happening {
    Instant at;
    std::uint64_t order = 0;  // of happenings at the same time
    std::uint64_t token = 0;  // a frame's number, a cookie, a delivery; or an End
    Handle link;
    std::uint32_t from = 0;  // the processes it goes between; equal for what is local
    std::uint32_t to = 0;
    Kind kind = Kind::request;
    bool operator<(const Happening& other) const {  // so that a heap has the earliest on top
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  struct Process {
    ProcessId id;
    SimTransport* transport = nullptr;  // null once it has ended
    bool crashed = false;
    bool refuses = false;
    std::shared_ptr<std::byte[]> segment;  // outlives the process for whoever still looks
    std::byte* segment_start = nullptr;    // aligned
  };
  struct Slot {
    std::unique_ptr<SimLink> link;
    std::uint32_t generation = 0;
  };

  void schedule(Kind kind, Instant at, Handle link, std::uint64_t token, std::uint32_t from, std::uint32_t to);
  bool drop_stale_deadlines();
  void happen(const Happening& happening);
  void on_request(SimLink& asking);

  SimLink* find(Handle handle) const;
  SimLink& make_link(std::uint32_t owner, std::uint32_t peer, std::uint32_t lane, const ProcessId& peer_id);
  void destroy_link(SimLink& link);
  // The process `owner` is no more: its links go silent and its peers are told.
  void end_links(std::uint32_t owner, End end);

  static constexpr std::uint32_t kNoProcess = ~std::uint32_t{0};
  std::uint32_t index_of(const ProcessId& id) const;
  std::uint32_t known(const ProcessId& id) const;  // throws for a process that was never attached
  std::string label(std::uint32_t process) const;
  SimPath path(std::uint32_t from, std::uint32_t to);
  Nanoseconds jitter() {
    return Nanoseconds(
        static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(options_.jitter_max.count()) + 1)));
  }
  Nanoseconds between(Nanoseconds low, Nanoseconds high);
  void trace(std::uint64_t a, std::uint64_t b) {
    trace_hash_ = (trace_hash_ ^ a) * 0x9e3779b97f4a7c15ull;
    trace_hash_ = (trace_hash_ ^ (trace_hash_ >> 29) ^ b) * 0xbf58476d1ce4e5b9ull;
  }

  SimOptions options_;
  Random random_;
  std::uint64_t key_;  // in the addresses: other networks' are not reachable
  Instant now_{};
  std::uint64_t next_order_ = 0;
  std::uint64_t happened_ = 0;
  std::uint64_t trace_hash_ = 0;
  SimBuffers buffers_;  // before the links, which give back to it in the end
  std::vector<Happening> heap_;
  std::vector<Happening> waiting_;  // before a partition, in order
  std::set<std::pair<std::uint32_t, std::uint32_t>> blocked_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, SimPath> paths_;
  std::vector<Process> processes_;
  std::unordered_map<ProcessId, std::uint32_t, Id128Hash> indexes_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
};

}  // namespace tutti
