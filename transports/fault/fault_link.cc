#include "transports/fault/fault_link.h"

#include <stdexcept>

#include "src/base/format.h"

namespace tutti {

void FaultLink::cut(const std::string& how) {
  wrapped_.close(Status(Code::peer_lost, format("{}: cut by fault injection {} (connection reset, ECONNRESET, 104)",
                                                wrapped_.describe(), how)));
}

void FaultLink::damage(std::byte* data, std::size_t bytes) {
  if (bytes > 0) data[owner_.random_.below(bytes)] ^= std::byte(1u << owner_.random_.below(8));
}

SendState FaultLink::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  const FaultOptions& options = owner_.options_;
  const bool is_stalled = stalled_until_ > owner_.now_;
  const bool is_refused = options.again_probability > 0 && owner_.random_.chance(options.again_probability);
  if (is_open() && (is_stalled || is_refused)) {
    owner_.refused_ = true;
    return SendState::again;
  }
  const SendState state = wrapped_.send(header, payload, bytes, cookie);
  if (state != SendState::copied && state != SendState::pending) return state;
  ++frames_sent_;
  bytes_sent_ += bytes;
  if (options.cut_after_frames > 0 && frames_sent_ == options.cut_after_frames) {
    cut(format("after {} frames", frames_sent_));
  } else if (options.cut_after_bytes > 0 && bytes_sent_ >= options.cut_after_bytes) {
    cut(format("after {}", format_bytes(bytes_sent_)));
  } else if (cut_at_frame_ > 0 && frames_sent_ >= cut_at_frame_) {
    cut(format("on request after {} frames", frames_sent_));
  } else if (options.cut_probability > 0 && owner_.random_.chance(options.cut_probability)) {
    cut(format("by chance after {} frames", frames_sent_));
  }
  return state;
}

void FaultLink::adopt(Event& event, bool is_held_back) {
  event.link = this;
  if (event.kind == EventKind::fetched) {
    for (std::uint64_t token = 0; token < deliveries_.size(); ++token) {
      Delivery& delivery = deliveries_[token];
      if (!delivery.in_use || delivery.wrapped_released || delivery.wrapped_token != event.token) continue;
      if (delivery.flip) damage(delivery.target, delivery.bytes);
      event.token = token;
      return;
    }
    throw std::logic_error("FaultLink: fetched, but nothing was being fetched");
  }
  if (event.kind != EventKind::delivery) return;

  std::uint64_t token = deliveries_.size();
  if (free_.empty()) {
    deliveries_.emplace_back();
  } else {
    token = free_.back();
    free_.pop_back();
  }
  Delivery& delivery = deliveries_[token];
  delivery = Delivery{};
  delivery.wrapped_token = event.token;
  delivery.bytes = event.bytes;
  delivery.in_use = true;
  const double flip_probability = owner_.options_.flip_probability;
  if (event.bytes > 0) {
    delivery.flip = flip_next_ || (flip_probability > 0 && owner_.random_.chance(flip_probability));
    if (delivery.flip) flip_next_ = false;
  }
  event.token = token;
  const bool needs_copy =
      event.data != nullptr && event.bytes > 0 && (delivery.flip || (event.transient && is_held_back));
  if (needs_copy) {
    delivery.copy.assign(event.data, event.data + event.bytes);
    if (delivery.flip) damage(delivery.copy.data(), delivery.copy.size());
    event.data = delivery.copy.data();
  }
  if (needs_copy || (event.transient && is_held_back)) {
    wrapped_.release(delivery.wrapped_token);
    delivery.wrapped_released = true;
    event.transient = false;
    event.in_place = false;
  }
}

void FaultLink::note_reported(const Event& event) {
  if (event.kind == EventKind::connected) connected_ = true;
  if (event.kind == EventKind::closed) closed_ = true;
}

FetchState FaultLink::fetch(std::uint64_t token, std::byte* target) {
  Delivery& delivery = deliveries_.at(token);
  delivery.target = target;
  const FetchState state = wrapped_.fetch(delivery.wrapped_token, target);
  if (state == FetchState::done && delivery.flip) damage(target, delivery.bytes);
  return state;
}

void FaultLink::release(std::uint64_t token) {
  Delivery& delivery = deliveries_.at(token);
  if (!delivery.in_use) throw std::logic_error("FaultLink::release: released before");
  if (!delivery.wrapped_released) wrapped_.release(delivery.wrapped_token);
  delivery = Delivery{};
  free_.push_back(token);
}

}  // namespace tutti
