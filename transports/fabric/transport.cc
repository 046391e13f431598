#include "transports/fabric/transport.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti::fabric {

namespace {

// Looking at the control connections costs system calls; done after so many polls, or so long, or when links come
// or go.
constexpr std::uint32_t kPollsBetweenControls = 64;
constexpr Nanoseconds kTimeBetweenControls = std::chrono::microseconds(200);
constexpr std::size_t kControlEvents = 32;
// Until what the wire still had of a process that has ended has been read, in calls of progress().
constexpr int kDrainsMax = 100'000;
constexpr Nanoseconds kNapMin = std::chrono::microseconds(50);
constexpr Nanoseconds kNapMax = std::chrono::milliseconds(1);
constexpr int kWatchesPerLimit = 8;
// What is under way with others when the transport goes is withdrawn by the library, which may wait for a network.
constexpr Nanoseconds kWithdrawalLimit = std::chrono::seconds(5);

void watch(int epoll, int descriptor) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (descriptor >= 0) epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

}  // namespace

FabricTransport::FabricTransport(std::unique_ptr<Transport> control, std::vector<std::unique_ptr<Wire>> wires,
                                 FabricOptions options)
    : options_(std::move(options)),
      pid_(getpid()),
      own_name_(format("{} (pid {})", options_.host_name, pid_)),
      control_(std::move(control)),
      control_events_(kControlEvents) {
  const WireLimits& limits = wires.front()->limits();
  capabilities_.name = limits.name;
  capabilities_.lanes_max = static_cast<std::uint32_t>(wires.size());
  capabilities_.frame_bytes_max = limits.large_bytes_max;
  capabilities_.copied_bytes_max = limits.small_bytes_max;
  capabilities_.bytes_per_second = limits.bytes_per_second;
  capabilities_.latency = limits.latency;
  for (auto& wire : wires) {
    // What lanes are taken to have alike. Those that turn out slower carry less (transports/failover).
    capabilities_.bytes_per_second = std::min(capabilities_.bytes_per_second, wire->limits().bytes_per_second);
    capabilities_.latency = std::max(capabilities_.latency, wire->limits().latency);
    naps_ |= wire->wait_descriptor() < 0;
    rails_.push_back(std::make_unique<Rail>(*this, std::move(wire)));
    rails_.back()->wire->set_user(*rails_.back());
  }
  const auto control_address = control_->address();
  address_ = encode(Address{limits.kind, {control_address.begin(), control_address.end()}});
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  watch(epoll_, control_->wait_descriptor());
  for (const auto& rail : rails_) watch(epoll_, rail->wire->wait_descriptor());
  watch(epoll_, timer_);
}

FabricTransport::~FabricTransport() {
  if (getpid() != pid_) {
    // A forked child: the library's threads and connections are the parent's, who goes on using them.
    for (auto& [control, link] : links_) static_cast<void>(link.release());
    for (const auto& rail : rails_) static_cast<void>(rail->wire.release());
  } else {
    for (const auto& [control, link] : links_) {
      if (!link->is_closed()) link->withdraw();
    }
    const Instant limit = monotonic_now() + kWithdrawalLimit;
    const auto is_withdrawn = [](const auto& each) { return each.second->is_withdrawn(); };
    while (!std::all_of(links_.begin(), links_.end(), is_withdrawn) && monotonic_now() < limit) progress();
    links_.clear();
    rails_.clear();
  }
  control_.reset();
  ::close(timer_);
  ::close(epoll_);
}

bool FabricTransport::reaches(std::span<const std::byte> address) const {
  const auto parsed = parse_address(address);
  return parsed && parsed->kind == wire_of(0).limits().kind && control_->reaches(parsed->control);
}

Result<Link*> FabricTransport::connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                                       Instant deadline) {
  const auto parsed = parse_address(address);
  if (!parsed) return parsed.status();
  const Result<Link*> control = control_->connect(peer, parsed->control, lane, deadline);
  if (!control) return control.status().prefixed(format("{} is not tried", capabilities_.name));
  if (const auto known = links_.find(*control); known != links_.end()) {
    known->second->make_known();
    return static_cast<Link*>(known->second.get());
  }
  const auto made = add_link(*control, deadline, true);
  if (!made) {
    (*control)->close(made.status());
    return made.status();
  }
  return static_cast<Link*>(*made);
}

Result<FabricLink*> FabricTransport::add_link(Link* control, Instant deadline, bool is_known) {
  std::array<std::byte, sizeof(std::uint64_t)> random{};
  TUTTI_RETURN_IF_ERROR(secure_random(random));
  std::uint64_t key = 0;
  std::memcpy(&key, random.data(), sizeof key);
  auto& link = links_[control];
  link = std::make_unique<FabricLink>(*this, control, key, deadline, is_known);
  by_key_[key] = link.get();
  return link.get();
}

void FabricTransport::forget(Link* link) {
  auto* const ours = static_cast<FabricLink*>(link);
  std::erase(attended_, ours);
  by_key_.erase(ours->key());
  Link* const control = ours->control();
  links_.erase(control);
  control_->forget(control);
}

void FabricTransport::attend(FabricLink& link) {
  if (std::exchange(link.is_attended, true)) return;
  attended_.push_back(&link);
}

// ---- What happens

void FabricTransport::on_message(const Message& message, Wire& wire) {
  const auto found = by_key_.find(message.head.key);
  if (found != by_key_.end()) return found->second->on_message(message);
  if (message.handle != nullptr) wire.give_back(message);
  // Of a link that was closed here while this was on its way, or of a stranger.
  ++drops_;
  options_.log.write(LogLevel::debug, capabilities_.name, "message {} of {} bytes for no link here was dropped",
                     drops_, message.bytes);
}

void FabricTransport::handle_control(const Event& event, Instant now) {
  const auto known = links_.find(event.link);
  FabricLink* link = known == links_.end() ? nullptr : known->second.get();
  switch (event.kind) {
    case EventKind::connected:
      if (link == nullptr) {
        const auto made = add_link(event.link, deadline_after(now, options_.greeting_limit), false);
        if (!made) return event.link->close(made.status());
        link = *made;
      }
      return link->on_control_connected();
    case EventKind::delivery:
      if (link != nullptr && event.data != nullptr) {
        link->on_control_word({event.data, event.bytes});
      } else if (link != nullptr) {
        link->close({Code::peer_lost, format("{} is closed: its peer said {} bytes where a greeting was due",
                                             link->describe(), event.bytes)});
      }
      return event.link->release(event.token);
    case EventKind::closed:
      if (link == nullptr) return control_->forget(event.link);
      drain_wires();
      return link->on_control_closed();
    case EventKind::fetched:
    case EventKind::sent:
    case EventKind::rerouted:
      return;
  }
}

// What a process has sent before it ended may still lie in the library.
void FabricTransport::drain_wires() {
  for (int i = 0; i < kDrainsMax && progress() > 0; ++i) continue;
}

std::size_t FabricTransport::progress() {
  std::size_t moved = 0;
  for (const auto& rail : rails_) moved += rail->wire->progress();
  return moved;
}

void FabricTransport::poll_control(Instant now) {
  last_control_ = now;
  polls_since_control_ = 0;
  while (true) {
    const std::size_t count = control_->poll(control_events_, now);
    for (std::size_t i = 0; i < count; ++i) handle_control(control_events_[i], now);
    if (count < control_events_.size()) return;
  }
}

std::size_t FabricTransport::poll(std::span<Event> out, Instant now) {
  now_ = now;
  if (is_unsettled_ || links_.empty() || ++polls_since_control_ >= kPollsBetweenControls ||
      now - last_control_ >= kTimeBetweenControls) {
    poll_control(now);
  }
  if (!links_.empty() && progress() > 0 && std::exchange(has_refused_, false)) may_have_room_ = true;
  if (options_.stall_limit.count() > 0 && now >= next_watch_) watch_links(now);
  std::size_t count = take_events(out);
  if (!attended_.empty()) count += work(out.subspan(count), now);
  count += take_events(out.subspan(count));
  if (count > 0) nap_ = kNapMin;
  return count;
}

void FabricTransport::watch_links(Instant now) {
  next_watch_ = now + options_.stall_limit / kWatchesPerLimit;
  for (const auto& [control, link] : links_) link->watch(now, options_.stall_limit, options_.ends_when_silent);
}

// Deliveries of a link come behind its events; where there was no room for those, they wait.
std::size_t FabricTransport::work(std::span<Event> out, Instant now) {
  std::size_t count = 0;
  batch_.swap(attended_);
  for (FabricLink* const link : batch_) link->is_attended = false;
  is_unsettled_ = false;
  for (FabricLink* const link : batch_) {
    count += link->work(events_.empty() ? out.subspan(count) : std::span<Event>(), now);
    is_unsettled_ |= link->is_unsettled();
    if (link->is_unsettled() || link->has_work()) attend(*link);
  }
  batch_.clear();
  for (FabricLink* const link : std::exchange(buried_, {})) forget(link);
  return count;
}

std::size_t FabricTransport::take_events(std::span<Event> out) {
  std::size_t count = 0;
  while (count < out.size() && !events_.empty()) {
    out[count++] = events_.front();
    events_.pop_front();
  }
  return count;
}

// ---- Sleeping

bool FabricTransport::prepare_wait() {
  if (!events_.empty() || std::exchange(may_have_room_, false)) return false;
  Instant wake = kNever;
  for (const FabricLink* const link : attended_) {
    if (link->has_work()) return false;
    if (link->is_unsettled()) wake = std::min(wake, link->deadline());
  }
  if (options_.stall_limit.count() > 0 && !links_.empty()) wake = std::min(wake, next_watch_);
  if (!control_->prepare_wait()) return false;
  if (!links_.empty() && !prepare_wires()) {
    control_->finish_wait();
    return false;
  }
  Nanoseconds after = wake == kNever ? Nanoseconds::max() : std::max(wake - monotonic_now(), Nanoseconds(1));
  if (naps_ && !links_.empty()) {
    after = std::min(after, nap_);
    nap_ = std::min(2 * nap_, kNapMax);
  }
  if (after != Nanoseconds::max()) set_timer(after);
  return true;
}

bool FabricTransport::prepare_wires() {
  return std::all_of(rails_.begin(), rails_.end(), [](const auto& rail) { return rail->wire->prepare_wait(); });
}

void FabricTransport::finish_wait() {
  control_->finish_wait();
  if (is_timer_set_) set_timer(Nanoseconds(0));
  last_control_ = {};
}

void FabricTransport::set_timer(Nanoseconds after) {
  itimerspec time{};
  time.it_value.tv_sec = static_cast<time_t>(after.count() / 1'000'000'000);
  time.it_value.tv_nsec = static_cast<long>(after.count() % 1'000'000'000);
  timerfd_settime(timer_, 0, &time, nullptr);
  is_timer_set_ = after.count() > 0;
}

}  // namespace tutti::fabric

namespace tutti {

std::unique_ptr<Transport> make_fabric_transport(std::unique_ptr<Transport> control,
                                                 std::vector<std::unique_ptr<fabric::Wire>> wires,
                                                 FabricOptions options) {
  return std::make_unique<fabric::FabricTransport>(std::move(control), std::move(wires), std::move(options));
}

}  // namespace tutti
