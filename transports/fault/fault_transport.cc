#include "transports/fault/fault_transport.h"

#include <algorithm>
#include <utility>

#include "transports/fault/fault_link.h"

namespace tutti {

namespace {

// Held-back events beyond which the wrapped transport is not asked for more, so that its own bounds still hold.
constexpr std::size_t kQueuedMax = 1024;

}  // namespace

FaultTransport::FaultTransport(std::unique_ptr<Transport> wrapped, const FaultOptions& options)
    : wrapped_(std::move(wrapped)), options_(options), random_(options.seed) {}

FaultTransport::~FaultTransport() = default;

FaultLink& FaultTransport::link_of(Link* wrapped) {
  auto& link = links_[wrapped];
  if (link == nullptr) link = std::make_unique<FaultLink>(*this, *wrapped, links_made_++);
  return *link;
}

FaultLink* FaultTransport::newest(const ProcessId& peer, std::uint32_t lane) {
  FaultLink* found = nullptr;
  for (const auto& [wrapped, link] : links_) {
    if (wrapped->peer() != peer || wrapped->lane() != lane) continue;
    if (found == nullptr || found->number_ < link->number_) found = link.get();
  }
  return found;
}

void FaultTransport::cut(const ProcessId& peer, std::uint32_t lane) {
  if (FaultLink* const link = newest(peer, lane)) link->cut("on request");
}

void FaultTransport::cut_after(const ProcessId& peer, std::uint64_t more_frames, std::uint32_t lane) {
  if (FaultLink* const link = newest(peer, lane)) link->cut_at_frame_ = link->frames_sent_ + more_frames;
}

void FaultTransport::stall(const ProcessId& peer, Instant until, std::uint32_t lane) {
  if (FaultLink* const link = newest(peer, lane)) link->stalled_until_ = until;
}

void FaultTransport::flip_next(const ProcessId& peer, std::uint32_t lane) {
  if (FaultLink* const link = newest(peer, lane)) link->flip_next_ = true;
}

Result<Link*> FaultTransport::connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane,
                                      Instant deadline) {
  const Result<Link*> wrapped = wrapped_->connect(peer, address, lane, deadline);
  if (!wrapped) return wrapped;
  const bool is_new = !links_.contains(*wrapped);
  FaultLink& link = link_of(*wrapped);
  if (is_new) link.deadline_ = deadline;
  return static_cast<Link*>(&link);
}

void FaultTransport::forget(Link* link) {
  Link* const wrapped = &static_cast<FaultLink*>(link)->wrapped_;
  links_.erase(wrapped);
  wrapped_->forget(wrapped);
}

bool FaultTransport::prepare_wait() {
  const bool must_look_again = std::exchange(refused_, false) || queued_ > 0;
  return !must_look_again && wrapped_->prepare_wait();
}

Nanoseconds FaultTransport::up_to(Nanoseconds most) {
  return Nanoseconds(static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(most.count()) + 1)));
}

// When an event that has just come may be reported.
Instant FaultTransport::held_until(const FaultLink& link, EventKind kind) {
  Instant due = std::max(now_, link.stalled_until_);
  if (options_.delay_probability > 0 && random_.chance(options_.delay_probability)) due += up_to(options_.delay_max);
  const bool decides_connect = !link.connected_ && (kind == EventKind::connected || kind == EventKind::closed);
  return decides_connect ? std::min(due, link.deadline_) : due;
}

std::size_t FaultTransport::poll(std::span<Event> out, Instant now) {
  now_ = now;
  std::size_t count = 0;
  for (FaultLink* const link : holding_) {
    while (count < out.size() && !link->held_.empty() && link->held_.front().due <= now) {
      out[count] = link->held_.front().event;
      link->note_reported(out[count++]);
      link->held_.pop_front();
      --queued_;
    }
  }
  std::erase_if(holding_, [](const FaultLink* link) { return link->held_.empty(); });
  if (queued_ >= kQueuedMax) return count;

  // What the wrapped transport reports now goes into the room that is left: held back, or kept where it is.
  const std::span<Event> fresh = out.subspan(count);
  const std::size_t came = wrapped_->poll(fresh, now);
  for (std::size_t i = 0; i < came; ++i) {
    Event event = fresh[i];
    FaultLink& link = link_of(event.link);
    if (options_.stall_probability > 0 && random_.chance(options_.stall_probability)) {
      link.stalled_until_ = now + up_to(options_.stall_max);
    }
    const Instant due = held_until(link, event.kind);
    const bool is_held_back = due > now || !link.held_.empty();
    link.adopt(event, is_held_back);
    if (is_held_back) {
      if (link.held_.empty()) holding_.push_back(&link);
      link.held_.push_back({event, due});
      ++queued_;
    } else {
      link.note_reported(event);
      out[count++] = event;
    }
  }
  return count;
}

}  // namespace tutti
