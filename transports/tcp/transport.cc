#include "transports/tcp/transport.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <functional>

#include "src/base/format.h"

namespace tutti::tcp {

namespace {

constexpr int kEventsPerGather = 64;
constexpr int kSerialBits = 56;
constexpr unsigned kEagerPolls = 512;    // about as long as an answer takes to come over loopback, many times over
constexpr unsigned kPollsPerGather = 4;  // while eager: the other links are not to wait long
constexpr double kBytesPerSecondGuess = 1.25e9;  // where no driver tells a speed
constexpr Nanoseconds kLatencyGuess = std::chrono::microseconds(15);

Capabilities describe(const TcpOptions& options, const std::vector<Interface>& interfaces) {
  std::uint32_t speed_mbps = 0;
  for (const Interface& interface : interfaces) speed_mbps = std::max(speed_mbps, interface.speed_mbps);
  const auto lanes = options.lanes_max > 0 ? options.lanes_max : static_cast<std::uint32_t>(2 * interfaces.size());
  Capabilities capabilities;
  capabilities.name = "tcp";
  capabilities.frame_bytes_max = options.frame_bytes_max;
  capabilities.copied_bytes_max = options.copied_bytes_max;
  capabilities.lanes_max = std::clamp<std::uint32_t>(lanes, 1, kLanesLimit);
  capabilities.bytes_per_second = speed_mbps > 0 ? speed_mbps * 1e6 / 8 : kBytesPerSecondGuess;
  capabilities.latency = kLatencyGuess;
  return capabilities;
}

}  // namespace

TcpTransport::TcpTransport(TcpOptions options, Listener listener, std::vector<Interface> interfaces, Descriptor epoll,
                           Descriptor timer)
    : options_(std::move(options)),
      capabilities_(describe(options_, interfaces)),
      listener_(std::move(listener)),
      epoll_(std::move(epoll)),
      timer_(std::move(timer)),
      strangers_(options_.log) {
  address_.process = options_.process;
  address_.host = options_.host;
  address_.pid = static_cast<std::uint32_t>(getpid());
  address_.port = listener_.port();
  address_.has_ipv6 = listener_.has_ipv6();
  address_.host_name = options_.host_name.substr(0, kHostNameBytesMax);
  address_.interfaces = std::move(interfaces);
  if (options_.publish_key) address_.key = options_.key;
  encoded_ = encode(address_);
  watch(listener_.descriptor(), Watched::listener, 0, true);
  watch(timer_.get(), Watched::timer, 0, true);
}

bool TcpTransport::reaches(std::span<const std::byte> address) const {
  const auto parsed = parse_address(address);
  return parsed && parsed->process != options_.process && !plan_routes(address_, *parsed, 0).empty();
}

Result<Link*> TcpTransport::connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                                    Instant deadline) {
  const LaneKey key{peer, lane};
  const auto known = lanes_.find(key);
  if (known != lanes_.end() && known->second.link != nullptr && !known->second.link->is_closed()) {
    return known->second.link;
  }
  const auto parsed = parse_address(address);
  if (!parsed) return parsed.status();
  const std::string name = format("{} (pid {})", parsed->host_name, parsed->pid);
  if (parsed->process != peer || peer == options_.process) {
    return Status(
        Code::invalid,
        format("tcp: the address given for process {} is that of {}, process {}. No link was "
               "made",
               to_string(peer), peer == options_.process ? "this process itself" : name, to_string(parsed->process)));
  }
  if (lane >= kLanesLimit) {
    return Status(Code::invalid, format("tcp: lane {} to {} does not exist; lanes are 0 to {}", lane, name,
                                        capabilities_.lanes_max - 1));
  }
  auto routes = plan_routes(address_, *parsed, lane);
  if (routes.empty()) {
    return Status(Code::unsupported,
                  format("tcp: {} cannot be reached: no network interface of this host ({}) has an "
                         "address of the same kind (IPv4, IPv6) as one of its {} interfaces",
                         name, options_.host_name, parsed->interfaces.size()));
  }
  const Instant now = monotonic_now();
  Lane& entry = lanes_[key];
  if (entry.generation > 0 && has_open_link(peer)) keep_way(routes, entry);
  entry.dial.emplace(std::move(routes), name, now, deadline);
  entry.key = parsed->key.value_or(options_.key);
  Status refused;
  begin_try(key, entry, now, &refused);
  if (!refused) {
    entry.dial.reset();
    return refused;
  }
  dialing_.push_back(key);
  entry.link = &add_link(peer, lane, name);
  return entry.link;
}

bool TcpTransport::has_open_link(const ProcessId& peer) const {
  auto lane = lanes_.lower_bound({peer, 0});
  for (; lane != lanes_.end() && lane->first.first == peer; ++lane) {
    if (lane->second.link != nullptr && lane->second.link->is_open()) return true;
  }
  return false;
}

// A lane that was lost while others live goes the way it went, once that is whole again: another way has its own
// lane.
void TcpTransport::keep_way(std::vector<Route>& routes, const Lane& lane) {
  const auto leads_elsewhere = [&](const Route& route) {
    return route.source != lane.local || route.destination.ip != lane.remote;
  };
  const auto elsewhere = std::stable_partition(routes.begin(), routes.end(), std::not_fn(leads_elsewhere));
  routes.erase(std::max(elsewhere, routes.begin() + 1), routes.end());
}

TcpLink& TcpTransport::add_link(const ProcessId& peer, std::uint32_t lane, std::string peer_name) {
  const std::uint64_t serial = next_serial_++;
  TcpLink::Names names{format("{} (pid {})", address_.host_name, address_.pid), std::move(peer_name)};
  auto& link = links_[serial];
  link = std::make_unique<TcpLink>(agenda_, serial, peer, lane, std::move(names));
  return *link;
}

void TcpTransport::forget(Link* link) {
  const auto known = lanes_.find({link->peer(), link->lane()});
  if (known != lanes_.end() && known->second.link == link) {
    known->second.link = nullptr;
    known->second.dial.reset();
  }
  auto& ours = static_cast<TcpLink&>(*link);
  agenda_.remove(ours);
  links_.erase(ours.serial());
}

void TcpTransport::watch(int fd, Watched kind, std::uint64_t serial, bool is_new) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  if (kind == Watched::setup || kind == Watched::link) event.events |= EPOLLOUT | EPOLLRDHUP;
  event.data.u64 = static_cast<std::uint64_t>(kind) << kSerialBits | serial;
  [[maybe_unused]] const int rc = epoll_ctl(epoll_.get(), is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
  assert(rc == 0);
}

void TcpTransport::gather(Instant now) {
  epoll_event events[kEventsPerGather];
  const int count = epoll_wait(epoll_.get(), events, kEventsPerGather, 0);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t serial = events[i].data.u64 & ((std::uint64_t{1} << kSerialBits) - 1);
    switch (static_cast<Watched>(events[i].data.u64 >> kSerialBits)) {
      case Watched::listener:
        accepting_ = true;
        break;
      case Watched::timer:
        break;  // run_timers goes by the clock
      case Watched::setup:
        advance(serial, now);
        break;
      case Watched::link:
        if (const auto found = links_.find(serial); found != links_.end()) found->second->on_ready(events[i].events);
        break;
    }
  }
}

std::size_t TcpTransport::poll(std::span<Event> out, Instant now) {
  // Counted apart, so that a link that always has something cannot keep epoll from being asked.
  if (eager_polls_left_ > 0 && ++polls_ % kPollsPerGather != 0 && agenda_.latest() != nullptr) {
    --eager_polls_left_;
    agenda_.latest()->try_receive();
  } else {
    gather(now);
  }
  if (accepting_ && now >= accept_again_) accept_all(now);
  if (now >= next_timer_) run_timers(now);
  const std::size_t count = agenda_.is_empty() ? 0 : agenda_.collect(out);
  if (count > 0) eager_polls_left_ = kEagerPolls;
  return count;
}

// Every timer says anew when it wants to run next.
void TcpTransport::run_timers(Instant now) {
  next_timer_ = kNever;
  run_dial_timers(now);
  run_setup_timers(now);
  if (accepting_ && accept_again_ > now) plan_timer(accept_again_);
  if (options_.silence_limit.count() <= 0 || links_.empty()) return;
  if (now >= next_silence_check_) {
    std::erase_if(quiet_, [&](const auto& each) { return now >= each.first; });
    for (auto& [serial, link] : links_) {
      link->check_silence(options_.silence_limit, now);
      if (Descriptor socket = link->take_socket())
        quiet_.emplace_back(deadline_after(now, options_.silence_limit / 2), std::move(socket));
    }
  }
  if (now >= next_silence_check_ || next_silence_check_ == kNever) {
    next_silence_check_ = deadline_after(now, options_.silence_limit / 4);
  }
  plan_timer(next_silence_check_);
}

bool TcpTransport::prepare_wait() {
  const Instant now = monotonic_now();
  gather(now);
  if (agenda_.take_made_room()) return false;
  if (!agenda_.is_empty() || (accepting_ && now >= accept_again_) || now >= next_timer_) return false;
  itimerspec when{};
  if (next_timer_ != kNever) {
    const auto at = next_timer_.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at);
    when.it_value.tv_sec = seconds.count();
    when.it_value.tv_nsec = (at - seconds).count();
  }
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  return true;
}

// The timer may ring on: it is edge-triggered, and the next wait sets it anew.
void TcpTransport::finish_wait() {}

}  // namespace tutti::tcp

namespace tutti {

Result<std::unique_ptr<Transport>> make_tcp_transport(TcpOptions options) {
  constexpr std::size_t kFrameBytesLimit = std::size_t{1} << 30;
  if (options.frame_bytes_max < 4096 || options.frame_bytes_max > kFrameBytesLimit) {
    return Status(Code::invalid, format("tcp: a frame limit of {} bytes is out of range; 4096 to {} are possible",
                                        options.frame_bytes_max, kFrameBytesLimit));
  }
  if (options.port_first > options.port_last) {
    return Status(Code::invalid, format("tcp: the port range {}-{} is empty", options.port_first, options.port_last));
  }
  options.copied_bytes_max = std::min(options.copied_bytes_max, options.frame_bytes_max);
  options.handshakes_max = std::max<std::size_t>(options.handshakes_max, 1);
  auto interfaces = tcp::find_interfaces(options.interfaces);
  if (!interfaces) return interfaces.status();
  auto listener = tcp::Listener::open(options.port_first, options.port_last);
  if (!listener) return listener.status();
  tcp::Descriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Status(Code::system, format("tcp: no epoll descriptor: {}", tcp::describe_errno(errno)));
  tcp::Descriptor timer(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) return Status(Code::system, format("tcp: no timer descriptor: {}", tcp::describe_errno(errno)));
  return std::unique_ptr<Transport>(std::make_unique<tcp::TcpTransport>(
      std::move(options), *std::move(listener), *std::move(interfaces), std::move(epoll), std::move(timer)));
}

}  // namespace tutti
