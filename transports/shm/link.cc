#include "transports/shm/link.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

#include "src/base/format.h"
#include "transports/shm/cross_memory.h"
#include "transports/shm/transport.h"

namespace tutti::shm {

namespace {

constexpr std::uint64_t kTransientToken = ~std::uint64_t{0};
constexpr std::size_t kPeerRegionsMax = 1 << 16;

}  // namespace

void ShmLink::open(Endpoint endpoint) {
  endpoint_ = std::move(endpoint);
  std::byte* const base = endpoint_.pair.base();
  auto* const connector = reinterpret_cast<Direction*>(base);
  auto* const acceptor = reinterpret_cast<Direction*>(base + kDirectionBytes);
  std::byte* const staging = base + 2 * kDirectionBytes;
  const std::size_t bytes = endpoint_.staging_bytes;
  if (endpoint_.is_connector) {
    sender_ = FrameSender(connector, staging, bytes);
    receiver_ = FrameReceiver(acceptor, staging + bytes, bytes);
  } else {
    sender_ = FrameSender(acceptor, staging + bytes, bytes);
    receiver_ = FrameReceiver(connector, staging, bytes);
  }
  state_ = State::open;
}

std::string ShmLink::describe() const {
  return format("shm process {} -> process {} on {}", transport_.pid(),
                endpoint_.pid > 0 ? format("{}", endpoint_.pid) : to_string(peer_), transport_.host());
}

// ---- Sending

SendState ShmLink::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  if (state_ == State::closed || peer_gone_) return SendState::closed;
  bool placed = false;
  SendState result = try_send(header, payload, bytes, cookie, placed);
  if (!placed && state_ == State::open) {
    take_acknowledgements();
    result = try_send(header, payload, bytes, cookie, placed);
  }
  if (!placed && state_ == State::open) {
    sender_.ask_for_room();
    take_acknowledgements();
    result = try_send(header, payload, bytes, cookie, placed);
  }
  if (sender_.violation()) violated(sender_.violation());
  if (state_ == State::closed) return SendState::closed;
  stalled_ = !placed;
  if (placed) wake_peer();
  return result;
}

SendState ShmLink::try_send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie,
                            bool& placed) {
  if (bytes <= kInlineBytesMax) {
    placed = sender_.send_copied(header, payload, bytes);
    return placed ? SendState::copied : SendState::again;
  }
  const Placed in_region = send_from_region(header, payload, bytes, cookie);
  if (in_region != Placed::not_possible) {
    placed = in_region == Placed::yes;
    return placed ? SendState::pending : SendState::again;
  }
  if (sends_by_cross_memory()) {
    placed = sender_.send_referred(FrameKind::cross_memory, reinterpret_cast<std::uint64_t>(payload), header, bytes,
                                   cookie, 0);
    pending_count_ += placed ? 1 : 0;
    return placed ? SendState::pending : SendState::again;
  }
  const FrameSender::Taken taken = sender_.send_staged(header, payload, bytes);
  if (taken == FrameSender::Taken::no_memory) {
    end(resource_error(errno,
                       format("provide {} of staging memory for {}; link closed", format_bytes(bytes), describe())));
    return SendState::closed;
  }
  placed = taken == FrameSender::Taken::yes;
  return placed ? SendState::copied : SendState::again;
}

bool ShmLink::sends_by_cross_memory() const {
  return peer_can_read_ && transport_.options().copy_mode == ShmCopyMode::cross_memory;
}

ShmLink::Placed ShmLink::send_from_region(const Header& header, const std::byte* payload, std::size_t bytes,
                                          std::uint64_t cookie) {
  SharedRegions* const regions = transport_.options().regions;
  if (!regions) return Placed::not_possible;
  const auto found = regions->find(payload, bytes);
  if (!found || found->region->bytes() > (std::size_t{1} << kRegionShift)) return Placed::not_possible;
  Announced* const announced = announce(*found->region);
  if (!announced) return Placed::not_possible;
  const std::uint64_t argument = announced->number << kRegionShift | found->offset;
  if (!sender_.send_referred(FrameKind::in_region, argument, header, bytes, cookie, announced->number)) {
    return Placed::no_room;
  }
  ++announced->pending;
  ++pending_count_;
  pending_lent_ += announced->is_lent ? 1 : 0;
  return Placed::yes;
}

// The announcement is in the socket before the first frame is in the ring, so the peer finds it when it needs it.
ShmLink::Announced* ShmLink::announce(const SharedRegions::Region& region) {
  if (const auto at = announced_.find(region.id()); at != announced_.end()) return &at->second;
  if (next_region_number_ >= kRegionsMax) return nullptr;
  Message message;
  message.type = MessageType::region;
  message.region = next_region_number_;
  message.region_bytes = region.bytes();
  const int descriptor = region.descriptor();
  if (transport_.send(endpoint_.connection, message, {&descriptor, 1}) != 0) return nullptr;
  announced_ids_.emplace(next_region_number_, region.id());
  const bool is_lent = transport_.has_lent(region.id());
  return &announced_.emplace(region.id(), Announced{next_region_number_++, 0, is_lent}).first->second;
}

void ShmLink::announce_gone_regions() {
  SharedRegions* const regions = transport_.options().regions;
  for (auto at = announced_.begin(); at != announced_.end();) {
    if (at->second.pending > 0 || regions->contains(at->first)) {
      ++at;
      continue;
    }
    Message message;
    message.type = MessageType::region_gone;
    message.region = at->second.number;
    if (transport_.send(endpoint_.connection, message, {}) != 0) {
      transport_.look_at_regions_again();
      return;
    }
    announced_ids_.erase(at->second.number);
    at = announced_.erase(at);
  }
}

void ShmLink::take_acknowledgements() {
  while (sender_.has_outstanding()) {
    const FrameSender::Acknowledged done = sender_.next_acknowledgement();
    if (done.kind == FrameSender::Acknowledged::Kind::nothing) break;
    if (done.kind != FrameSender::Acknowledged::Kind::pending) continue;
    --pending_count_;
    if (done.region != 0) {
      Announced& announced = announced_.at(announced_ids_.at(done.region));
      pending_lent_ -= announced.is_lent ? 1 : 0;
      if (--announced.pending == 0) transport_.look_at_regions_again();
    }
    transport_.events().push_back({.kind = EventKind::sent, .link = this, .token = done.cookie});
  }
}

std::atomic<std::uint32_t>& ShmLink::peer_sleeping() {
  return reinterpret_cast<SegmentHead*>(endpoint_.segment.base())->sleeping;
}

void ShmLink::wake_peer() {
  if (state_ != State::open || peer_sleeping().load(std::memory_order_seq_cst) == 0) return;
  // Whoever takes the flag down rings: one write for many senders.
  if (peer_sleeping().exchange(0, std::memory_order_seq_cst) == 0) return;
  const std::uint64_t one = 1;
  // A full counter (EAGAIN) is a doorbell that rings already.
  [[maybe_unused]] const ssize_t rung = write(endpoint_.doorbell.get(), &one, sizeof one);
}

// ---- Receiving

std::size_t ShmLink::receive(Event* out, std::size_t room) {
  if (state_ != State::open) return 0;
  if (receiver_.should_tell() && receiver_.tell_consumed()) wake_peer();
  std::size_t count = 0;
  FrameReceiver::Frame frame;
  while (count < room) {
    const FrameReceiver::Next next = receiver_.next(frame);
    if (next == FrameReceiver::Next::frame) {
      if (!fill_event(frame, out[count])) return count;
      ++count;
      continue;
    }
    if (next == FrameReceiver::Next::violation) {
      violated(receiver_.violation());
      return count;
    }
    break;
  }
  if (sender_.has_outstanding()) {
    take_acknowledgements();
    if (sender_.violation()) {
      violated(sender_.violation());
      return count;
    }
  }
  if (peer_gone_ && count < room) end(gone_why_);
  return count;
}

bool ShmLink::fill_event(const FrameReceiver::Frame& frame, Event& event) {
  event = Event{.kind = EventKind::delivery,
                .transient = false,
                .link = this,
                .token = frame.slot,
                .header = frame.header,
                .data = frame.data,
                .bytes = frame.bytes};
  if (frame.kind == FrameKind::in_entry || frame.kind == FrameKind::in_area) {
    event.transient = true;
    event.token = kTransientToken;
    return true;
  }
  Held& held = held_[frame.slot];
  held = Held{.kind = frame.kind, .bytes = frame.bytes};
  if (frame.kind == FrameKind::in_region && !find_in_region(frame, held, event)) return false;
  event.in_place = frame.kind == FrameKind::in_region;
  if (frame.kind == FrameKind::cross_memory) {
    if (!endpoint_.can_read_peer) {
      violated("a frame by cross-memory attach, which this process said it cannot read");
      return false;
    }
    held.address = frame.argument;
  }
  return true;
}

bool ShmLink::find_in_region(const FrameReceiver::Frame& frame, Held& held, Event& event) {
  if (receiver_.sender_closed()) {
    peer_is_gone({Code::peer_lost, format("process {} on {} closed the link", endpoint_.pid, transport_.host())});
    end(gone_why_);
    return false;
  }
  const std::uint64_t number = frame.argument >> kRegionShift;
  const std::uint64_t offset = frame.argument & ((std::uint64_t{1} << kRegionShift) - 1);
  auto at = peer_regions_.find(number);
  if (at == peer_regions_.end()) {
    transport_.read_socket(endpoint_.connection);
    if (state_ != State::open) return false;
    at = peer_regions_.find(number);
  }
  if (at == peer_regions_.end() || offset > at->second.mapping.bytes() ||
      frame.bytes > at->second.mapping.bytes() - offset) {
    violated("a frame outside the memory regions that it announced");
    return false;
  }
  held.region = &at->second;
  held.region_number = number;
  ++held.region->held;
  event.data = held.region->mapping.base() + offset;
  return true;
}

FetchState ShmLink::fetch(std::uint64_t token, std::byte* target) {
  if (state_ != State::open || !receiver_.holds(token)) return FetchState::closed;
  const Held& held = held_[token];
  const Status read = read_peer_memory(endpoint_.pid, held.address, target, held.bytes);
  // The bytes count only if their owner still kept them while they were read.
  if (receiver_.sender_closed() || transport_.socket_has_ended(endpoint_.connection)) {
    transport_.read_socket(endpoint_.connection);
    if (state_ == State::open) {
      end({Code::peer_lost, format("process {} on {} ended while {} of its memory were read", endpoint_.pid,
                                   transport_.host(), format_bytes(held.bytes))});
    }
    return FetchState::closed;
  }
  if (!read) {
    end(read.prefixed(describe()));
    return FetchState::closed;
  }
  return FetchState::done;
}

void ShmLink::release(std::uint64_t token) {
  if (token == kTransientToken || !receiver_.holds(token)) return;
  const Held held = held_[token];
  const bool wants_room = receiver_.acknowledge(token);
  if (held.region && --held.region->held == 0 && held.region->gone) peer_regions_.erase(held.region_number);
  if (state_ == State::open && (wants_room || held.kind != FrameKind::staged)) wake_peer();
}

bool ShmLink::has_work() {
  if (receiver_.has_next() || peer_gone_) return true;
  if (sender_.has_outstanding() && sender_.has_acknowledgement()) return true;
  // Room for a send that found none is worth one more round of the caller's, no more: it may not want to send again.
  return std::exchange(stalled_, false) && sender_.has_consumed_news();
}

// ---- Messages on the socket

void ShmLink::handle(const Message& message, std::vector<Descriptor> descriptors) {
  switch (message.type) {
    case MessageType::ready:
      if (message.can_read_memory) peer_can_read_ = true;
      return;
    case MessageType::region:
      return map_region(message, descriptors);
    case MessageType::region_gone:
      return drop_region(message.region);
    case MessageType::farewell:
      return peer_is_gone({Code::peer_lost, format("process {} on {} closed the link: {}", endpoint_.pid,
                                                   transport_.host(), message.get_text())});
    default:
      violated("a message that does not belong on an open link");
  }
}

void ShmLink::map_region(const Message& message, const std::vector<Descriptor>& descriptors) {
  if (descriptors.size() != 1 || message.region == 0 || message.region >= kRegionsMax ||
      peer_regions_.contains(message.region) || peer_regions_.size() >= kPeerRegionsMax) {
    return violated("an announcement of a memory region that is not possible");
  }
  auto mapping = map_received(descriptors[0], message.region_bytes, Access::read,
                              format("a memory region of process {}", endpoint_.pid));
  if (!mapping && mapping.status().code() == Code::invalid) return violated(mapping.status().text());
  if (!mapping) return end(mapping.status().prefixed(describe()));
  peer_regions_[message.region].mapping = std::move(*mapping);
}

void ShmLink::drop_region(std::uint64_t number) {
  const auto at = peer_regions_.find(number);
  if (at == peer_regions_.end() || at->second.gone)
    return violated("the end of a memory region that it never announced");
  at->second.gone = true;
  if (at->second.held == 0) peer_regions_.erase(at);
}

// ---- The end

void ShmLink::close(const Status& why) {
  if (state_ == State::closed) return;
  end(why.is_ok() ? Status(Code::aborted, format("{} was closed by this process", describe())) : why);
}

void ShmLink::peer_is_gone(const Status& why) {
  if (peer_gone_ || state_ == State::closed) return;
  peer_gone_ = true;
  gone_why_ = why;
}

void ShmLink::end(const Status& why) {
  if (state_ == State::closed) return;
  if (state_ == State::open && pending_count_ > pending_lent_) sender_.mark_closed();
  state_ = State::closed;
  status_ = why;
  for (const auto& [region, announced] : announced_) {
    if (announced.is_lent && announced.pending > 0) transport_.retire_lent(region);
  }
  transport_.link_ended(*this);
  transport_.events().push_back({.kind = EventKind::closed, .link = this});
}

void ShmLink::violated(const std::string& what) {
  end({Code::peer_lost,
       format("process {} on {} broke the protocol of shared memory: {}. The link was closed to be safe; "
              "restart that process, with the same version of Tutti",
              endpoint_.pid, transport_.host(), what)});
}

}  // namespace tutti::shm
