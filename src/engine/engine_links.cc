// The engine's dealings with links: opening them, and the events that transports report. See engine.h.
#include <algorithm>

#include "src/base/format.h"
#include "src/engine/engine.h"

namespace tutti {

namespace {
constexpr Nanoseconds kLastWords = std::chrono::milliseconds(200);
}  // namespace

Result<Channel*> Engine::channel_to(Peer& peer, std::uint32_t lane, Instant now) {
  if (peer.lost) return peer.why;
  lane %= std::max(1u, peer.transport->capabilities().lanes_max);
  if (lane < peer.channels.size() && peer.channels[lane]) {
    Channel& channel = *peer.channels[lane];
    if (channel.closed) return channel.why;
    return &channel;
  }
  const Result<Link*> link =
      peer.transport->connect(peer.address.process, peer.transport_address, lane, now + options_.connect_timeout);
  if (!link) return link.status();
  if (peer.channels.size() <= lane) peer.channels.resize(lane + 1);
  peer.channels[lane] = std::make_unique<Channel>();
  Channel& channel = *peer.channels[lane];
  channel.peer = &peer;
  channel.link = *link;
  channel.transport = peer.transport;
  channel.lane = lane;
  channel.transport_record = recorder_.transport(peer.transport->capabilities().name);
  channel.open = (*link)->is_open();
  channels_[*link] = &channel;
  return &channel;
}

void Engine::handle(Transport& transport, const Event& event, Instant now) {
  const auto found = channels_.find(event.link);
  if (event.kind == EventKind::connected && found == channels_.end()) return on_connected(transport, event.link);
  if (found == channels_.end()) {
    if (event.kind == EventKind::delivery) event.link->release(event.token);
    return;
  }
  Channel& channel = *found->second;
  switch (event.kind) {
    case EventKind::connected:
      channel.open = true;
      channel.peer->heard = attentive_;
      wire_.flush_control(channel);
      for (Operation* operation : std::vector<Operation*>(operations_)) {
        if (operation->state_ == Operation::State::connecting) connect_operation(*operation, now);
      }
      return;
    case EventKind::delivery:
      channel.peer->heard = attentive_;
      return on_delivery(channel, event, now);
    case EventKind::fetched:
      return on_fetched(channel, event.token, now);
    case EventKind::sent:
      return on_sent(event.token, now);
    case EventKind::closed:
      return on_closed(channel, now);
    case EventKind::rerouted:
      return recorder_.note_lane(
          {channel.peer->address.host_name, channel.peer->address.pid, static_cast<std::uint8_t>(channel.lane),
           event.token == 1 ? LaneChange::lost : LaneChange::back, channel.transport_record, event.link->news()},
          now);
  }
}

// A link that the peer opened. It is kept whether or not a communicator knows that process yet.
void Engine::on_connected(Transport& transport, Link* link) {
  auto& slot = peers_[link->peer()];
  if (!slot) {
    slot = std::make_unique<Peer>();
    slot->address.process = link->peer();
    slot->address.host_name = link->describe();
  }
  Peer& peer = *slot;
  if (peer.lost) {
    return link->close(
        Status(Code::peer_lost, format("the process was lost before ({}) and is not taken back; it has "
                                       "to start again",
                                       peer.why.text())));
  }
  if (peer.transport != nullptr && peer.transport != &transport) return;
  const std::uint32_t lane = link->lane();
  if (lane < peer.channels.size() && peer.channels[lane] && !peer.channels[lane]->closed) return;
  if (peer.channels.size() <= lane) peer.channels.resize(lane + 1);
  peer.channels[lane] = std::make_unique<Channel>();
  Channel& channel = *peer.channels[lane];
  channel.peer = &peer;
  channel.link = link;
  channel.transport = &transport;
  channel.lane = lane;
  channel.transport_record = recorder_.transport(transport.capabilities().name);
  channel.open = true;
  peer.heard = attentive_;
  channels_[link] = &channel;
}

void Engine::on_fetched(Channel& channel, std::uint64_t token, Instant now) {
  for (std::size_t i = 0; i < channel.fetches.size(); ++i) {
    if (channel.fetches[i].token != token) continue;
    const Channel::Fetch fetch = channel.fetches[i];
    channel.fetches[i] = channel.fetches.back();
    channel.fetches.pop_back();
    if (fetch.redispatch) {
      fetch.arrival->state = Arrival::State::readable;
      dispatch(channel, Frame::unpack(fetch.header), fetch.arrival, now);
    } else if (fetch.step.run == nullptr) {
      fetch.arrival->state = Arrival::State::readable;
      wire_.let_go(fetch.arrival);
    } else {
      Operation* const operation = fetch.step.run->owner();
      fetch.step.run->fetched(wire_, fetch.step.step, fetch.arrival, now);
      settle(*operation, now);
    }
    return;
  }
}

void Engine::on_sent(std::uint64_t cookie, Instant now) {
  const Wire::PendingSend ended = wire_.take_pending(cookie);
  if (ended.step.run == nullptr) return;
  Operation* const operation = ended.step.run->owner();
  if (ended.shared != nullptr) {
    if (!ended.step.run->is_current(ended.step)) return;
    ended.step.run->was_read(wire_, ended.step.step, now);
  } else {
    ended.step.run->sent(wire_, ended.step.step, ended.segment, now);
  }
  settle(*operation, now);
}

// Sends that wait, in turn, until one has to wait again: thousands may, and what has no room for one has none for the
// next. (One that fits where its forerunner does not may be held up by it only until its receiver grants a credit.)
void Engine::retry(std::deque<StepReference>& waiting, Instant now) {
  for (std::size_t left = waiting.size(); left > 0; --left) {
    const StepReference reference = waiting.front();
    waiting.pop_front();
    if (!reference.run->is_current(reference)) continue;
    const std::size_t others = waiting.size();
    Operation* const operation = reference.run->owner();
    reference.run->retry(wire_, reference.step, now);
    settle(*operation, now);
    if (waiting.size() > others) return;
  }
}

// A lane's end is not yet the peer's: of one that failed because of somebody else and left, another lane may still
// bring the word of whom. So while there is another lane, the end counts a little later.
void Engine::on_closed(Channel& channel, Instant now) {
  channel.open = false;
  const auto is_open = [](const std::unique_ptr<Channel>& other) { return other && other->open; };
  if (std::any_of(channel.peer->channels.begin(), channel.peer->channels.end(), is_open)) {
    channel.ends = now + kLastWords;
    ending_.push_back(&channel);
    return;
  }
  end_channel(channel, now);
  for (Channel* other : std::vector<Channel*>(ending_)) {
    if (other->peer == channel.peer) end_channel(*other, now);
  }
}

void Engine::end_channel(Channel& channel, Instant now) {
  std::erase(ending_, &channel);
  channel.closed = true;
  channel.why = channel.link->status();
  channel.control.clear();
  std::vector<Operation*> touched;
  std::vector<Wire::PendingSend> ended;
  wire_.take_pending_of(channel, ended);
  for (const Wire::PendingSend& send : ended) {
    if (send.step.run == nullptr || send.shared != nullptr) continue;
    send.step.run->lost_transfer();
    touched.push_back(send.step.run->owner());
  }
  for (const Channel::Fetch& fetch : channel.fetches) {
    fetch.arrival->state = Arrival::State::lost;
    if (fetch.redispatch) wire_.consume(fetch.arrival);
    if (fetch.step.run == nullptr) continue;
    fetch.step.run->lost_transfer();
    touched.push_back(fetch.step.run->owner());
    if (fetch.step.run->is_abandoned()) wire_.consume(fetch.arrival);
  }
  channel.fetches.clear();
  lose_peer(*channel.peer, channel.why, now);
  for (Operation* operation : touched) {
    // What a transport still held for it will never arrive.
    if (operation->state_ == Operation::State::running)
      fail(*operation, lost(*operation, *channel.peer, Status::kNobody), now);
    settle(*operation, now);
  }
}

// Operations that still need something from the process, or to send something to it, cannot end any more. Others go
// on.
void Engine::lose_peer(Peer& peer, const Status& why, Instant now) {
  lost_peers_ += peer.lost ? 0 : 1;
  if (!peer.lost) peer.lost_since = now;
  peer.lost = true;
  peer.why = why;
  std::vector<Communicator*> elastic;
  for (const auto& [key, communicator] : communicators_) {
    if (communicator->council_) elastic.push_back(communicator.get());
  }
  for (Communicator* communicator : elastic) lose_member(*communicator, peer, now);
  for (Operation* operation : std::vector<Operation*>(operations_)) {
    if (!operation->is_under_way()) continue;
    if (operation->state_ == Operation::State::connecting) {
      connect_operation(*operation, now);  // there is one less to wait for; what it needs shows when it begins
      continue;
    }
    const Rank rank = needs_peer(*operation, peer);
    if (rank >= 0) fail(*operation, lost(*operation, peer, rank), now);
  }
}

bool Engine::has_lost(const ProcessId& process) const {
  const auto found = peers_.find(process);
  return found != peers_.end() && (found->second->lost || found->second->shut_out);
}

// The sentence for an operation that ends because of the peer; `rank` may be open.
Status Engine::lost(const Operation& operation, const Peer& peer, Rank rank) const {
  const Communicator& communicator = *operation.communicator_;
  for (Rank r = 0; rank < 0 && r < communicator.size(); ++r) {
    if (communicator.members_[static_cast<std::size_t>(r)].peer == &peer) rank = r;
  }
  return Status(peer.why.code() == Code::aborted ? Code::peer_lost : peer.why.code(),
                format("{}: {} is lost: {}", title(operation), communicator.describe(rank), peer.why.text()), rank);
}

// The rank living in `peer` that the operation cannot do without any more (any rank, or only this one), or -1.
Rank Engine::needs_peer(const Operation& operation, const Peer& peer, Rank only) const {
  const Communicator& communicator = *operation.communicator_;
  if (operation.on_board_) {
    for (Rank rank = 0; rank < communicator.size(); ++rank) {
      if (communicator.members_[static_cast<std::size_t>(rank)].peer != &peer || (only >= 0 && rank != only))
        continue;
      // Before the parts are mapped nobody can tell what a rank that left properly has published: see run_board.
      const bool unknown = !communicator.board_linked_ && only < 0;
      if (unknown || (communicator.board_linked_ && board_needs(operation, rank))) return rank;
    }
    return -1;
  }
  for (std::size_t lane = 0; lane < operation.plan_->lanes.size(); ++lane) {
    const CompiledLane& compiled = operation.plan_->lanes[lane];
    for (std::size_t p = 0; p < compiled.peers.size(); ++p) {
      const Rank rank = compiled.peers[p].rank;
      if (communicator.members_[static_cast<std::size_t>(rank)].peer != &peer || (only >= 0 && rank != only))
        continue;
      // What has come for it is not looked at before it begins: see fail_if_orphaned.
      if (operation.state_ == Operation::State::connecting) return -1;
      const LaneRun::PeerState& state = operation.runs_[lane]->peers()[p];
      // Of several lanes one may close while another still has to bring what the peer sent before it ended.
      if (peer.lost && only < 0 && state.channel != nullptr && state.channel->open) continue;
      if (state.to_receive > 0 || state.to_send > 0) return rank;
    }
  }
  return -1;
}

}  // namespace tutti
