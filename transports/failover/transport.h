// FailoverTransport: the wrapper itself. It owns paths, lanes and bundles, takes the wrapped transport's events to
// the bundles and reports what comes out of that.
//
// Invariant: the wrapped transport is polled only when all that came of its last poll was reported, so that transient
// data stays where it is.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "transports/failover/bundle.h"
#include "transports/failover/failover.h"
#include "transports/failover/relays.h"
#include "transports/failover/reserve.h"

namespace tutti::failover {

class FailoverTransport final : public Transport {
 public:
  FailoverTransport(std::unique_ptr<Transport> wrapped, FailoverOptions options);
  ~FailoverTransport() override;

  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return wrapped_->address(); }
  bool reaches(std::span<const std::byte> address) const override { return wrapped_->reaches(address); }
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                        Instant deadline) override;
  void forget(Link* link) override;
  std::size_t poll(std::span<Event> out, Instant now) override;
  int wait_descriptor() const override { return wrapped_->wait_descriptor(); }
  bool prepare_wait() override;
  void finish_wait() override { wrapped_->finish_wait(); }
  std::byte* segment() override { return wrapped_->segment(); }
  std::size_t segment_bytes() const override { return wrapped_->segment_bytes(); }

  // For bundles and lanes.
  void emit(const Event& event);
  void release(Path& path, std::uint64_t token);
  void has_work(Bundle& bundle) { working_.push_back(&bundle); }
  Lane* make_lane(Bundle& bundle, std::uint32_t lane);
  Bundle& make_bundle(const ProcessId& peer);
  void bury(Bundle& bundle);
  void on_reached(Path& path);
  void on_unreachable(const ProcessId& peer, bool was_there);
  // Connects the lane's path; null: not now.
  Path* dial(Bundle& bundle, std::uint32_t lane, Instant deadline);
  Relays& relays() { return relays_; }
  Path* direct_path(const ProcessId& peer) const;  // one that is ready, or null
  // To a process that may relay for the bundle and is not among those asked, or null.
  Path* find_relay(const Bundle& bundle, const std::vector<ProcessId>& asked) const;
  Path& dial_by(Path& relay, Bundle& bundle);
  // Whether a direct path to the process may come: one is under way, or is begun.
  bool reach(const ProcessId& peer, std::span<const std::byte> address);
  void plan_timer(Instant at) { next_timer_ = std::min(next_timer_, at); }
  const FailoverOptions& options() const { return options_; }
  bool is_reserve(std::uint32_t lane) const { return options_.reserve && lane == kReserveLane; }
  std::uint32_t paths_max() const { return capabilities_.lanes_max + (options_.reserve ? 1 : 0); }
  std::uint64_t polls() const { return polls_; }
  Instant now() const { return now_; }

 private:
  Path* find(Link* link);
  Path& add_path(Link* link, Bundle& bundle);
  void handle(Event& event);
  void handle_relayed();
  void work();
  void tidy();

  std::unique_ptr<Transport> wrapped_;
  const FailoverOptions options_;
  Capabilities capabilities_;
  std::unordered_map<Link*, std::unique_ptr<Path>> paths_;
  Path* latest_ = nullptr;
  std::unordered_map<Link*, std::unique_ptr<Lane>> lanes_;
  std::unordered_map<ProcessId, std::unique_ptr<Bundle>, Id128Hash> bundles_;
  std::vector<std::unique_ptr<Bundle>> buried_;    // until nobody can be in the middle of one
  std::unordered_set<ProcessId, Id128Hash> gone_;  // there was a path to them once
  std::vector<Bundle*> working_;
  std::vector<Path*> ended_;  // to be forgotten, perhaps
  std::uint64_t next_number_ = 1;
  std::uint64_t polls_ = 0;
  Instant now_{};
  Instant next_timer_ = kNever;

  Relays relays_{*this};

  std::vector<Event> in_;  // what the wrapped transport reported last
  std::size_t in_next_ = 0;
  std::size_t in_count_ = 0;
  std::deque<Event> waiting_;  // to be reported
  std::span<Event> out_;       // of the poll that runs
  std::size_t out_count_ = 0;
};

}  // namespace tutti::failover
