#include "transports/sim/sim_link.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "src/base/format.h"
#include "transports/sim/sim_transport.h"

namespace tutti {

namespace {

Nanoseconds time_for(std::size_t bytes, double bytes_per_second) {
  return Nanoseconds(static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 / bytes_per_second));
}

}  // namespace

SimLink::SimLink(SimNetwork& network, SimNetwork::Handle self, std::uint32_t owner, std::uint32_t peer,
                 std::uint32_t lane, const ProcessId& peer_id)
    : network_(network),
      self_(self),
      owner_(owner),
      peer_(peer),
      lane_(lane),
      peer_id_(peer_id),
      path_(network.path(owner, peer)) {}

SimLink::~SimLink() {
  for (Frame& frame : incoming_) network_.buffers_.give_back(std::move(frame.buffer));
  for (Delivery& delivery : deliveries_) network_.buffers_.give_back(std::move(delivery.frame.buffer));
}

SimTransport& SimLink::transport() const { return *network_.processes_[owner_].transport; }

std::uint32_t SimLink::narrow_way() const {
  const std::uint32_t ways = network_.options().narrow_ways;
  return ways > 0 ? 1 + lane_ % ways : 0;
}

std::string SimLink::describe() const {
  return format("{} -> {} lane {}", network_.label(owner_), network_.label(peer_), lane_);
}

void SimLink::pair_with(SimLink& other) {
  pair_ = other.self_;
  other.pair_ = self_;
  paired_ = other.paired_ = true;
}

void SimLink::open() {
  state_ = State::open;
  segment_ = network_.processes_[peer_].segment;
  segment_start_ = network_.processes_[peer_].segment_start;
  transport().note(EventKind::connected, *this);
  for (; early_arrivals_ > 0; --early_arrivals_) arrive();
}

std::string SimLink::sentence(End end) const {
  const std::string peer = network_.label(peer_);
  switch (end) {
    case End::closed_by_peer:
      return format("{}: {} closed the link. Connect again if it is still needed", describe(), peer);
    case End::peer_ended:
      return format("{}: {} has ended and closed its links", describe(), peer);
    case End::peer_crashed:
      return format("{}: {} crashed (connection reset by peer, ECONNRESET, 104). Go on without it", describe(), peer);
    case End::cut:
      return format("{}: the link to {} was cut by the simulation (connection reset, ECONNRESET, 104)", describe(),
                    peer);
    case End::severed:
      return format("{}: nothing comes through to {} any more (no route to host, EHOSTUNREACH, 113)", describe(),
                    peer);
    case End::replaced:
      return format("{}: {} has lost the link and made a new one", describe(), peer);
    case End::nobody_there:
      return format("{}: {} is not running (connection refused, ECONNREFUSED, 111). Check that it was started",
                    describe(), peer);
    case End::refused:
      return format("{}: {} refuses connections (connection refused, ECONNREFUSED, 111)", describe(), peer);
    case End::wrong_process:
      return format(
          "{}: {} answers at this address, not the process that was asked for ({}). Its address is out of date",
          describe(), peer, to_string(peer_id_));
  }
  return describe();
}

void SimLink::end_by(End end) {
  is_cut_off_ = !closing_noted_ && (end == End::severed || end == End::replaced);
  finish(Status(Code::peer_lost, sentence(end)));
}

void SimLink::finish(const Status& why) {
  if (closing_noted_) return;
  closing_noted_ = true;
  pending_status_ = why;
  transport().drop_current(*this);
  transport().note(EventKind::closed, *this);
}

void SimLink::say_farewell(End end, Instant notice) {
  if (!paired_ || farewell_said_) return;
  farewell_said_ = true;
  if (source_end_ == End::severed) return;  // it would not come through
  SimLink* const other = pair();
  if (other == nullptr || other->state_ == State::closed) return;
  other->lose_source(end);
  network_.schedule(SimNetwork::Kind::farewell, std::max(notice, other->last_arrival_), other->self_,
                    static_cast<std::uint64_t>(end), owner_, peer_);
}

void SimLink::lose_source(End end) {
  source_end_ = end;
  truncated_ = true;
  const auto lost =
      std::find_if(incoming_.begin(), incoming_.end(), [](const Frame& f) { return f.source != nullptr; });
  for (auto frame = lost; frame != incoming_.end(); ++frame) network_.buffers_.give_back(std::move(frame->buffer));
  incoming_.erase(lost, incoming_.end());
  arrived_ = std::min(arrived_, incoming_.size());
  for (Delivery& delivery : deliveries_) delivery.frame.source = nullptr;
}

void SimLink::lose_flight(std::size_t comes) {
  truncated_ = true;
  for (std::size_t i = comes; i < incoming_.size(); ++i) network_.buffers_.give_back(std::move(incoming_[i].buffer));
  incoming_.resize(comes);
}

void SimLink::close(const Status& why) {
  if (state_ == State::closed) return;
  finish(why);
  state_ = State::closed;
  status_ = pending_status_;
  in_our_memory_ = 0;
  say_farewell(End::closed_by_peer, network_.now_ + path_.latency + network_.jitter());
}

SendState SimLink::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  const SimOptions& options = network_.options_;
  if (bytes > options.frame_bytes_max)
    throw std::logic_error("SimLink::send: the frame is larger than frame_bytes_max");
  if (state_ != State::open) return SendState::closed;
  const bool is_full = unreleased_frames_ >= options.queue_frames ||
                       (unreleased_frames_ > 0 && unreleased_bytes_ + bytes > options.queue_bytes);
  if (is_full || (options.again_probability > 0 && network_.random_.chance(options.again_probability))) {
    return SendState::again;
  }

  Frame frame{header, nullptr, {}, bytes, cookie, false};
  const bool stays = bytes > options.copied_bytes_max && network_.random_.chance(options.pending_probability);
  frame.rendezvous = stays && network_.random_.chance(options.rendezvous_probability);
  in_our_memory_ += stays ? 1 : 0;
  const SendState state = stays ? SendState::pending : SendState::copied;
  SimLink* const other = pair();
  if (farewell_said_ || closing_noted_ || other == nullptr || other->truncated_ || other->state_ == State::closed) {
    return state;  // into the void: our own closed event is on its way
  }
  if (stays) {
    frame.source = payload;
  } else if (bytes > 0) {
    frame.buffer = network_.buffers_.take(bytes);
    std::memcpy(frame.buffer.data.get(), payload, bytes);
  }

  ++unreleased_frames_;
  unreleased_bytes_ += bytes;
  const std::size_t wire_bytes = sizeof(Header) + (frame.rendezvous ? 0 : bytes);
  busy_until_ = std::max(busy_until_, network_.now_) + time_for(wire_bytes, path_.bytes_per_second);
  const Instant arrival = std::max(busy_until_ + path_.latency + network_.jitter(), other->last_arrival_);
  other->last_arrival_ = arrival;
  if (stays && !frame.rendezvous) {
    network_.schedule(SimNetwork::Kind::departed, busy_until_, self_, frames_out_, owner_, owner_);
  }
  ++frames_out_;
  other->incoming_.push_back(std::move(frame));
  network_.schedule(SimNetwork::Kind::arrival, arrival, other->self_, 0, owner_, peer_);
  return state;
}

void SimLink::depart(std::uint64_t number) {
  SimLink* const other = pair();
  if (state_ == State::closed || other == nullptr || number < other->first_number_) return;
  const std::uint64_t index = number - other->first_number_;
  if (index >= other->incoming_.size()) return;
  Frame& frame = other->incoming_[index];
  frame.buffer = network_.buffers_.take(frame.bytes);
  std::memcpy(frame.buffer.data.get(), frame.source, frame.bytes);
  frame.source = nullptr;
  end_send(frame.cookie);
}

void SimLink::end_send(std::uint64_t cookie) {
  if (state_ == State::closed) return;
  --in_our_memory_;
  if (!closing_noted_) transport().note(EventKind::sent, *this, cookie);
}

void SimLink::arrive() {
  if (state_ == State::connecting) {
    ++early_arrivals_;
    return;
  }
  if (closing_noted_ || arrived_ >= incoming_.size()) return;
  ++arrived_;
  transport().note(EventKind::delivery, *this);
  end_if_all_came();
}

void SimLink::hear_farewell(End end) {
  if (state_ == State::closed) return;
  farewell_heard_ = true;
  farewell_ = end;
  end_if_all_came();
}

void SimLink::end_if_all_came() {
  if (farewell_heard_ && arrived_ >= incoming_.size() && fetches_under_way_ == 0) end_by(farewell_);
}

bool SimLink::report(Event& event) {
  if (state_ == State::closed || arrived_ == 0) return false;
  const SimOptions& options = network_.options_;
  Random& random = network_.random_;
  std::uint32_t token = static_cast<std::uint32_t>(deliveries_.size());
  if (free_deliveries_.empty()) {
    deliveries_.emplace_back();
  } else {
    token = free_deliveries_.back();
    free_deliveries_.pop_back();
  }
  Delivery& delivery = deliveries_[token];
  delivery = Delivery{std::move(incoming_.front()), nullptr, false, false, true};
  incoming_.pop_front();
  --arrived_;
  ++first_number_;
  Frame& frame = delivery.frame;

  event.header = frame.header;
  event.bytes = frame.bytes;
  event.token = token;
  if (frame.bytes == 0) return true;
  const bool comes_without_data = random.chance(frame.source != nullptr ? 0.5 : options.no_data_probability);
  if (comes_without_data) {
    poll_without_data_ = transport().polls_;
    return true;
  }
  if (frame.source != nullptr) {
    // As a peer's mapped memory would look: there at once, and the sender waits until it is released.
    frame.buffer = network_.buffers_.take(frame.bytes);
    std::memcpy(frame.buffer.data.get(), frame.source, frame.bytes);
    frame.source = nullptr;
    event.in_place = true;
    if (SimLink* const other = pair()) {
      --other->unreleased_frames_;
      other->unreleased_bytes_ -= frame.bytes;
    }
    delivery.in_place = true;
  }
  event.data = frame.buffer.data.get();
  event.transient = !event.in_place && random.chance(options.transient_probability);
  return true;
}

bool SimLink::take_payload(Delivery& delivery, std::byte* target) {
  Frame& frame = delivery.frame;
  const std::byte* const from = frame.source != nullptr ? frame.source : frame.buffer.data.get();
  if (from == nullptr && frame.bytes > 0) return false;
  if (frame.bytes > 0) std::memcpy(target, from, frame.bytes);
  frame.source = nullptr;
  sender_may_reuse(delivery);
  return true;
}

void SimLink::sender_may_reuse(Delivery& delivery) {
  if (!delivery.frame.rendezvous || delivery.taken) return;
  delivery.taken = true;
  if (pair() == nullptr) return;
  network_.schedule(SimNetwork::Kind::sent, network_.now_ + path_.latency + network_.jitter(), pair_,
                    delivery.frame.cookie, owner_, peer_);
}

FetchState SimLink::fetch(std::uint64_t token, std::byte* target) {
  if (token >= deliveries_.size() || !deliveries_[token].in_use)
    throw std::logic_error("SimLink::fetch: no such delivery");
  if (state_ == State::closed) return FetchState::closed;
  Delivery& delivery = deliveries_[token];
  if (network_.random_.chance(network_.options_.fetch_pending_probability)) {
    delivery.target = target;
    ++fetches_under_way_;
    if (closing_noted_ && farewell_heard_) {  // the closed event waits for this fetch after all
      transport().retract_closed(*this);
      closing_noted_ = false;
    }
    const Nanoseconds takes = path_.latency + time_for(delivery.frame.bytes, path_.bytes_per_second);
    network_.schedule(SimNetwork::Kind::fetched, network_.now_ + takes, self_, token, owner_, owner_);
    return FetchState::pending;
  }
  if (take_payload(delivery, target)) return FetchState::done;
  // The sender is gone and its farewell on the way; here it is found out earlier.
  is_cut_off_ = source_end_ == End::severed;
  close(Status(Code::peer_lost, sentence(source_end_)));
  return FetchState::closed;
}

void SimLink::fetched(std::uint64_t token) {
  --fetches_under_way_;
  if (state_ == State::closed || closing_noted_) return;
  if (take_payload(deliveries_[token], deliveries_[token].target)) {
    transport().note(EventKind::fetched, *this, token);
    end_if_all_came();
  } else {
    end_by(source_end_);
  }
}

void SimLink::release(std::uint64_t token) {
  if (token >= deliveries_.size() || !deliveries_[token].in_use) {
    throw std::logic_error("SimLink::release: no such delivery, or released before");
  }
  Delivery& delivery = deliveries_[token];
  sender_may_reuse(delivery);
  SimLink* const other = pair();
  if (other != nullptr && !delivery.in_place) {
    --other->unreleased_frames_;
    other->unreleased_bytes_ -= delivery.frame.bytes;
  }
  network_.buffers_.give_back(std::move(delivery.frame.buffer));
  delivery.frame.source = nullptr;
  delivery.in_use = false;
  free_deliveries_.push_back(static_cast<std::uint32_t>(token));
}

}  // namespace tutti
