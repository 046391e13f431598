#include "transports/shm/transport.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti::shm {

namespace {

// Looking at the sockets costs a system call: done after so many polls, or so long, whichever comes first.
constexpr std::uint32_t kPollsBetweenChecks = 256;
constexpr std::uint32_t kPollsBetweenChecksInSetUp = 8;  // while a link is being set up, which takes messages
constexpr Nanoseconds kTimeBetweenChecks = std::chrono::milliseconds(1);

// What an epoll event belongs to, besides the numbers of connections, which begin with 1.
constexpr std::uint64_t kListenerTag = ~std::uint64_t{0};
constexpr std::uint64_t kDoorbellTag = kListenerTag - 1;

}  // namespace

ShmTransport::ShmTransport(ShmOptions options)
    : options_(std::move(options)), pid_(getpid()), host_(host_name()), lent_(options_.regions) {
  capabilities_.name = "shm";
  capabilities_.frame_bytes_max = kFrameBytesMax;
  capabilities_.copied_bytes_max = kInlineBytesMax;
  capabilities_.lanes_max = 1;
  capabilities_.has_segment = true;
  capabilities_.bytes_per_second = 10e9;
  capabilities_.latency = Nanoseconds(150);
}

Status ShmTransport::start() {
  std::array<std::byte, sizeof probe_word_> random{};
  TUTTI_RETURN_IF_ERROR(secure_random(random));
  std::memcpy(&probe_word_, random.data(), sizeof probe_word_);

  auto segment = create_shared("tutti-segment", options_.segment_bytes, kSegmentHeadBytes);
  if (!segment) return segment.status();
  segment_ = std::move(*segment);
  doorbell_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!doorbell_) return resource_error(errno, "create an eventfd");
  epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return resource_error(errno, "create an epoll set");
  spare_ = Descriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!spare_) return resource_error(errno, "open /dev/null");

  Address address{options_.process, options_.host, geteuid(), {}, {}};
  if (options_.publish_key) address.key = options_.key;
  auto listener = listen_socket(address.socket_name);
  if (!listener) return listener.status();
  listener_ = std::move(*listener);
  address_ = encode(address);
  TUTTI_RETURN_IF_ERROR(watch(listener_.get(), kListenerTag));
  return watch(doorbell_.get(), kDoorbellTag);
}

ShmTransport::~ShmTransport() {
  if (getpid() != pid_) {  // a forked child: the members' destructors close and unmap its copies, no more
    lent_.abandon();
    return;
  }
  for (const auto& link : links_) {
    if (!link->is_closed()) link->end({Code::aborted, "its transport was shut down"});
  }
  while (!connections_.empty()) drop(connections_.begin()->first);
}

bool ShmTransport::reaches(std::span<const std::byte> address) const {
  const auto there = decode(address);
  if (!there || there->host != options_.host || there->process == options_.process) return false;
  const uid_t user = geteuid();
  return there->user == user || there->user == 0 || user == 0;
}

void ShmTransport::forget(Link* link) {
  const auto at = std::find_if(links_.begin(), links_.end(), [&](const auto& owned) { return owned.get() == link; });
  if (at == links_.end()) return;
  std::erase(open_, at->get());
  links_.erase(at);
}

// Where a payload would be copied: not into the descriptor ring, and not read from the sender by its peers.
std::byte* ShmTransport::borrow(const std::byte* payload, std::size_t bytes) {
  if (options_.regions == nullptr || bytes <= kInlineBytesMax || options_.copy_mode == ShmCopyMode::cross_memory ||
      options_.regions->find(payload, bytes)) {
    return nullptr;
  }
  return lent_.borrow(bytes);
}

// ---- Polling

std::size_t ShmTransport::poll(std::span<Event> out, Instant now) {
  const std::uint32_t polls_max = setting_up_ > 0 ? kPollsBetweenChecksInSetUp : kPollsBetweenChecks;
  if (++polls_since_check_ >= polls_max || check_now_ || now - last_check_ >= kTimeBetweenChecks ||
      now >= earliest_deadline_) {
    check_sockets(now);
  }
  std::size_t count = events_.empty() ? 0 : take_events(out);
  const std::size_t links = open_.size();
  bool closed_some = false;
  // Starting with another link each time, so that a busy one does not keep the others from being heard.
  if (next_link_ >= links) next_link_ = 0;
  std::size_t at = next_link_;
  for (std::size_t i = 0; i < links && count < out.size(); ++i) {
    ShmLink& link = *open_[at];
    if (++at == links) at = 0;
    if (link.is_idle()) continue;
    count += link.receive(out.data() + count, out.size() - count);
    closed_some |= link.is_closed();
  }
  ++next_link_;
  if (closed_some) std::erase_if(open_, [](const ShmLink* link) { return link->is_closed(); });
  if (!events_.empty() && count < out.size()) count += take_events(out.subspan(count));
  return count;
}

std::size_t ShmTransport::take_events(std::span<Event> out) {
  std::size_t count = 0;
  while (count < out.size() && !events_.empty()) {
    out[count++] = events_.front();
    events_.pop_front();
  }
  return count;
}

void ShmTransport::check_sockets(Instant now) {
  polls_since_check_ = 0;
  check_now_ = false;
  last_check_ = now;
  std::array<epoll_event, 32> ready;
  const int count = epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), 0);
  for (int i = 0; i < count; ++i) read_ready(ready[static_cast<std::size_t>(i)].data.u64, now);
  check_now_ = count == static_cast<int>(ready.size());  // perhaps there is more
  if (setting_up_ > 0 || earliest_deadline_ != kNever) expire(now);
  std::erase_if(open_, [](const ShmLink* link) { return link->is_closed(); });

  if (!options_.regions) return;
  const std::uint64_t serial = options_.regions->serial();
  if (serial == regions_serial_ && !regions_changed_) return;
  regions_serial_ = serial;
  regions_changed_ = false;
  for (ShmLink* const link : open_) link->announce_gone_regions();
}

void ShmTransport::read_ready(std::uint64_t tag, Instant now) {
  if (tag == kListenerTag) return accept_all(now);
  if (tag == kDoorbellTag) {
    std::uint64_t rings = 0;
    [[maybe_unused]] const ssize_t got = read(doorbell_.get(), &rings, sizeof rings);
    return;
  }
  if ((tag & kProcessBit) == 0) return read_socket(tag);
  Connection* const connection = find(tag & ~kProcessBit);
  if (!connection) return;
  // What it sent on the socket before it ended still counts (a farewell has the better reason).
  const std::uint64_t number = connection->number;
  read_socket(number);
  if (Connection* const still = find(number)) peer_has_ended(*still);
}

void ShmTransport::read_socket(std::uint64_t number) {
  constexpr int kMessagesMax = 64;  // at a time: a peer that talks without end must not keep us
  for (int i = 0; i < kMessagesMax; ++i) {
    Connection* const connection = find(number);
    if (!connection || !connection->socket || connection->phase == Phase::retrying) return;
    Received received = receive_message(connection->socket);
    if (received.state == Received::State::nothing) return;
    handle(*connection, std::move(received));
  }
}

void ShmTransport::expire(Instant now) {
  std::vector<std::uint64_t> late;
  std::vector<std::uint64_t> retrying;
  earliest_deadline_ = kNever;
  for (const auto& [number, connection] : connections_) {
    if (connection->phase == Phase::open) continue;
    if (now >= connection->deadline) {
      late.push_back(number);
      continue;
    }
    earliest_deadline_ = std::min(earliest_deadline_, connection->deadline);
    if (connection->phase == Phase::retrying) retrying.push_back(number);
  }
  for (const std::uint64_t number : retrying) retry(*connections_.at(number));
  for (const std::uint64_t number : late) {
    Connection& connection = *connections_.at(number);
    fail(connection,
         {Code::timeout,
          format("shm: {} on {} did not finish setting up a link by the deadline. Check that it calls "
                 "Tutti and is not stopped",
                 connection.peer.pid > 0 ? format("process {}", connection.peer.pid) : std::string("the process"),
                 host_)});
  }
}

// ---- Sleeping

bool ShmTransport::prepare_wait() {
  auto& sleeping = reinterpret_cast<SegmentHead*>(segment_.mapping.base())->sleeping;
  sleeping.exchange(1, std::memory_order_seq_cst);
  bool has_work = !events_.empty();
  for (const auto& [number, connection] : connections_) has_work |= connection->phase == Phase::retrying;
  for (ShmLink* const link : open_) has_work |= link->is_closed() || link->has_work();
  if (has_work) sleeping.store(0, std::memory_order_seq_cst);
  return !has_work;
}

void ShmTransport::finish_wait() {
  reinterpret_cast<SegmentHead*>(segment_.mapping.base())->sleeping.store(0, std::memory_order_seq_cst);
  check_now_ = true;  // what woke us is in the epoll set
}

// ---- Connections

Status ShmTransport::watch(int descriptor, std::uint64_t tag) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
    return resource_error(errno, "watch a descriptor (epoll_ctl)");
  }
  return Status::ok();
}

// Needed although closing would do: a forked child may hold a copy, which keeps the entry alive.
void ShmTransport::unwatch(const Descriptor& descriptor) {
  if (descriptor) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, descriptor.get(), nullptr);
}

ShmTransport::Connection* ShmTransport::find(std::uint64_t number) {
  const auto at = connections_.find(number);
  return at == connections_.end() ? nullptr : at->second.get();
}

ShmTransport::Connection& ShmTransport::add(std::unique_ptr<Connection> connection) {
  ++setting_up_;
  earliest_deadline_ = std::min(earliest_deadline_, connection->deadline);
  const std::uint64_t number = connection->number;
  return *connections_.emplace(number, std::move(connection)).first->second;
}

int ShmTransport::send(std::uint64_t number, const Message& message, std::span<const int> descriptors) {
  Connection* const connection = find(number);
  return connection ? send_message(connection->socket, message, descriptors) : ENOTCONN;
}

bool ShmTransport::socket_has_ended(std::uint64_t number) const {
  const auto at = connections_.find(number);
  return at == connections_.end() || has_ended(at->second->socket);
}

// The link is closed: tell the peer, if there is one, and let go of the connection.
void ShmTransport::link_ended(ShmLink& link) {
  if (const auto at = by_peer_.find(link.peer()); at != by_peer_.end() && at->second == &link) by_peer_.erase(at);
  Connection* const connection = find(link.connection());
  if (!connection) return;
  if (connection->phase == Phase::open) {
    Message farewell = new_message(MessageType::farewell);
    farewell.set_text(link.status().text());
    (void)send_message(connection->socket, farewell);
  }
  connection->link = nullptr;
  drop(connection->number);
}

}  // namespace tutti::shm

namespace tutti {

Result<std::unique_ptr<Transport>> make_shm_transport(ShmOptions options) {
  using namespace shm;
  if (options.staging_bytes < kStagingBytesMin || options.staging_bytes > kStagingBytesMax) {
    return Status(Code::invalid, format("shm: a staging area of {} is out of range; expected {} to {}",
                                        format_bytes(options.staging_bytes), format_bytes(kStagingBytesMin),
                                        format_bytes(kStagingBytesMax)));
  }
  if (options.segment_bytes < 2 * kSegmentHeadBytes) {
    return Status(Code::invalid, format("shm: a segment of {} is too small; expected at least {}",
                                        format_bytes(options.segment_bytes), format_bytes(2 * kSegmentHeadBytes)));
  }
  constexpr std::size_t kUnit = kStagingSlots * kPageBytes;
  options.staging_bytes = (options.staging_bytes + kUnit - 1) / kUnit * kUnit;
  options.segment_bytes = (options.segment_bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  auto transport = std::make_unique<ShmTransport>(std::move(options));
  if (const Status started = transport->start(); !started) {
    return started.prefixed("the shared memory transport cannot start");
  }
  return std::unique_ptr<Transport>(std::move(transport));
}

}  // namespace tutti
