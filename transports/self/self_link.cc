#include "transports/self/self_link.h"

#include <cstring>
#include <stdexcept>

#include "src/base/format.h"

namespace tutti {

std::string SelfLink::describe() const {
  return format("self {} lane {}", to_string(owner_.self_).substr(0, 8), lane_);
}

SendState SelfLink::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  if (!is_open()) return SendState::closed;
  if (queued_ >= owner_.options_.queue_frames) return SendState::again;
  std::uint64_t token = frames_.size();
  if (free_.empty()) {
    frames_.emplace_back();
  } else {
    token = free_.back();
    free_.pop_back();
  }
  Frame& frame = frames_[token];
  frame.bytes = bytes;
  frame.cookie = cookie;
  frame.is_pending = bytes > owner_.options_.copied_bytes_max;
  frame.in_use = true;
  if (frame.is_pending) {
    frame.data = payload;
    ++pending_;
  } else {
    frame.copy.assign(payload, payload + bytes);  // its memory is kept from frame to frame
    frame.data = frame.copy.data();
  }
  ++queued_;

  Event event;
  event.kind = EventKind::delivery;
  event.in_place = frame.is_pending;
  event.link = this;
  event.token = token;
  event.header = header;
  event.data = frame.data;
  event.bytes = bytes;
  owner_.events_.push_back(event);
  return frame.is_pending ? SendState::pending : SendState::copied;
}

FetchState SelfLink::fetch(std::uint64_t token, std::byte* target) {
  if (closed_) return FetchState::closed;
  const Frame& frame = frames_.at(token);
  if (frame.bytes > 0) std::memcpy(target, frame.data, frame.bytes);
  return FetchState::done;
}

void SelfLink::note_reported(const Event& event) {
  if (event.kind == EventKind::connected) connected_ = true;
  if (event.kind == EventKind::delivery && frames_[event.token].is_pending) --queued_;
}

void SelfLink::give_back(std::uint64_t token) {
  Frame& frame = frames_.at(token);
  if (!frame.in_use) throw std::logic_error("SelfLink::release: released before");
  frame.in_use = false;
  if (frame.is_pending) {
    --pending_;
  } else {
    --queued_;
  }
  free_.push_back(token);
}

void SelfLink::release(std::uint64_t token) {
  give_back(token);
  const Frame& frame = frames_[token];
  if (closed_ || !frame.is_pending) return;
  Event event;
  event.kind = EventKind::sent;
  event.link = this;
  event.token = frame.cookie;
  owner_.events_.push_back(event);
}

void SelfLink::close(const Status& why) {
  if (closed_) return;
  closed_ = true;
  status_ = why.prefixed(describe());
  std::erase_if(owner_.events_, [&](const Event& event) { return event.link == this; });
  Event event;
  event.kind = EventKind::closed;
  event.link = this;
  owner_.events_.push_back(event);
}

}  // namespace tutti
