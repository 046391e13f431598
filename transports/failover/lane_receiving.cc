// How a lane receives: frames in order, whichever path brought them. See lane.h.
#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "transports/failover/bundle.h"
#include "transports/failover/lane.h"
#include "transports/failover/transport.h"

namespace tutti::failover {

namespace {
constexpr std::uint64_t kUntoldBytes = 64 << 10;  // small frames, whose sender keeps copies
constexpr std::uint64_t kUntoldFrames = 512;
constexpr std::uint64_t kUntoldLargeBytes = 1 << 20;
}  // namespace

void Lane::receive(Path& path, std::uint64_t sequence, Event& event) {
  if (sequence < next_receive_) return repeat(path, sequence, event);
  if (held_.contains(sequence)) return transport_.release(path, event.token);  // its payload is on its way
  if (sequence > next_receive_) return hold(path, sequence, event);
  ++next_receive_;
  deliver(path, sequence, event);
  if (!held_.empty()) deliver_held();
}

std::uint64_t Lane::new_delivery() {
  std::uint32_t index = static_cast<std::uint32_t>(deliveries_.size());
  if (free_deliveries_.empty()) {
    deliveries_.emplace_back();
  } else {
    index = free_deliveries_.back();
    free_deliveries_.pop_back();
  }
  deliveries_[index].in_use = true;
  return index;
}

void Lane::deliver(Path& path, std::uint64_t sequence, Event& event) {
  const std::uint64_t index = new_delivery();
  Delivery& delivery = deliveries_[index];
  delivery.path = &path;
  delivery.token = event.token;
  delivery.sequence = sequence;
  delivery.bytes = event.bytes;
  delivery.is_complete = event.data != nullptr || event.bytes == 0;
  if (delivery.is_complete) {
    note_received(sequence, event.bytes);
  } else {
    incomplete_.push_back(static_cast<std::uint32_t>(index));
  }
  event.link = this;
  event.token = index;
  transport_.emit(event);
}

void Lane::deliver_held() {
  for (auto next = held_.begin(); next != held_.end() && next->first == next_receive_ && next->second.is_whole;
       next = held_.erase(next)) {
    Held& held = next->second;
    const std::uint64_t index = new_delivery();
    Delivery& delivery = deliveries_[index];
    delivery.sequence = next_receive_++;
    delivery.bytes = held.bytes;
    delivery.memory = std::move(held.memory);
    delivery.is_complete = true;
    held_bytes_ -= held.bytes;
    Event event;
    event.kind = EventKind::delivery;
    event.link = this;
    event.token = index;
    event.header = held.header;
    event.bytes = held.bytes;
    event.data = held.bytes > 0 ? delivery.memory.get() : nullptr;
    note_received(delivery.sequence, held.bytes);
    transport_.emit(event);
  }
}

// It came before its time.
void Lane::hold(Path& path, std::uint64_t sequence, Event& event) {
  const std::uint64_t token = event.token;
  if (held_bytes_ + event.bytes > kSpreadBytes || held_.size() >= kFramesMax) {
    transport_.release(path, token);
    return bundle_->refuse(format("it sent frame {} of lane {} where {} is due, and {} too early in all", sequence,
                                  lane_, next_receive_, format_bytes(held_bytes_ + event.bytes)));
  }
  Held& held = held_[sequence];
  held.header = event.header;
  held.bytes = event.bytes;
  held_bytes_ += event.bytes;
  if (event.bytes > 0) held.memory = std::make_unique_for_overwrite<std::byte[]>(event.bytes);
  FetchState fetch = FetchState::done;
  if (event.data != nullptr) {
    std::copy_n(event.data, event.bytes, held.memory.get());
  } else if (event.bytes > 0) {
    fetch = path.link->fetch(token, held.memory.get());
  }
  if (fetch == FetchState::pending) {
    path.fetches.push_back({token, this, sequence});
    return;
  }
  transport_.release(path, token);
  held.is_whole = fetch == FetchState::done;
  if (held.is_whole) return;
  held_bytes_ -= held.bytes;  // the path has ended, and the frame will come by another
  held_.erase(sequence);
}

// A frame that was delivered: again, because the path that brought its payload has ended before that was here.
void Lane::repeat(Path& path, std::uint64_t sequence, Event& event) {
  const auto lost = std::find_if(incomplete_.begin(), incomplete_.end(), [&](std::uint32_t index) {
    return deliveries_[index].sequence == sequence && deliveries_[index].path == nullptr;
  });
  if (lost == incomplete_.end()) return transport_.release(path, event.token);
  Delivery& delivery = deliveries_[*lost];
  if (event.bytes != delivery.bytes) {
    transport_.release(path, event.token);
    return bundle_->refuse(format("it sent frame {} of lane {} again with {} bytes instead of {}", sequence, lane_,
                                  event.bytes, delivery.bytes));
  }
  if (event.data != nullptr) {
    if (delivery.target == nullptr) delivery.memory = std::make_unique_for_overwrite<std::byte[]>(delivery.bytes);
    std::memcpy(delivery.target != nullptr ? delivery.target : delivery.memory.get(), event.data, event.bytes);
    transport_.release(path, event.token);
    return complete(delivery);
  }
  delivery.path = &path;
  delivery.token = event.token;
  if (delivery.target == nullptr) return;  // the caller has not asked for it yet
  const FetchState fetch = path.link->fetch(event.token, delivery.target);
  if (fetch == FetchState::done) complete(delivery);
  if (fetch == FetchState::pending) path.fetches.push_back({event.token, this, sequence});
}

// The payload is here. If the caller waits for it, it is told.
void Lane::complete(Delivery& delivery) {
  const auto index = static_cast<std::uint32_t>(&delivery - deliveries_.data());
  std::erase(incomplete_, index);
  delivery.is_complete = true;
  note_received(delivery.sequence, delivery.bytes);
  if (delivery.target == nullptr) return;
  Event event;
  event.kind = EventKind::fetched;
  event.link = this;
  event.token = index;
  transport_.emit(event);
}

void Lane::fetched(Path& path, const Path::Fetch& fetch) {
  const auto found = std::find_if(incomplete_.begin(), incomplete_.end(), [&](std::uint32_t index) {
    return deliveries_[index].sequence == fetch.sequence && deliveries_[index].path == &path;
  });
  if (found != incomplete_.end()) return complete(deliveries_[*found]);
  const auto held = held_.find(fetch.sequence);
  if (held == held_.end()) return;
  transport_.release(path, fetch.token);
  held->second.is_whole = true;
  deliver_held();
}

FetchState Lane::fetch(std::uint64_t token, std::byte* target) {
  Delivery& delivery = deliveries_[token];
  if (delivery.memory) {
    std::memcpy(target, delivery.memory.get(), delivery.bytes);
    return FetchState::done;
  }
  if (state_ != State::open) return FetchState::closed;
  if (delivery.path != nullptr) {
    const FetchState fetch = delivery.path->link->fetch(delivery.token, target);
    if (fetch == FetchState::done) {
      complete(delivery);
      return fetch;
    }
    if (fetch == FetchState::pending) delivery.path->fetches.push_back({delivery.token, this, delivery.sequence});
    if (fetch == FetchState::closed && !is_resilient_) {
      bundle_->close(Status(delivery.path->link->status()));
      return fetch;
    }
  }
  delivery.target = target;  // from the path, or when it comes again by another
  return FetchState::pending;
}

void Lane::release(std::uint64_t token) {
  Delivery& delivery = deliveries_[token];
  if (delivery.path != nullptr) transport_.release(*delivery.path, delivery.token);
  if (!delivery.is_complete) {  // nobody wants it
    delivery.target = nullptr;
    complete(delivery);
  }
  delivery = {};
  free_deliveries_.push_back(static_cast<std::uint32_t>(token));
}

std::uint64_t Lane::received() const {
  std::uint64_t count = next_receive_;
  for (const std::uint32_t index : incomplete_) count = std::min(count, deliveries_[index].sequence);
  return count;
}

void Lane::note_received(std::uint64_t sequence, std::size_t bytes) {
  if (!is_resilient_ || state_ != State::open) return;
  untold_bytes_ += bytes;
  if (bytes > copied_bytes_max_) large_until_ = std::max(large_until_, sequence + 1);
  if (owes_soon() || owes_now()) bundle_->note_work();
}

void Lane::told(std::uint64_t count) {
  told_ = std::max(told_, count);
  if (told_ == received()) untold_bytes_ = 0;
}

bool Lane::owes_now() const {
  return untold_bytes_ > (owes_soon() ? kUntoldLargeBytes : kUntoldBytes) || next_receive_ - told_ > kUntoldFrames;
}

}  // namespace tutti::failover
