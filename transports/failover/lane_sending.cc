// How a lane sends, and what it keeps until the peer has it. See lane.h.
#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "transports/failover/bundle.h"
#include "transports/failover/lane.h"
#include "transports/failover/transport.h"

namespace tutti::failover {

namespace {
constexpr std::size_t kRingBytesMin = 1 << 20;  // untouched pages of it cost no memory
constexpr std::size_t kKeptAtFirst = 64;
constexpr int kSequenceBits = 56;  // of a cookie given to a path; above it the lane
}  // namespace

Lane::Lane(FailoverTransport& transport, Bundle& bundle, const ProcessId& peer, std::uint32_t lane)
    : transport_(transport), bundle_(&bundle), peer_(peer), lane_(lane) {}

std::string Lane::describe() const {
  const Path* const path = bundle_ != nullptr ? bundle_->path_of(lane_) : nullptr;
  if (path != nullptr) return path->link->describe();
  if (!last_path_.empty()) return last_path_;
  // It began on the reserve, or through a third process.
  const Path* const reserve = bundle_ != nullptr ? bundle_->path_of(kReserveLane) : nullptr;
  return reserve != nullptr ? reserve->link->describe() : format("lane {} -> process {}", lane_, to_string(peer_));
}

void Lane::open(bool is_resilient) {
  state_ = State::open;
  is_resilient_ = is_resilient;
  copied_bytes_max_ = transport_.capabilities().copied_bytes_max;
  if (!is_resilient_) return;
  kept_.resize(kKeptAtFirst);
  ring_bytes_ = std::max(kRingBytesMin, 4 * copied_bytes_max_);
  ring_ = std::make_unique_for_overwrite<std::byte[]>(ring_bytes_);
}

void Lane::close(const Status& why) {
  if (bundle_ != nullptr) bundle_->close(why);
}

void Lane::end(const Status& why) {
  last_path_ = describe();
  bundle_ = nullptr;
  state_ = State::closed;
  status_ = why;
  kept_.clear();
  kept_count_ = waiting_ = 0;
  held_.clear();
  ring_.reset();
  Event event;
  event.kind = EventKind::closed;
  event.link = this;
  transport_.emit(event);
}

void Lane::tell_route(bool is_lost, std::string what) {
  if (!is_open()) return;
  news_ = std::move(what);
  Event event;
  event.kind = EventKind::rerouted;
  event.link = this;
  event.token = is_lost ? 1 : 0;
  transport_.emit(event);
}

bool Lane::is_drained() const {
  return state_ != State::open || !has_sent_ || (waiting_ == 0 && bundle_->is_drained());
}

bool Lane::find_room(std::size_t bytes, std::size_t& at, std::size_t& takes) const {
  const std::size_t to_end = ring_bytes_ - ring_end_;
  at = bytes <= to_end ? ring_end_ : 0;
  takes = bytes <= to_end ? bytes : to_end + bytes;
  return takes <= ring_bytes_ - ring_used_;
}

SendState Lane::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  if (state_ != State::open) return SendState::closed;
  has_sent_ = true;
  if (!is_resilient_) {
    Path& path = *bundle_->path_of(lane_);
    return bundle_->flush(path) ? path.link->send(header, payload, bytes, cookie) : SendState::again;
  }
  if (waiting_ > 0 || kept_count_ == kFramesMax) return SendState::again;
  const bool copies = bytes <= copied_bytes_max_;
  const bool is_spread = confirmed_ < spread_until_;
  const std::uint64_t most = copies ? kSpreadBytes : kSpreadBytes - kSpreadSmallBytes;
  if (is_spread && kept_count_ > 0 && unconfirmed_bytes_ + bytes > most) return SendState::again;
  Kept frame;
  std::size_t at = 0;
  std::size_t takes = 0;
  if (copies && !find_room(bytes, at, takes)) return SendState::again;
  frame.header = header;
  frame.cookie = cookie;
  frame.bytes = static_cast<std::uint32_t>(bytes);
  frame.payload = payload;
  frame.path = bundle_->path_for(lane_, copies ? 0 : bytes);
  if (frame.path == nullptr) return SendState::again;
  const SendState state = bundle_->put(frame.path, lane_, next_send_, header, payload, bytes,
                                       std::uint64_t{lane_} << kSequenceBits | next_send_);
  if (state != SendState::copied && state != SendState::pending) return SendState::again;
  frame.in_transport = state == SendState::pending;
  if (copies) {
    frame.payload = ring_.get() + at;
    frame.ring_bytes = static_cast<std::uint32_t>(takes);
    std::copy_n(payload, bytes, ring_.get() + at);
    ring_end_ = at + bytes;
    ring_used_ += takes;
  } else {
    note_taken(*frame.path, frame);
  }
  note_path(*frame.path);
  keep(frame);
  return copies ? SendState::copied : SendState::pending;
}

// From one path to another frames may overtake each other, until all that were sent before are confirmed.
void Lane::note_path(const Path& path) {
  if (sent_on_ != path.number) spread_until_ = next_send_;
  sent_on_ = path.number;
}

void Lane::note_taken(Path& path, const Kept& frame) {
  path.taken += frame.bytes;
  if (frame.in_transport) path.in_transport += frame.bytes;
}

void Lane::keep(const Kept& frame) {
  if (kept_count_ == kept_.size()) {
    std::vector<Kept> larger(2 * kept_.size());
    for (std::size_t i = 0; i < kept_count_; ++i) larger[i] = kept(i);
    kept_.swap(larger);
    kept_first_ = 0;
  }
  kept(kept_count_++) = frame;
  unconfirmed_bytes_ += frame.bytes;
  ++next_send_;
}

void Lane::drop_confirmed() {
  while (kept_count_ > 0 && first_ < confirmed_ && !kept(0).in_transport) {
    const Kept& frame = kept(0);
    if (frame.path == nullptr) --waiting_;
    unconfirmed_bytes_ -= frame.bytes;
    ring_used_ -= frame.ring_bytes;
    if (frame.bytes > copied_bytes_max_) {
      Event event;
      event.kind = EventKind::sent;
      event.link = this;
      event.token = frame.cookie;
      transport_.emit(event);
    }
    kept_first_ = (kept_first_ + 1) & (kept_.size() - 1);
    --kept_count_;
    ++first_;
  }
}

bool Lane::confirmed(std::uint64_t count) {
  if (count > next_send_) return false;
  if (count <= confirmed_) return true;
  confirmed_ = count;
  drop_confirmed();
  return true;
}

void Lane::sent(std::uint64_t cookie) {
  if (!is_resilient_) {
    Event event;
    event.kind = EventKind::sent;
    event.link = this;
    event.token = cookie;
    return transport_.emit(event);
  }
  const std::uint64_t place = (cookie & ((std::uint64_t{1} << kSequenceBits) - 1)) - first_;
  if (place >= kept_count_) return;
  Kept& frame = kept(place);
  if (frame.path != nullptr && frame.in_transport) frame.path->in_transport -= frame.bytes;
  frame.in_transport = false;
  drop_confirmed();
}

void Lane::path_ended(Path& path) {
  if (path.lane == lane_) last_path_ = path.link->describe();
  for (std::size_t i = 0; i < kept_count_; ++i) {
    Kept& frame = kept(i);
    if (frame.path != &path) continue;
    frame.path = nullptr;
    frame.in_transport = false;
    frame.lost_lane = path.lane;
    frame.lost_number = path.peer_number;
    ++waiting_;
  }
  drop_confirmed();
  for (const std::uint32_t index : incomplete_) {
    Delivery& delivery = deliveries_[index];
    if (delivery.path != &path) continue;
    transport_.release(path, delivery.token);
    delivery.path = nullptr;
  }
  for (const Path::Fetch& fetch : path.fetches) {
    const auto found = held_.find(fetch.sequence);
    if (fetch.lane != this || found == held_.end() || found->second.is_whole) continue;
    held_bytes_ -= found->second.bytes;
    held_.erase(found);
    transport_.release(path, fetch.token);
  }
}

Lane::Backlog Lane::waiting_for(std::uint32_t lost_lane) const {
  Backlog backlog;
  for (std::size_t i = 0; i < kept_count_; ++i) {
    if (kept(i).path != nullptr || kept(i).lost_lane != lost_lane) continue;
    ++backlog.frames;
    backlog.bytes += kept(i).bytes;
  }
  return backlog;
}

void Lane::resend() {
  std::uint64_t ahead = 0;
  for (std::size_t i = 0; i < kept_count_ && waiting_ > 0; ++i) {
    Kept& frame = kept(i);
    ahead += frame.bytes;
    if (i > 0 && ahead > kSpreadBytes) return;
    if (frame.path != nullptr || !bundle_->has_ended_there(frame.lost_lane, frame.lost_number)) continue;
    Path* path = bundle_->path_for(lane_, 0);
    if (path == nullptr) return;
    const std::uint64_t number = first_ + i;
    const SendState state = bundle_->put(path, lane_, number, frame.header, frame.payload, frame.bytes,
                                         std::uint64_t{lane_} << kSequenceBits | number);
    if (state != SendState::copied && state != SendState::pending) return;
    frame.path = path;
    frame.in_transport = state == SendState::pending;
    note_taken(*path, frame);
    --waiting_;
    note_path(*path);
  }
}

}  // namespace tutti::failover
