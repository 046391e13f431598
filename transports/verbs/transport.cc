#include "transports/verbs/transport.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

#include "src/base/format.h"

namespace tutti::verbs {

namespace {

constexpr Nanoseconds kControlPause = std::chrono::milliseconds(1);
constexpr Nanoseconds kGreetingLimit = std::chrono::seconds(10);    // of links that others open
constexpr Nanoseconds kPortPause = std::chrono::milliseconds(100);  // between looks at a port that is down
constexpr Nanoseconds kLatencyGuess = std::chrono::microseconds(3);
constexpr std::uint32_t kLanesLimit = 64;

Capabilities describe(const VerbsOptions& options, const std::vector<std::unique_ptr<Rail>>& rails) {
  Capabilities capabilities;
  capabilities.name = "verbs";
  capabilities.frame_bytes_max = options.frame_bytes_max;
  capabilities.copied_bytes_max = options.ring_bytes / kRingUnits * kFrameUnitsMax - kHeadBytes;
  capabilities.lanes_max =
      options.lanes_max > 0 ? std::min(options.lanes_max, kLanesLimit) : static_cast<std::uint32_t>(rails.size());
  for (const auto& rail : rails) {
    capabilities.frame_bytes_max =
        std::min<std::size_t>(capabilities.frame_bytes_max, rail->port().message_bytes_max);
    capabilities.bytes_per_second = std::max(capabilities.bytes_per_second, rail->port().bytes_per_second);
  }
  capabilities.latency = kLatencyGuess;
  return capabilities;
}

Hello describe(const VerbsOptions& options, const std::vector<std::unique_ptr<Rail>>& rails,
               std::size_t frame_bytes_max) {
  Hello hello;
  hello.pid = static_cast<std::uint32_t>(getpid());
  hello.host_name = options.host_name;
  hello.frame_bytes_max = frame_bytes_max;
  for (const auto& rail : rails) hello.ports.push_back(rail->port().facts);
  return hello;
}

}  // namespace

VerbsTransport::VerbsTransport(std::unique_ptr<Transport> control, VerbsOptions options,
                               std::vector<std::unique_ptr<Rail>> rails, std::unique_ptr<Connector> connector,
                               std::vector<std::byte> address, int epoll, int timer)
    : control_(std::move(control)),
      common_(std::move(options), std::move(rails)),
      address_(std::move(address)),
      epoll_(epoll),
      timer_(timer) {
  common_.connector = std::move(connector);
  common_.capabilities = describe(common_.options, common_.rails);
  common_.hello = describe(common_.options, common_.rails, common_.capabilities.frame_bytes_max);
  const auto watch = [this](int descriptor, std::uint32_t flags) {
    epoll_event event{};
    event.events = flags;
    if (descriptor >= 0) epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event);
  };
  watch(timer_, EPOLLIN | EPOLLET);
  watch(control_->wait_descriptor(), EPOLLIN);
  if (common_.connector) watch(common_.connector->descriptor(), EPOLLIN);
  for (const auto& rail : common_.rails) {
    watch(rail->descriptor(), EPOLLIN);
    watch(rail->event_descriptor(), EPOLLIN);
  }
}

// First nothing of ours is read or written any more; then the peers hear of it.
VerbsTransport::~VerbsTransport() {
  links_.clear();
  common_.connector.reset();
  common_.rails.clear();
  control_.reset();
  close(timer_);
  close(epoll_);
}

bool VerbsTransport::reaches(std::span<const std::byte> address) const {
  const auto parsed = parse_address(address);
  if (!parsed || !control_->reaches(parsed->control)) return false;
  const auto entry = [](const PortFacts& port) {
    GidEntry gid;
    gid.type = port.type;
    gid.gid = port.gid;
    return gid;
  };
  return std::any_of(common_.hello.ports.begin(), common_.hello.ports.end(), [&](const PortFacts& here) {
    return std::any_of(parsed->ports.begin(), parsed->ports.end(), [&](const PortFacts& there) {
      return may_reach(entry(here), here.layer, entry(there), there.layer);
    });
  });
}

Result<Link*> VerbsTransport::connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                                      Instant deadline) {
  const auto parsed = parse_address(address);
  if (!parsed) return parsed.status();
  common_.now = monotonic_now();
  if (const auto known = lanes_.find({peer, lane}); known != lanes_.end() && !known->second->is_closed()) {
    if (!known->second->is_known()) known->second->ask(deadline);
    return static_cast<Link*>(known->second);
  }
  const auto control = control_->connect(peer, parsed->control, lane, deadline);
  if (!control) return control.status().prefixed("verbs: no control connection");
  control_due_ = {};
  VerbsLink& link = add_link(**control, deadline);
  link.ask(deadline);
  if ((*control)->is_open()) link.on_control_connected();
  return static_cast<Link*>(&link);
}

VerbsLink& VerbsTransport::add_link(Link& control, Instant deadline) {
  const std::uint64_t serial = next_serial_++;
  auto& link = links_[serial];
  link = std::make_unique<VerbsLink>(common_, serial, control, deadline);
  by_control_[&control] = serial;
  lanes_[{link->peer(), link->lane()}] = link.get();
  ++greeting_;
  return *link;
}

VerbsLink* VerbsTransport::find(std::uint64_t serial) {
  if (latest_ != nullptr && latest_->serial() == serial) return latest_;
  const auto found = links_.find(serial);
  return found == links_.end() ? nullptr : latest_ = found->second.get();
}

void VerbsTransport::erase(VerbsLink& link) {
  if (latest_ == &link) latest_ = nullptr;
  const auto known = lanes_.find({link.peer(), link.lane()});
  if (known != lanes_.end() && known->second == &link) lanes_.erase(known);
  links_.erase(link.serial());
}

void VerbsTransport::forget(Link* link) { erase(static_cast<VerbsLink&>(*link)); }

void VerbsTransport::poll_control() {
  std::array<Event, 32> events;
  std::size_t count = events.size();
  while (count == events.size()) {
    count = control_->poll(events, common_.now);
    for (std::size_t i = 0; i < count; ++i) on_control(events[i]);
  }
  control_due_ = common_.now + kControlPause;
}

void VerbsTransport::on_control(const Event& event) {
  const auto known = by_control_.find(event.link);
  VerbsLink* link = known == by_control_.end() ? nullptr : find(known->second);
  switch (event.kind) {
    case EventKind::connected:
      if (known == by_control_.end()) {
        // Whoever connects again has lost the old one.
        const auto old = lanes_.find({event.link->peer(), event.link->lane()});
        if (old != lanes_.end()) old->second->fail("the peer has made a new connection", false);
        link = &add_link(*event.link, deadline_after(common_.now, kGreetingLimit));
      }
      if (link != nullptr) link->on_control_connected();
      return;
    case EventKind::delivery:
      if (link != nullptr && (event.data != nullptr || event.bytes == 0)) {
        link->on_control_bytes({event.data, event.bytes});
      } else if (link != nullptr) {
        event.link->close(
            Status(Code::peer_lost, format("the peer has sent {} as a greeting", format_bytes(event.bytes))));
      }
      return event.link->release(event.token);
    case EventKind::closed: {
      if (link != nullptr) link->on_control_closed();
      if (known != by_control_.end()) by_control_.erase(event.link);
      control_->forget(event.link);
      return;
    }
    case EventKind::fetched:
    case EventKind::sent:
    case EventKind::rerouted:
      return;
  }
}

std::size_t VerbsTransport::poll_completions() {
  constexpr int kBatchesMax = 4;  // then the caller sees to what has come
  std::array<ibv_wc, 32> completions;
  std::size_t all = 0;
  for (const auto& rail : common_.rails) {
    std::size_t taken = completions.size();
    for (int batch = 0; batch < kBatchesMax && taken == completions.size(); ++batch) {
      taken = rail->take(completions);
      for (std::size_t i = 0; i < taken; ++i) {
        if (VerbsLink* const link = find(completions[i].wr_id)) link->on_completion(completions[i]);
      }
      all += taken;
    }
  }
  return all;
}

bool VerbsTransport::poll_connector() {
  bool any = false;
  if (!common_.connector) return any;
  for (Connector::Event event; common_.connector->take_event(event); any = true) {
    if (VerbsLink* const link = find(event.link)) link->on_managed(event);
  }
  return any;
}

bool VerbsTransport::poll_device_events() {
  bool any = false;
  for (const auto& rail : common_.rails) {
    for (Rail::DeviceEvent event; rail->take_event(event); any = true) on_device_event(*rail, event);
  }
  return any;
}

void VerbsTransport::on_device_event(Rail& rail, const Rail::DeviceEvent& event) {
  const auto& log = common_.options.log;
  const std::string& port = rail.port().name();
  const auto for_links = [&](const auto& act) {
    for (const auto& [serial, link] : links_) {
      if (link->rail() == &rail) act(*link);
    }
  };
  switch (event.type) {
    case IBV_EVENT_PORT_ERR:
      if (rail.down_since == kNever) rail.down_since = common_.now;
      common_.plan_timer(common_.now + kPortPause);
      return log.write(LogLevel::warn, "verbs", "{} is down ({}); its links are lost if it stays so for {}", port,
                       event.text, format_duration(common_.options.silence_limit));
    case IBV_EVENT_PORT_ACTIVE:
      rail.down_since = kNever;
      return log.write(LogLevel::warn, "verbs", "{} is up again ({})", port, event.text);
    case IBV_EVENT_DEVICE_FATAL:
      return for_links([&](VerbsLink& link) { link.fail(format("{}: {}", port, event.text), true); });
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
      return for_links([&](VerbsLink& link) {
        if (link.queue_pair_number() == event.queue_pair) link.fail(format("{}: {}", port, event.text), false);
      });
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_GID_CHANGE:
      return log.write(LogLevel::warn, "verbs",
                       "{}: {}; links that there are keep the address that they have, which was {}", port, event.text,
                       to_string(rail.port().gid.gid));
    default:
      return log.write(LogLevel::debug, "verbs", "{}: {}", port, event.text);
  }
}

// A port that is down says so in an event; that it stays down, only the clock tells.
void VerbsTransport::watch_ports() {
  for (const auto& rail : common_.rails) {
    if (rail->down_since == kNever) continue;
    if (common_.now - rail->down_since < common_.options.silence_limit) {
      common_.plan_timer(common_.now + kPortPause);
      continue;
    }
    for (const auto& [serial, link] : links_) {
      if (link->rail() == rail.get()) {
        link->fail(
            format("{} has been down for {}", rail->port().name(), format_duration(common_.now - rail->down_since)),
            true);
      }
    }
  }
}

void VerbsTransport::run_timers() {
  common_.next_timer = kNever;
  watch_ports();
  greeting_ = 0;
  for (const auto& [serial, link] : links_) {
    link->run_timers();
    if (!link->is_open() && !link->is_closed()) ++greeting_;
  }
}

std::size_t VerbsTransport::poll(std::span<Event> out, Instant now) {
  common_.now = now;
  if (has_greeting() || now >= control_due_) {
    poll_control();
    poll_connector();
    poll_device_events();
    for (const auto& rail : common_.rails) rail->registrar().forget_freed();
    if (has_greeting()) common_.next_timer = {};
  }
  poll_completions();
  if (now >= common_.next_timer) run_timers();
  return common_.agenda.empty() ? 0 : collect(out);
}

// Each link in turn, and another one first each time.
std::size_t VerbsTransport::collect(std::span<Event> out) {
  std::size_t count = 0;
  auto& agenda = common_.agenda;
  if (agenda.size() > 1) std::rotate(agenda.begin(), agenda.begin() + 1, agenda.end());
  const std::size_t links = agenda.size();
  for (std::size_t i = 0; i < links; ++i) count += agenda[i]->collect(out.subspan(count));
  std::vector<VerbsLink*> unknown;
  std::erase_if(agenda, [&](VerbsLink* link) {
    if (link->stay_on_agenda()) return false;
    if (link->is_closed() && !link->is_known()) unknown.push_back(link);
    return true;
  });
  for (VerbsLink* const link : unknown) erase(*link);
  return count;
}

bool VerbsTransport::prepare_wait() {
  common_.now = monotonic_now();
  const auto may_sleep = [this] { return common_.agenda.empty() && !std::exchange(common_.has_room, false); };
  if (!may_sleep() || common_.now >= common_.next_timer) return false;
  for (const auto& rail : common_.rails) rail->arm();
  const bool has_moved = poll_completions() > 0 || poll_device_events() || poll_connector();
  if (has_moved || !may_sleep()) return false;
  if (!control_->prepare_wait()) {
    control_due_ = {};
    return false;
  }
  itimerspec when{};
  if (common_.next_timer != kNever) {
    const auto at = common_.next_timer.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at);
    when.it_value.tv_sec = seconds.count();
    when.it_value.tv_nsec = (at - seconds).count();
  }
  timerfd_settime(timer_, TFD_TIMER_ABSTIME, &when, nullptr);
  return true;
}

void VerbsTransport::finish_wait() {
  for (const auto& rail : common_.rails) rail->disarm();
  control_->finish_wait();
  control_due_ = {};
}

}  // namespace tutti::verbs

namespace tutti {

Result<std::unique_ptr<Transport>> make_verbs_transport(VerbsOptions options) {
  const auto library = verbs::load_library();
  if (!library) return library.status();
  if (!options.find_dma_buf) options.find_dma_buf = verbs::find_by_cuda();
  return make_verbs_transport(std::move(options), **library);
}

Result<std::unique_ptr<Transport>> make_verbs_transport(VerbsOptions options, const verbs::Library& library) {
  using namespace verbs;
  constexpr std::size_t kRingBytesMin = std::size_t{16} << 10;
  constexpr std::size_t kRingBytesMax = std::size_t{1} << 20;
  if (!std::has_single_bit(options.ring_bytes) || options.ring_bytes < kRingBytesMin ||
      options.ring_bytes > kRingBytesMax) {
    return Status(
        Code::invalid,
        format("verbs: rings of {} bytes (TUTTI_VERBS_RING_BYTES) are not possible; expected a power of two "
               "from {} to {}",
               options.ring_bytes, kRingBytesMin, kRingBytesMax));
  }
  auto ports = find_ports(library, options);
  if (!ports) return ports.status();
  std::vector<std::unique_ptr<Rail>> rails;
  Address address;
  for (Port& port : *ports) {
    auto rail = Rail::open(std::move(port), options);
    if (!rail) return rail.status();
    const Port& opened = (*rail)->port();
    options.log.write(LogLevel::info, "verbs", "{} is used: {}; MTU {}, {:.0f} Gbit/s", opened.name(), opened.why,
                      mtu_bytes(opened.mtu), opened.bytes_per_second * 8 / 1e9);
    address.ports.push_back(opened.facts);
    rails.push_back(*std::move(rail));
  }
  std::unique_ptr<Connector> connector;
  if (options.make_connector) {
    std::vector<const Port*> opened;
    for (const auto& rail : rails) opened.push_back(&rail->port());
    auto made = options.make_connector(opened);
    if (!made) return made.status();
    connector = *std::move(made);
  }
  auto control = options.make_control();
  if (!control) return control.status();
  const auto own = (*control)->address();
  address.control.assign(own.begin(), own.end());
  auto encoded = encode(address);
  if (!encoded) return encoded.status();
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (epoll < 0 || timer < 0) {
    const Status status = resource_error(errno, "verbs: a descriptor to wait on");
    if (epoll >= 0) close(epoll);
    return status;
  }
  return std::unique_ptr<Transport>(std::make_unique<VerbsTransport>(*std::move(control), std::move(options),
                                                                     std::move(rails), std::move(connector),
                                                                     *std::move(encoded), epoll, timer));
}

std::size_t verbs_pinned_bytes(const VerbsOptions& options, std::size_t ports, std::size_t links) {
  using namespace verbs;
  const std::size_t staging = kStagingSlots * kFrameUnitsMax * (options.ring_bytes / kRingUnits);
  return links * options.ring_bytes + ports * (staging + 2 * options.pinned_bytes_max);
}

}  // namespace tutti
