// Sends of a group: staged once for all of its members. See lane_run.h.
//
// A staged segment stays until the last of the group has sent it, and its memory until the last has read it: the run
// counts the ones, the wire the others. Whoever finds no memory free first waits for its own reader, as long as that
// has enough to read; then takes back what nobody reads now, so that those who come later for it stage it again; and
// else has it copied by the transport, as a send alone.
#include <algorithm>
#include <cstring>

#include "src/engine/lane_run.h"

namespace tutti {

// Sends the next segment of the step. `waits`: nothing was sent, and the end of a reading will bring the step on.
SendState LaneRun::send_segment(Wire& wire, std::uint32_t id, const Header& header, std::uint32_t bytes,
                                bool& waits) {
  const CompiledStep& step = job_.lane->steps[id];
  StepState& state = steps_[id];
  Channel& channel = *peers_[step.peer].channel;
  std::size_t found = 0;
  const From from = step.group == CompiledStep::kAlone ? From::source : find_staged(wire, id, bytes, found);
  waits = from == From::later;
  if (waits) return SendState::again;
  if (from == From::source)
    return wire.send_data(channel, header, at(step.source, state.begun), bytes, reference(id), state.begun);
  Staged& staged = staged_[found];
  const SendState sent =
      wire.send_data(channel, header, staged.payload->memory, bytes, reference(id), state.begun, staged.payload);
  if (sent == SendState::again || sent == SendState::closed) return sent;
  if (sent == SendState::pending) ++state.unread;
  if (--staged.waiting == 0) forget_staged(wire, found);
  return SendState::copied;
}

// Where the next segment of the step is to be sent from; staged: `found` is its index.
LaneRun::From LaneRun::find_staged(Wire& wire, std::uint32_t id, std::uint32_t bytes, std::size_t& found) {
  const CompiledStep& step = job_.lane->steps[id];
  const StepState& state = steps_[id];
  Transport* const transport = peers_[step.peer].channel->transport;
  for (found = 0; found < staged_.size(); ++found) {
    const Staged& staged = staged_[found];
    if (staged.group == step.group && staged.segment == state.begun && staged.payload->transport == transport)
      return From::staged;
  }
  const std::byte* const source = at(step.source, state.begun);
  SharedPayload* payload = wire.borrow(*transport, source, bytes);
  if (payload == nullptr && staged_.empty() && state.unread == 0) return From::source;
  const std::uint32_t waiting = still_to_send(step.group, state.begun, transport);
  if (waiting < 2) {
    if (payload != nullptr) wire.let_go(payload);
    return From::source;
  }
  if (payload == nullptr) {
    if (state.unread >= kReadAhead) return From::later;
    if (!take_back_unread(wire, step.group, transport)) return From::source;
    payload = wire.borrow(*transport, source, bytes);
    if (payload == nullptr) return From::source;
  }
  std::memcpy(payload->memory, source, bytes);
  found = staged_.size();
  staged_.push_back({step.group, state.begun, waiting, payload});
  return From::staged;
}

// How many of the group have not sent the segment yet, of those whose peers this transport reaches.
std::uint32_t LaneRun::still_to_send(std::uint32_t group, std::uint32_t segment, const Transport* transport) const {
  const CompiledLane& lane = *job_.lane;
  const auto first = lane.group_members.begin() + lane.groups[group].begin;
  return static_cast<std::uint32_t>(std::count_if(first, first + lane.groups[group].count, [&](std::uint32_t member) {
    return steps_[member].begun <= segment && peers_[lane.steps[member].peer].channel->transport == transport;
  }));
}

// The last segment of the group that nobody reads now: of those that are still to come for others it comes last.
bool LaneRun::take_back_unread(Wire& wire, std::uint32_t group, const Transport* transport) {
  std::size_t last = staged_.size();
  for (std::size_t i = 0; i < staged_.size(); ++i) {
    const Staged& staged = staged_[i];
    if (staged.group != group || staged.payload->transport != transport || staged.payload->readers > 0) continue;
    if (last == staged_.size() || staged.segment > staged_[last].segment) last = i;
  }
  if (last == staged_.size()) return false;
  forget_staged(wire, last);
  return true;
}

void LaneRun::forget_staged(Wire& wire, std::size_t index) {
  wire.let_go(staged_[index].payload);
  staged_[index] = staged_.back();
  staged_.pop_back();
}

void LaneRun::was_read(Wire& wire, std::uint32_t step, Instant now) {
  --steps_[step].unread;
  retry(wire, step, now);
}

}  // namespace tutti
