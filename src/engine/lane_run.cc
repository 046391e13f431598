#include "src/engine/lane_run.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "src/base/format.h"

namespace tutti {

void LaneRun::prepare(const Job& job) {
  job_ = job;
  ++generation_;
  const CompiledLane& lane = *job.lane;
  steps_.assign(lane.steps.size(), {});
  messages_.assign(lane.inbound.size(), {});
  peers_.assign(lane.peers.size(), {});
  for (std::size_t p = 0; p < lane.peers.size(); ++p) {
    peers_[p].to_receive = lane.peers[p].inbound.count;
    peers_[p].to_send = lane.peers[p].outbound.count;
  }
  worklist_.clear();
  remaining_ = static_cast<std::uint32_t>(lane.steps.size());
  outstanding_ = 0;
  working_ = false;
  abandoned_ = false;
}

void LaneRun::start(Wire& wire, Recorder::Operation record, Instant now) {
  now_ = now;
  open_records(record);
  for (std::uint32_t step = static_cast<std::uint32_t>(steps_.size()); step-- > 0;) queue(step);
  work(wire);
}

bool LaneRun::ready(const CompiledStep& step, std::uint32_t segment) const {
  const CompiledLane& lane = *job_.lane;
  const std::uint64_t end = std::min<std::uint64_t>((std::uint64_t{segment} + 1) * lane.segment_bytes, step.bytes);
  for (std::uint32_t i = step.needs.begin; i < step.needs.begin + step.needs.count; ++i) {
    const Need& need = lane.needs[i];
    const std::uint64_t total = lane.steps[need.step].bytes;
    const std::int64_t wanted =
        std::min(static_cast<std::int64_t>(end) + need.shift, static_cast<std::int64_t>(total));
    if (wanted <= 0) continue;
    const StepState& before = steps_[need.step];
    const std::uint64_t done = std::min<std::uint64_t>(std::uint64_t{before.done} * lane.segment_bytes, total);
    if (done < static_cast<std::uint64_t>(wanted)) return false;
  }
  return true;
}

void LaneRun::queue(std::uint32_t step) {
  if (steps_[step].queued) return;
  steps_[step].queued = true;
  worklist_.push_back(step);
}

void LaneRun::work(Wire& wire) {
  if (working_) return;
  working_ = true;
  while (!worklist_.empty() && !abandoned_) {
    const std::uint32_t step = worklist_.back();
    worklist_.pop_back();
    steps_[step].queued = false;
    advance(wire, step);
  }
  working_ = false;
}

void LaneRun::advance(Wire& wire, std::uint32_t step) {
  switch (job_.lane->steps[step].kind) {
    case StepKind::send:
      return advance_send(wire, step);
    case StepKind::receive:
      return advance_receive(wire, step);
    case StepKind::reduce:
      return advance_reduce(wire, step);
    case StepKind::copy:
      return advance_copy(wire, step);
  }
}

void LaneRun::advance_send(Wire& wire, std::uint32_t id) {
  const CompiledStep& step = job_.lane->steps[id];
  StepState& state = steps_[id];
  Channel& channel = *peers_[step.peer].channel;
  Frame frame = job_.frame;
  frame.target = job_.lane->peers[step.peer].rank;
  frame.message = step.message;
  if (frame.signature.per_message()) frame.signature.count = step.bytes / job_.element_bytes;
  while (state.begun < step.segments && state.begun - state.done < 64 && ready(step, state.begun)) {
    if (!channel.open) return;
    const std::uint32_t bytes = job_.lane->segment_length(step, state.begun);
    frame.uncredited = state.begun >= state.credit;
    frame.segment = state.begun;
    if (frame.uncredited && !channel.window_allows(bytes)) {
      channel.window_waiters.push_back(reference(id));
      if (!state.asked && step.bytes <= job_.credited_above) {
        state.asked = true;
        Frame ask = frame;
        ask.kind = FrameKind::ask;
        wire.send_control(channel, ask);
      }
      return;
    }
    bool waits = false;
    const SendState sent = send_segment(wire, id, frame.pack(), bytes, waits);
    if (waits) return;
    if (sent == SendState::again) {
      channel.blocked.push_back(reference(id));
      wire.note_waiting(channel);
      return;
    }
    if (sent == SendState::closed) return;
    if (frame.uncredited) channel.uncredited_sent += bytes + kFrameCost;
    const std::uint32_t segment = state.begun++;
    job_.recorder->peer_moved(peers_[step.peer].sending, bytes, now_);
    if (state.begun == step.segments) --peers_[step.peer].to_send;
    if (sent == SendState::pending) {
      ++outstanding_;
    } else {
      complete(wire, id, segment);
    }
  }
}

void LaneRun::advance_receive(Wire& wire, std::uint32_t id) {
  const CompiledStep& step = job_.lane->steps[id];
  StepState& state = steps_[id];
  MessageState& message = messages_[step.inbound];
  while (state.begun < step.segments && ready(step, state.begun)) ++state.begun;
  grant(wire, step.inbound, state.begun);
  while (message.head != nullptr && message.head->state == Arrival::State::readable &&
         message.head->segment < state.begun) {
    Arrival* arrival = message.head;
    if (arrival->bytes > 0) {
      std::byte* const target = at(step.target, arrival->segment);
      before_write(target, arrival->bytes);
      copy(target, arrival->data, arrival->bytes, job_.reduction.streaming);
    }
    pop(wire, step.inbound);
    advance_done(id, 1);
  }
}

void LaneRun::advance_reduce(Wire& wire, std::uint32_t id) {
  const CompiledLane& lane = *job_.lane;
  const CompiledStep& step = lane.steps[id];
  StepState& state = steps_[id];
  while (state.begun < step.segments && ready(step, state.begun)) ++state.begun;
  std::uint32_t peers = 0;
  for (std::uint32_t i = 0; i < step.operands.count; ++i)
    peers += lane.operands[step.operands.begin + i].peer != CompiledOperand::kLocal;
  while (true) {
    bool all_here = state.done < state.begun;
    const std::uint32_t granted = peers > 1 ? std::min(state.begun, state.done + kFanWindow) : state.begun;
    for (std::uint32_t i = 0; i < step.operands.count; ++i) {
      const CompiledOperand& operand = lane.operands[step.operands.begin + i];
      if (operand.peer == CompiledOperand::kLocal) continue;
      grant(wire, operand.inbound, granted);
      const Arrival* head = messages_[operand.inbound].head;
      all_here &= head != nullptr && head->state == Arrival::State::readable;
    }
    if (!all_here) return;
    fold(id, state.done);
    for (std::uint32_t i = 0; i < step.operands.count; ++i) {
      const CompiledOperand& operand = lane.operands[step.operands.begin + i];
      if (operand.peer != CompiledOperand::kLocal) pop(wire, operand.inbound);
    }
    advance_done(id, 1);
  }
}

void LaneRun::fold(std::uint32_t id, std::uint32_t segment) {
  const CompiledLane& lane = *job_.lane;
  const CompiledStep& step = lane.steps[id];
  sources_.clear();
  for (std::uint32_t i = 0; i < step.operands.count; ++i) {
    const CompiledOperand& operand = lane.operands[step.operands.begin + i];
    sources_.push_back(operand.peer == CompiledOperand::kLocal ? at(operand.local, segment)
                                                               : messages_[operand.inbound].head->data);
  }
  Reduction reduction = job_.reduction;
  reduction.divisor = step.finish && job_.divisor > 1 ? job_.divisor : 0;
  std::byte* const target = at(step.target, segment);
  const std::uint32_t bytes = lane.segment_length(step, segment);
  before_write(target, bytes);
  job_.reduce(reduction, target, sources_, bytes / job_.element_bytes);
}

void LaneRun::advance_copy(Wire&, std::uint32_t id) {
  const CompiledStep& step = job_.lane->steps[id];
  StepState& state = steps_[id];
  while (state.begun < step.segments && ready(step, state.begun)) {
    const std::uint32_t segment = state.begun++;
    const std::byte* source = at(step.source, segment);
    std::byte* target = at(step.target, segment);
    const std::uint32_t bytes = job_.lane->segment_length(step, segment);
    if (step.finish && job_.divisor > 1) {
      Reduction reduction = job_.reduction;
      reduction.divisor = job_.divisor;
      before_write(target, bytes);
      job_.reduce(reduction, target, {&source, 1}, bytes / job_.element_bytes);
    } else if (source != target) {
      before_write(target, bytes);
      copy(target, source, bytes, job_.reduction.streaming);
    }
    advance_done(id, 1);
  }
}

// Grants the sender all segments below `segments`, in few frames: when something new can be granted and either the
// whole message can, or the sender has few left.
void LaneRun::grant(Wire& wire, std::uint32_t inbound, std::uint32_t segments) {
  MessageState& message = messages_[inbound];
  if (segments <= message.granted) return;
  const CompiledLane& lane = *job_.lane;
  const CompiledStep& step = lane.steps[lane.inbound[inbound].step];
  if (step.bytes <= job_.credited_above && !message.asked) return;
  if (segments < step.segments && message.granted > message.expected + 1 && segments - message.granted < kFanWindow)
    return;
  if (message.expected >= step.segments) return;
  message.granted = segments;
  Channel& channel = *peers_[lane.inbound[inbound].peer].channel;
  Frame frame = job_.frame;
  frame.kind = FrameKind::credit;
  frame.to_sender = true;
  frame.target = lane.peers[lane.inbound[inbound].peer].rank;
  frame.message = lane.inbound[inbound].message;
  frame.segment = segments;
  wire.send_control(channel, frame);
}

void LaneRun::pop(Wire& wire, std::uint32_t inbound) {
  MessageState& message = messages_[inbound];
  Arrival* arrival = message.head;
  message.head = arrival->next;
  if (message.head == nullptr) message.tail = nullptr;
  wire.consume(arrival);
}

void LaneRun::complete(Wire&, std::uint32_t id, std::uint32_t segment) {
  StepState& state = steps_[id];
  if (segment != state.done) {
    state.ahead |= 1ull << (segment - state.done - 1);
    return;
  }
  const std::uint32_t run = static_cast<std::uint32_t>(std::countr_one(state.ahead));
  state.ahead = run >= 63 ? 0 : state.ahead >> (run + 1);
  advance_done(id, run + 1);
}

void LaneRun::advance_done(std::uint32_t id, std::uint32_t segments) {
  const CompiledStep& step = job_.lane->steps[id];
  StepState& state = steps_[id];
  state.done += segments;
  if (state.done == step.segments) --remaining_;
  for (std::uint32_t i = 0; i < step.unlocks.count; ++i) queue(job_.lane->unlocks[step.unlocks.begin + i]);
}

void LaneRun::open_records(Recorder::Operation operation) {
  const CompiledLane& lane = *job_.lane;
  for (std::size_t p = 0; p < peers_.size(); ++p) {
    std::uint64_t sending = 0;
    std::uint64_t receiving = 0;
    for (std::uint32_t m = 0; m < lane.peers[p].outbound.count; ++m)
      sending += lane.steps[lane.outbound[lane.peers[p].outbound.begin + m]].bytes;
    for (std::uint32_t m = 0; m < lane.peers[p].inbound.count; ++m)
      receiving += lane.steps[lane.inbound[lane.peers[p].inbound.begin + m].step].bytes;
    RecordedPeer record;
    record.rank = lane.peers[p].rank;
    record.lane = job_.frame.lane;
    record.transport = peers_[p].channel->transport_record;
    record.bytes = sending;
    if (peers_[p].to_send > 0) peers_[p].sending = job_.recorder->begin_peer(operation, record, now_);
    record.direction = Direction::receive;
    record.bytes = receiving;
    if (peers_[p].to_receive > 0) peers_[p].receiving = job_.recorder->begin_peer(operation, record, now_);
  }
}

void LaneRun::close_records(Code result) {
  for (const PeerState& peer : peers_) {
    if (peer.sending.entry) job_.recorder->end_peer(peer.sending, result);
    if (peer.receiving.entry) job_.recorder->end_peer(peer.receiving, result);
  }
}

std::uint64_t LaneRun::expected_elements(std::uint32_t peer, std::uint32_t message) const {
  const CompiledPeer& from = job_.lane->peers[peer];
  if (message >= from.inbound.count) return 0;
  return job_.lane->steps[job_.lane->inbound[from.inbound.begin + message].step].bytes / job_.element_bytes;
}

bool LaneRun::message_matches(std::uint32_t peer, const Frame& frame) const {
  return !frame.signature.per_message() || frame.signature.count == expected_elements(peer, frame.message);
}

Status LaneRun::deliver(Wire& wire, Arrival* arrival, std::uint32_t peer, std::uint32_t number, Instant now) {
  now_ = now;
  const CompiledLane& lane = *job_.lane;
  const CompiledPeer& from = lane.peers[peer];
  std::string wrong;
  if (number >= from.inbound.count) {
    wrong = format("message {} of {}", number, from.inbound.count);
  } else {
    const CompiledStep& step = lane.steps[lane.inbound[from.inbound.begin + number].step];
    const MessageState& message = messages_[from.inbound.begin + number];
    if (arrival->segment != message.expected || arrival->segment >= step.segments ||
        arrival->bytes != lane.segment_length(step, arrival->segment)) {
      wrong = format("segment {} with {} bytes of message {}, where segment {} of {} with {} bytes was due",
                     arrival->segment, arrival->bytes, number, message.expected, step.segments,
                     message.expected < step.segments ? lane.segment_length(step, message.expected) : 0);
    }
  }
  if (!wrong.empty()) {
    wire.consume(arrival);
    return Status(Code::internal, format("a frame does not fit the plan: {}", wrong));
  }
  const std::uint32_t inbound = from.inbound.begin + number;
  MessageState& message = messages_[inbound];
  ++message.expected;
  job_.recorder->peer_moved(peers_[peer].receiving, arrival->bytes, now_);
  if (message.expected == lane.steps[lane.inbound[inbound].step].segments) --peers_[peer].to_receive;
  if (message.tail != nullptr) {
    message.tail->next = arrival;
  } else {
    message.head = arrival;
  }
  message.tail = arrival;
  take_in(wire, arrival, inbound);
  work(wire);
  return {};
}

// Decides where a payload that has just come waits: nowhere if its step takes it now, straight into the step's
// target, where it is, or in a buffer of its own.
void LaneRun::take_in(Wire& wire, Arrival* arrival, std::uint32_t inbound) {
  const CompiledLane& lane = *job_.lane;
  const std::uint32_t id = lane.inbound[inbound].step;
  const CompiledStep& step = lane.steps[id];
  const std::uint32_t segment = arrival->segment;
  if (arrival->state ==
      Arrival::State::fetching) {  // came before the operation started here, and is still on its way
    for (Channel::Fetch& fetch : arrival->channel->fetches) {
      if (fetch.arrival == arrival) fetch.step = reference(id);
    }
    ++outstanding_;
    return;
  }
  if (arrival->data == nullptr && arrival->bytes > 0) {
    StepState& state = steps_[id];
    while (state.begun < step.segments && ready(step, state.begun)) ++state.begun;
    const bool direct = step.kind == StepKind::receive && segment < state.begun && messages_[inbound].head == arrival;
    std::byte* target = nullptr;
    if (direct) {
      target = at(step.target, segment);
      before_write(target, arrival->bytes);
    } else {
      arrival->owned = wire.take_buffer(arrival->bytes);
      target = arrival->owned.get();
    }
    arrival->state = Arrival::State::fetching;
    arrival->data = target;
    const FetchState fetch = arrival->channel->link->fetch(arrival->token, target);
    if (fetch == FetchState::pending) {
      ++outstanding_;
      arrival->channel->fetches.push_back({arrival->token, arrival, reference(id), false, {}});
      return;
    }
    if (fetch == FetchState::closed) {  // the channel's closed event will end the operation
      arrival->state = Arrival::State::lost;
      return;
    }
    ++outstanding_;
    fetched(wire, id, arrival, now_);
    return;
  }
  queue(id);
  work(wire);
  const bool waits = messages_[inbound].tail == arrival && arrival->holds && !arrival->in_place;
  if (!waits || !(arrival->transient || arrival->channel->holds_too_much())) return;
  auto owned = wire.take_buffer(arrival->bytes);
  std::memcpy(owned.get(), arrival->data, arrival->bytes);
  wire.keep_copy(arrival, std::move(owned));
}

void LaneRun::fetched(Wire& wire, std::uint32_t id, Arrival* arrival, Instant now) {
  now_ = now;
  --outstanding_;
  arrival->state = Arrival::State::readable;
  if (abandoned_) {
    wire.consume(arrival);
    return;
  }
  if (arrival->owned) {
    wire.let_go(arrival);
  } else {  // it went straight to its place
    pop(wire, job_.lane->steps[id].inbound);
    advance_done(id, 1);
  }
  queue(id);
  work(wire);
}

Status LaneRun::credit(Wire& wire, std::uint32_t peer, std::uint32_t number, std::uint32_t segments, Instant now) {
  now_ = now;
  const CompiledPeer& to = job_.lane->peers[peer];
  if (number >= to.outbound.count)
    return Status(Code::internal, format("a credit for message {} of {}", number, to.outbound.count));
  const std::uint32_t id = job_.lane->outbound[to.outbound.begin + number];
  steps_[id].credit = std::max(steps_[id].credit, std::min(segments, job_.lane->steps[id].segments));
  queue(id);
  work(wire);
  return {};
}

Status LaneRun::ask(Wire& wire, std::uint32_t peer, std::uint32_t number, Instant now) {
  now_ = now;
  const CompiledPeer& from = job_.lane->peers[peer];
  if (number >= from.inbound.count)
    return Status(Code::internal, format("a request for message {} of {}", number, from.inbound.count));
  const std::uint32_t inbound = from.inbound.begin + number;
  messages_[inbound].asked = true;
  queue(job_.lane->inbound[inbound].step);
  work(wire);
  return {};
}

void LaneRun::sent(Wire& wire, std::uint32_t step, std::uint32_t segment, Instant now) {
  now_ = now;
  --outstanding_;
  if (abandoned_) return;
  complete(wire, step, segment);
  queue(step);
  work(wire);
}

void LaneRun::retry(Wire& wire, std::uint32_t step, Instant now) {
  now_ = now;
  if (abandoned_) return;
  queue(step);
  work(wire);
}

void LaneRun::abandon(Wire& wire) {
  abandoned_ = true;
  worklist_.clear();
  while (!staged_.empty()) forget_staged(wire, staged_.size() - 1);
  for (MessageState& message : messages_) {
    while (message.head != nullptr) {
      Arrival* arrival = message.head;
      message.head = arrival->next;
      if (arrival->state != Arrival::State::fetching)
        wire.consume(arrival);  // a fetch in progress is consumed when it ends
    }
    message.tail = nullptr;
  }
}

}  // namespace tutti
