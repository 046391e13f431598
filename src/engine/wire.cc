#include "src/engine/wire.h"

#include <cstring>
#include <utility>

namespace tutti {

namespace {
constexpr std::size_t kSpareBuffersMax = 32;
}  // namespace

// The cookie that the next pending send will have; it is taken from the free ones only if the send is pending.
std::uint32_t Wire::next_cookie() {
  if (free_pending_.empty()) {
    free_pending_.push_back(static_cast<std::uint32_t>(pending_.size()));
    pending_.emplace_back();
  }
  return free_pending_.back();
}

SendState Wire::send_data(Channel& channel, const Header& header, const std::byte* payload, std::uint32_t bytes,
                          StepReference step, std::uint32_t segment, SharedPayload* shared) {
  const std::uint32_t cookie = next_cookie();
  const SendState state = channel.link->send(header, payload, bytes, cookie);
  if (state == SendState::pending) {
    free_pending_.pop_back();
    pending_[cookie] = {step, segment, &channel, shared, {}};
    if (shared != nullptr) ++shared->readers;
  }
  return state;
}

Wire::PendingSend Wire::take_pending(std::uint64_t cookie) {
  if (cookie >= pending_.size() || pending_[cookie].channel == nullptr) return {};
  PendingSend taken = std::move(pending_[cookie]);
  pending_[cookie] = {};
  free_pending_.push_back(static_cast<std::uint32_t>(cookie));
  if (taken.shared != nullptr) {
    --taken.shared->readers;
    give_back_unless_used(taken.shared);
  }
  return taken;
}

void Wire::take_pending_of(const Channel& channel, std::vector<PendingSend>& out) {
  for (std::uint32_t cookie = 0; cookie < pending_.size(); ++cookie) {
    if (pending_[cookie].channel == &channel) out.push_back(take_pending(cookie));
  }
}

SharedPayload* Wire::borrow(Transport& transport, const std::byte* payload, std::uint32_t bytes) {
  std::byte* const memory = transport.borrow(payload, bytes);
  if (memory == nullptr) return nullptr;
  if (free_shared_ == nullptr) {
    shared_.push_back(std::make_unique<SharedPayload>());
    free_shared_ = shared_.back().get();
  }
  SharedPayload* const shared = free_shared_;
  free_shared_ = shared->next;
  *shared = {&transport, memory, 0, true, nullptr};
  return shared;
}

void Wire::let_go(SharedPayload* shared) {
  shared->is_held = false;
  give_back_unless_used(shared);
}

void Wire::give_back_unless_used(SharedPayload* shared) {
  if (shared->is_held || shared->readers > 0) return;
  shared->transport->give_back(shared->memory);
  *shared = {};
  shared->next = free_shared_;
  free_shared_ = shared;
}

void Wire::send_control(Channel& channel, const Frame& frame, std::span<const std::byte> payload) {
  if (channel.closed) return;
  channel.control.push_back({frame.pack(), {payload.begin(), payload.end()}});
  flush_control(channel);
}

void Wire::flush_control(Channel& channel) {
  while (channel.open && !channel.control.empty()) {
    Channel::Queued& queued = channel.control.front();
    const std::uint32_t cookie = next_cookie();
    const SendState state = channel.link->send(queued.header, queued.payload.data(), queued.payload.size(), cookie);
    if (state == SendState::again) break;
    if (state == SendState::pending) {
      free_pending_.pop_back();
      pending_[cookie] = {{}, 0, &channel, nullptr, std::move(queued.payload)};
    }
    channel.control.pop_front();
  }
  if (!channel.control.empty()) note_waiting(channel);
}

void Wire::note_waiting(Channel& channel) {
  if (!std::exchange(channel.is_noted, true)) waiting_.push_back(&channel);
}

std::vector<Channel*> Wire::take_waiting() {
  for (Channel* const channel : waiting_) channel->is_noted = false;
  return std::exchange(waiting_, {});
}

Arrival* Wire::new_arrival() {
  if (free_arrivals_ == nullptr) {
    arrivals_.push_back(std::make_unique<Arrival>());
    return arrivals_.back().get();
  }
  Arrival* arrival = free_arrivals_;
  free_arrivals_ = arrival->next;
  arrival->next = nullptr;
  return arrival;
}

void Wire::consume(Arrival* arrival) {
  Channel& channel = *arrival->channel;
  let_go(arrival);
  if (arrival->owned) give_buffer(std::move(arrival->owned), arrival->bytes);
  if (arrival->uncredited) {
    channel.consumed += arrival->bytes + kFrameCost;
    if (channel.consumed - channel.consumed_reported >= kWindowBytes / 4) report_consumed(channel);
  }
  *arrival = {};
  arrival->next = free_arrivals_;
  free_arrivals_ = arrival;
}

void Wire::let_go(Arrival* arrival) {
  if (!arrival->holds) return;
  arrival->channel->link->release(arrival->token);
  if (arrival->counted) {
    arrival->channel->held_bytes -= arrival->bytes;
    --arrival->channel->held_frames;
  }
  arrival->holds = false;
  arrival->counted = false;
}

void Wire::keep_copy(Arrival* arrival, std::unique_ptr<std::byte[]> owned) {
  let_go(arrival);
  arrival->owned = std::move(owned);
  arrival->data = arrival->owned.get();
}

void Wire::report_consumed(Channel& channel) {
  channel.consumed_reported = channel.consumed;
  Frame frame;
  frame.kind = FrameKind::window;
  frame.number = static_cast<std::uint32_t>(channel.consumed >> 32);
  frame.message = static_cast<std::uint32_t>(channel.consumed);
  send_control(channel, frame);
}

std::unique_ptr<std::byte[]> Wire::take_buffer(std::uint32_t bytes) {
  for (std::size_t i = spare_.size(); i-- > 0;) {
    if (spare_[i].bytes < bytes || spare_[i].bytes > 2 * bytes + 4096) continue;
    auto memory = std::move(spare_[i].memory);
    spare_[i] = std::move(spare_.back());
    spare_.pop_back();
    return memory;
  }
  return std::make_unique_for_overwrite<std::byte[]>(bytes);
}

void Wire::give_buffer(std::unique_ptr<std::byte[]> buffer, std::uint32_t bytes) {
  if (spare_.size() < kSpareBuffersMax) spare_.push_back({std::move(buffer), bytes});
}

}  // namespace tutti
