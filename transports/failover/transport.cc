#include "transports/failover/transport.h"

#include <algorithm>

#include "src/base/format.h"

namespace tutti::failover {

namespace {
constexpr std::size_t kEventsPerPoll = 64;
// Whoever has asked does not wait so long; but the caller may want this connection, too, before it is there.
constexpr Nanoseconds kReachLimit = std::chrono::seconds(20);
}  // namespace

FailoverTransport::FailoverTransport(std::unique_ptr<Transport> wrapped, FailoverOptions options)
    : wrapped_(std::move(wrapped)),
      options_(std::move(options)),
      capabilities_(wrapped_->capabilities()),
      in_(kEventsPerPoll) {}

// First of all nothing reads or writes any more what belongs to lanes.
FailoverTransport::~FailoverTransport() { wrapped_.reset(); }

Path* FailoverTransport::find(Link* link) {
  if (latest_ != nullptr && latest_->link == link) return latest_;
  const auto found = paths_.find(link);
  if (found == paths_.end()) return nullptr;
  return latest_ = found->second.get();
}

Path& FailoverTransport::add_path(Link* link, Bundle& bundle) {
  const std::uint32_t next_stream = options_.process < bundle.peer() ? 0 : 1;
  auto& path = paths_[link] = std::make_unique<Path>(link, &bundle, next_number_++, next_stream);
  bundle.add_path(*path);
  return *path;
}

Bundle& FailoverTransport::make_bundle(const ProcessId& peer) {
  auto& bundle = bundles_[peer];
  if (!bundle) bundle = std::make_unique<Bundle>(*this, peer, next_number_++);
  return *bundle;
}

void FailoverTransport::bury(Bundle& bundle) {
  std::erase(working_, &bundle);
  const auto found = bundles_.find(bundle.peer());
  buried_.push_back(std::move(found->second));
  bundles_.erase(found);
}

Lane* FailoverTransport::make_lane(Bundle& bundle, std::uint32_t lane) {
  auto made = std::make_unique<Lane>(*this, bundle, bundle.peer(), lane);
  Lane* const raw = made.get();
  lanes_[raw] = std::move(made);
  return raw;
}

Result<Link*> FailoverTransport::connect(const ProcessId& peer, std::span<const std::byte> address,
                                         std::uint32_t lane, Instant deadline) {
  if (lane >= kLanesLimit)
    return Status(Code::invalid, format("lane {} does not exist; lanes are 0 to {}", lane, kLanesLimit - 1));
  Bundle& bundle = make_bundle(peer);
  if (Lane* const known = bundle.lane(lane)) return static_cast<Link*>(known);
  if (is_reserve(lane)) return Status(Code::invalid, format("lane {} is the one in reserve", lane));
  bundle.address().assign(address.begin(), address.end());
  Path* path = bundle.path_of(lane);
  if (path == nullptr) {
    const Result<Link*> link = wrapped_->connect(peer, address, lane, deadline);
    if (!link) {
      if (bundle.is_empty()) bury(bundle);
      return link;
    }
    path = &add_path(*link, bundle);
  }
  Lane* const made = bundle.connect(*path, deadline);
  if (options_.reserve && bundle.path_of(kReserveLane) == nullptr) dial(bundle, kReserveLane, deadline);
  return static_cast<Link*>(made);
}

Path* FailoverTransport::dial(Bundle& bundle, std::uint32_t lane, Instant deadline) {
  const Result<Link*> link = wrapped_->connect(bundle.peer(), bundle.address(), lane, deadline);
  return link && !paths_.contains(*link) ? &add_path(*link, bundle) : nullptr;
}

Path* FailoverTransport::direct_path(const ProcessId& peer) const {
  const auto found = bundles_.find(peer);
  return found == bundles_.end() ? nullptr : found->second->direct_path();
}

// Both sides prefer the same third, and not all pairs the same.
Path* FailoverTransport::find_relay(const Bundle& bundle, const std::vector<ProcessId>& asked) const {
  const std::uint64_t pair = bundle.peer().low ^ options_.process.low;
  const auto rank = [&](const ProcessId& id) { return (id.low ^ pair) * 0x9e3779b97f4a7c15ull; };
  Path* best = nullptr;
  for (const auto& [peer, other] : bundles_) {
    Path* const path = other->direct_path();
    if (path == nullptr || !path->may_relay || other.get() == &bundle) continue;
    if (std::find(asked.begin(), asked.end(), peer) != asked.end()) continue;
    if (best == nullptr || rank(peer) < rank(best->bundle->peer())) best = path;
  }
  return best;
}

Path& FailoverTransport::dial_by(Path& relay, Bundle& bundle) {
  const std::uint32_t lane = relay_lane(options_.process, bundle.peer());
  return add_path(relays_.open(relay, bundle.peer(), lane, bundle.address()), bundle);
}

bool FailoverTransport::reach(const ProcessId& peer, std::span<const std::byte> address) {
  if (gone_.contains(peer))
    return false;  // for the caller it is lost, and is not to come back for the sake of others
  Bundle& bundle = make_bundle(peer);
  if (bundle.is_coming()) return true;
  if (!bundle.is_empty()) return false;
  bundle.address().assign(address.begin(), address.end());
  if (!address.empty() && dial(bundle, 0, deadline_after(now_, kReachLimit)) != nullptr) return true;
  bury(bundle);
  return false;
}

// Whoever was connected to knows no address of the one that has connected, and its third would not, either.
void FailoverTransport::on_reached(Path& path) {
  if (path.may_relay && path.lane == 0 && !path.bundle->address().empty())
    relays_.say_address(path, 0, wrapped_->address());
  gone_.erase(path.bundle->peer());
  relays_.on_reached(path);
}

void FailoverTransport::on_unreachable(const ProcessId& peer, bool was_there) {
  if (was_there) gone_.insert(peer);
  relays_.on_unreachable(peer);
}

void FailoverTransport::forget(Link* link) { lanes_.erase(link); }

void FailoverTransport::emit(const Event& event) {
  if (out_count_ < out_.size() && waiting_.empty()) {
    out_[out_count_++] = event;
  } else {
    waiting_.push_back(event);
  }
}

void FailoverTransport::release(Path& path, std::uint64_t token) {
  path.link->release(token);
  if (--path.deliveries == 0 && path.closed) ended_.push_back(&path);
}

void FailoverTransport::handle(Event& event) {
  Path* path = find(event.link);
  if (path == nullptr) {
    if (event.kind != EventKind::connected) return;
    Bundle* bundle = &make_bundle(event.link->peer());
    Path* const old = bundle->path_of(event.link->lane());
    if (old != nullptr && old->state == Path::State::ready) {
      bundle->lose_path(
          *old,
          Status(Code::peer_lost, format("{} is closed: the peer has made a new connection", old->link->describe())),
          true, now_);
      bundle = &make_bundle(event.link->peer());
    }
    path = &add_path(event.link, *bundle);
  }
  if (event.kind == EventKind::delivery) ++path->deliveries;
  if (relays_.on_event(*path, event)) return;
  switch (event.kind) {
    case EventKind::connected:
      if (path->bundle != nullptr) path->bundle->on_connected(*path, now_);
      return;
    case EventKind::delivery:
      return path->bundle != nullptr ? path->bundle->on_delivery(*path, event, now_) : release(*path, event.token);
    case EventKind::fetched:
      if (path->bundle != nullptr) path->bundle->on_fetched(*path, event.token);
      return;
    case EventKind::sent:
      if (path->bundle != nullptr) path->bundle->on_sent(*path, event.token);
      return;
    case EventKind::closed:
      if (path->bundle != nullptr) path->bundle->on_closed(*path, now_);
      path->closed = true;
      if (path->deliveries == 0) ended_.push_back(path);
      return;
    case EventKind::rerouted:
      return;
  }
}

void FailoverTransport::handle_relayed() {
  for (Event event; relays_.take_event(event);) handle(event);
}

std::size_t FailoverTransport::poll(std::span<Event> out, Instant now) {
  tidy();
  now_ = now;
  out_count_ = 0;
  bool may_poll = waiting_.empty() && in_next_ == in_count_;
  while (!waiting_.empty() && out_count_ < out.size()) {
    out[out_count_++] = waiting_.front();
    waiting_.pop_front();
  }
  out_ = out;
  bool has_polled = false;
  while (out_count_ < out.size()) {
    if (in_next_ == in_count_) {
      if (!std::exchange(may_poll, false)) break;
      has_polled = true;
      ++polls_;
      in_next_ = 0;
      in_count_ = wrapped_->poll(in_, now);
      if (in_count_ == 0) break;
    }
    handle(in_[in_next_++]);
    if (relays_.has_events()) handle_relayed();
  }
  if (now >= next_timer_) {
    next_timer_ = kNever;
    std::vector<Bundle*> all;
    for (const auto& [peer, bundle] : bundles_) all.push_back(bundle.get());
    for (Bundle* const bundle : all) plan_timer(bundle->run_timers(now));
  }
  if (has_polled && !working_.empty()) work();
  if (has_polled && relays_.has_work()) relays_.work();
  if (relays_.has_events()) handle_relayed();
  out_ = {};
  return out_count_;
}

void FailoverTransport::work() {
  const std::vector<Bundle*> batch = std::exchange(working_, {});
  for (Bundle* const bundle : batch) {
    bundle->has_work_ = false;
    const bool is_idle = bundle->last_seen() != polls_ && !bundle->waits_for_payload();
    if (!bundle->is_closed_ && bundle->work(is_idle)) bundle->note_work();
  }
}

bool FailoverTransport::prepare_wait() {
  if (!waiting_.empty() || in_next_ < in_count_) return false;
  for (Bundle* const bundle : std::vector<Bundle*>(working_)) bundle->work(true);
  relays_.work();
  return waiting_.empty() && !relays_.has_events() && wrapped_->prepare_wait();
}

void FailoverTransport::tidy() {
  buried_.clear();
  for (Path* const path : ended_) {
    if (latest_ == path) latest_ = nullptr;
    Link* const link = path->link;
    paths_.erase(link);
    relays_.owns(link) ? relays_.forget(link) : wrapped_->forget(link);
  }
  ended_.clear();
}

}  // namespace tutti::failover

namespace tutti {

std::unique_ptr<Transport> make_failover_transport(std::unique_ptr<Transport> wrapped, FailoverOptions options) {
  return std::make_unique<failover::FailoverTransport>(std::move(wrapped), std::move(options));
}

}  // namespace tutti
