// The engine's beginning and end, communicators, and time. See engine.h.
#include "src/engine/engine.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr Nanoseconds kTimerStep = std::chrono::milliseconds(5);
constexpr int kProbesPerStep = 64;
constexpr Nanoseconds kOrphansMax = std::chrono::seconds(120);
constexpr Rank kBoardRanksMax = 64;
constexpr std::size_t kEndedMax = 16'384;  // what comes for older ones waits for its time as an orphan
constexpr int kEventsPerPoll = 64;
constexpr Nanoseconds kAttention = std::chrono::milliseconds(100);  // twice what this process sleeps at once

}  // namespace

std::string Communicator::describe(Rank rank) const {
  if (rank < 0 || rank >= size()) return format("rank {}", rank);
  return format("rank {} ({})", rank, members_[static_cast<std::size_t>(rank)].peer->address.describe());
}

Engine::Engine(EngineOptions options, std::vector<std::unique_ptr<Transport>> transports, Recorder& recorder)
    : options_(std::move(options)), transports_(std::move(transports)), recorder_(recorder), events_(kEventsPerPoll) {
  address_.process = options_.process;
  address_.host = options_.host;
  address_.pid = options_.pid;
  address_.pid_namespace = options_.pid_namespace;
  address_.cores = options_.cores;
  address_.host_name = options_.host_name;
  bool first = true;
  for (const auto& transport : transports_) {
    const Capabilities& capabilities = transport->capabilities();
    const auto bytes = transport->address();
    address_.reaches.push_back({std::string(capabilities.name), {bytes.begin(), bytes.end()}});
    if (capabilities.name == "self") {
      self_transport_ = transport.get();
      continue;
    }
    if (first && capabilities.has_segment) segment_transport_ = transport.get();
    if (!capabilities.has_segment) address_.lanes = capabilities.lanes_max;
    first = false;
  }
  address_.has_segment = segment_transport_ != nullptr;
  if (address_.has_segment) segment_record_ = recorder_.transport(segment_transport_->capabilities().name);
}

Engine::~Engine() = default;

Result<Peer*> Engine::find_peer(const ProcessAddress& address) {
  auto& slot = peers_[address.process];
  if (slot && slot->transport != nullptr) return slot.get();
  auto peer = slot ? std::move(slot) : std::make_unique<Peer>();  // it may have connected before it was known
  peer->address = address;
  for (const auto& transport : transports_) {
    const ProcessAddress::Reach* reach = address.find(transport->capabilities().name);
    if (reach == nullptr || !transport->reaches(reach->address)) continue;
    peer->transport = transport.get();
    peer->transport_address = reach->address;
    break;
  }
  if (peer->transport == nullptr) {
    std::string ours;
    for (const auto& reach : address_.reaches) ours += (ours.empty() ? "" : ", ") + reach.transport;
    std::string theirs;
    for (const auto& reach : address.reaches) theirs += (theirs.empty() ? "" : ", ") + reach.transport;
    peers_.erase(address.process);
    return Status(
        Code::unsupported,
        format("no transport reaches {} from {} pid {}: here are {}; there are {}. Check TUTTI_TRANSPORTS on both",
               address.describe(), options_.host_name, options_.pid, ours, theirs));
  }
  slot = std::move(peer);
  return slot.get();
}

// Lost from the start: whatever needs it says why.
Peer* Engine::add_unreachable(const ProcessAddress& address, const Status& why, Instant now) {
  auto peer = std::make_unique<Peer>();
  peer->address = address;
  peer->transport = transports_.back().get();  // which is never asked for a link
  peer->lost = true;
  peer->lost_since = now;
  peer->why = Status(Code::peer_lost, why.text());
  ++lost_peers_;
  return (peers_[address.process] = std::move(peer)).get();
}

Shape Engine::shape_of(const std::vector<Member>& members, const CommunicatorSpec& spec) const {
  Shape shape;
  shape.ranks = static_cast<Rank>(members.size());
  shape.segment_bytes = spec.segment_bytes;
  shape.shared_memory = true;
  shape.has_board = shape.ranks > 1 && shape.ranks <= kBoardRanksMax;
  shape.board_bytes = spec.board_bytes;
  shape.network_lanes = ~0u;
  struct Host {
    std::uint32_t index;
    std::uint32_t ranks = 0;
    std::uint32_t cores = 1;
  };
  std::map<HostId, Host> hosts;
  for (const Member& member : members) {
    const ProcessAddress& address = member.peer->address;
    auto [host, fresh] = hosts.try_emplace(address.host, Host{static_cast<std::uint32_t>(hosts.size())});
    shape.host.push_back(host->second.index);
    ++host->second.ranks;
    host->second.cores = std::max(host->second.cores, address.cores);
    shape.ranks_per_core =
        std::max(shape.ranks_per_core, (host->second.ranks + host->second.cores - 1) / host->second.cores);
    if (!address.has_segment) shape.shared_memory = false;
    if (member.board_offset == kNoBoard) shape.has_board = false;
    shape.network_lanes = std::min(shape.network_lanes, address.lanes);
  }
  shape.hosts = static_cast<std::uint32_t>(hosts.size());
  if (shape.hosts > 1 || !shape.shared_memory) shape.has_board = false;
  if (shape.hosts == 1 && shape.shared_memory) shape.network_lanes = 1;
  return shape;
}

Result<Communicator*> Engine::create(const CommunicatorSpec& spec, Instant now) {
  auto communicator = std::make_unique<Communicator>();
  for (const MemberSpec& member : spec.members) {
    Result<Peer*> peer = find_peer(member.address);
    if (!peer && member.joins) peer = add_unreachable(member.address, peer.status(), now);
    if (!peer) return peer.status();
    communicator->members_.push_back({*peer, false, member.board_offset});
  }
  return install(std::move(communicator), spec, now);
}

Result<Communicator*> Engine::create_from(const Communicator& parent, std::uint64_t id, std::string name,
                                          std::span<const Rank> members, std::span<const std::uint64_t> board_offsets,
                                          Instant now) {
  auto communicator = std::make_unique<Communicator>();
  CommunicatorSpec spec;
  spec.id = id;
  spec.name = std::move(name);
  spec.timeout = parent.timeout_;
  spec.stragglers = parent.stragglers_;
  spec.eager_bytes = parent.eager_bytes_;
  spec.board_bytes = parent.planner_->shape().board_bytes;
  spec.segment_bytes = parent.planner_->shape().segment_bytes;
  spec.algorithm = parent.planner_->forced();
  spec.elastic = parent.council_ != nullptr;
  spec.by_step = spec.elastic && parent.council_->by_step;
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (members[i] == parent.rank_) spec.rank = static_cast<Rank>(i);
    communicator->members_.push_back(
        {parent.members_[static_cast<std::size_t>(members[i])].peer, false, board_offsets[i]});
  }
  return install(std::move(communicator), spec, now);
}

Result<Communicator*> Engine::install(std::unique_ptr<Communicator> communicator, const CommunicatorSpec& spec,
                                      Instant now) {
  communicator->id_ = spec.id;
  communicator->name_ = spec.name;
  communicator->rank_ = spec.rank;
  communicator->timeout_ = spec.timeout;
  communicator->stragglers_ = spec.stragglers;
  communicator->eager_bytes_ = spec.eager_bytes;
  const std::size_t ranks = communicator->members_.size();
  communicator->sends_to_.assign(ranks, 0);
  communicator->receives_from_.assign(ranks, 0);
  if (spec.elastic) {
    communicator->council_ =
        std::make_unique<Council>(static_cast<Rank>(ranks), spec.rank, spec.by_step, spec.minimum);
    for (std::size_t i = 0; i < spec.members.size(); ++i)
      communicator->council_->seats[i].is_new = spec.members[i].joins;
  }
  const Shape shape = shape_of(communicator->members_, spec);
  communicator->board_wanted_ = shape.has_board;
  Result<Planner> planner = Planner::make(options_.algorithms, shape, spec.algorithm);
  if (!planner) return planner.status();
  communicator->planner_ = std::make_unique<Planner>(std::move(*planner));
  std::vector<RecordedMember> members;
  for (const Member& member : communicator->members_) {
    members.push_back({member.peer->address.host_name, member.peer->address.process, member.peer->address.pid});
  }
  communicator->record_ =
      recorder_.open_communicator({{0, spec.id}, communicator->name_, spec.rank, communicator->size(), members}, now);
  Communicator* const installed = communicator.get();
  communicators_[{spec.id, spec.rank}] = std::move(communicator);
  ended_.erase(spec.id);
  if (const auto orphans = orphans_.find({spec.id, spec.rank}); orphans != orphans_.end()) {
    const std::vector<EarlyFrame> frames = std::move(orphans->second.frames);
    orphans_.erase(orphans);
    for (const EarlyFrame& early : frames) {
      --early.channel->frames_for_nobody;
      to_communicator(*installed, *early.channel, early.frame, early.arrival, now);
    }
  }
  options_.log.write(LogLevel::info, "comm", "{}: rank {} of {} on {} host{}, up to {} rank{} per core",
                     installed->name_, installed->rank_, installed->size(), shape.hosts, shape.hosts == 1 ? "" : "s",
                     shape.ranks_per_core, shape.ranks_per_core == 1 ? "" : "s");
  return installed;
}

void Engine::abort(Communicator* communicator, const Status& why, Instant now) {
  fail_communicator(*communicator, why, now);
}

void Engine::destroy(Communicator* communicator, Instant now) {
  if (communicator->operations_ > 0 && (communicator->failure_.is_ok() || communicator->council_)) {
    const Status why = Status(Code::aborted, format("{}: {} destroyed the communicator with {} operations pending",
                                                    communicator->name_, communicator->describe(communicator->rank_),
                                                    communicator->operations_))
                           .blaming(communicator->rank_);
    if (communicator->council_) {
      leave_council(*communicator, why, now);
    } else if (only_receives(*communicator)) {  // nobody else waits for these
      communicator->failure_ = why;
      let_all_go(*communicator, why, now);
    } else {
      fail_communicator(*communicator, why, now);
    }
  }
  Frame frame;
  frame.communicator = communicator->id_;
  frame.kind = FrameKind::goodbye;
  const Ended farewell = farewell_of(*communicator);
  frame.number = farewell.number;
  frame.segment = farewell.how;
  frame.source = communicator->rank_;
  // One on every lane, behind what was sent there.
  for (Rank rank = 0; rank < communicator->size(); ++rank) {
    Peer& peer = *communicator->members_[static_cast<std::size_t>(rank)].peer;
    frame.target = rank;
    if (rank == communicator->rank_) continue;
    const auto takes = [](const std::unique_ptr<Channel>& channel) { return channel && !channel->closed; };
    frame.message = static_cast<std::uint32_t>(std::count_if(peer.channels.begin(), peer.channels.end(), takes));
    for (const auto& channel : peer.channels) {
      if (takes(channel)) wire_.send_control(*channel, frame);
    }
  }
  forget_early(*communicator);
  recorder_.close_communicator(communicator->record_, now);
  remember_ended(*communicator);
  std::erase(boards_active_, communicator);
  std::erase(councils_, communicator);
  auto found = communicators_.find({communicator->id_, communicator->rank_});
  leaving_.push_back(std::move(found->second));
  communicators_.erase(found);
  free_boards();
}

bool Engine::only_receives(const Communicator& communicator) const {
  return std::all_of(operations_.begin(), operations_.end(), [&](const Operation* operation) {
    return operation->communicator_ != &communicator || (operation->point_to_point_ && !operation->sends_);
  });
}

void Engine::leave(Communicator* communicator, Instant now) {
  communicator->leaves_ = true;
  destroy(communicator, now);
}

Engine::Ended Engine::farewell_of(const Communicator& communicator) {
  if (!communicator.council_) return {};
  const Council& council = *communicator.council_;
  const bool may_go_on = council.stage == Council::Stage::judged && council.next.has_value();
  return {council.completed, (may_go_on ? 0 : kForGood) | (communicator.leaves_ ? kLeaves : 0)};
}

void Engine::remember_ended(const Communicator& communicator) {
  Ended farewell = farewell_of(communicator);
  const auto [known, is_new] = ended_.try_emplace(communicator.id_, farewell);
  if (!is_new) {  // another rank of this process: what holds for both
    known->second.number = std::min(known->second.number, farewell.number);
    known->second.how &= farewell.how;
    return;
  }
  ended_order_.push_back(communicator.id_);
  if (ended_order_.size() <= kEndedMax) return;
  ended_.erase(ended_order_.front());
  ended_order_.pop_front();
}

// Destroyed communicators go when no transport holds their callers' memory and nobody still reads their board part.
void Engine::free_boards() {
  std::erase_if(leaving_, [this](const std::unique_ptr<Communicator>& communicator) {
    if (communicator->operations_ > 0) return false;
    const std::uint64_t offset = communicator->members_[static_cast<std::size_t>(communicator->rank_)].board_offset;
    if (offset == kNoBoard) return true;
    if (communicator->board_ && communicator->failure_.is_ok() &&
        !communicator->board_->is_consumed(communicator->board_published_)) {
      for (Rank rank = 0; rank < communicator->size(); ++rank) {
        const Member& member = communicator->members_[static_cast<std::size_t>(rank)];
        const Channel* channel = communicator->board_channels_[static_cast<std::size_t>(rank)];
        const bool lives = member.peer->address.process == options_.process
                               ? communicators_.contains({communicator->id_, rank})
                               : channel->open;
        if (lives && !member.gone) return false;  // may still read
      }
    }
    cancel_board(offset, communicator->planner_->shape().board_bytes);
    return true;
  });
}

std::uint64_t Engine::reserve_board(std::uint64_t board_bytes) {
  if (segment_transport_ == nullptr || board_bytes == 0) return kNoBoard;
  const std::uint64_t bytes = Board::member_bytes(board_bytes);
  std::uint64_t offset = kNoBoard;
  for (auto& part : free_parts_) {
    if (part.second != bytes) continue;
    offset = part.first;
    part = free_parts_.back();
    free_parts_.pop_back();
    break;
  }
  if (offset == kNoBoard) {
    if (segment_transport_->segment_bytes() - segment_used_ < bytes) return kNoBoard;
    offset = segment_used_;
    segment_used_ += bytes;
  }
  // Words that mean something to others; payloads need not be cleared.
  std::byte* const part = segment_transport_->segment() + offset;
  const std::uint64_t cell = (bytes - Board::kLine) / Board::kCells;
  std::memset(part, 0, Board::kLine);
  for (std::uint64_t c = 0; c < Board::kCells; ++c) std::memset(part + Board::kLine + c * cell, 0, Board::kLine);
  return offset;
}

void Engine::cancel_board(std::uint64_t offset, std::uint64_t board_bytes) {
  if (offset != kNoBoard) free_parts_.emplace_back(offset, Board::member_bytes(board_bytes));
}

std::size_t Engine::progress(Instant now) {
  notice_absence(now);
  if (has_run_) attentive_ += std::clamp(now - now_, Nanoseconds(0), kAttention);
  has_run_ = true;
  now_ = now;
  std::size_t done = 0;
  for (const auto& transport : transports_) {
    const std::size_t count = transport->poll(events_, now);
    for (std::size_t i = 0; i < count; ++i) handle(*transport, events_[i], now);
    done += count;
  }
  for (std::size_t i = 0; i < boards_active_.size(); ++i) done += run_board(*boards_active_[i], now);
  std::erase_if(boards_active_, [](Communicator* c) { return !(c->board_watched_ = c->uses_board()); });
  if (wire_.has_waiting()) {
    for (Channel* const channel : wire_.take_waiting()) {
      wire_.flush_control(*channel);
      retry(channel->blocked, now);
      if (!channel->blocked.empty()) wire_.note_waiting(*channel);
    }
  }
  if (now >= next_timer_ || next_timer_ == kNever) check_timers(now);
  return done;
}

void Engine::check_timers(Instant now) {
  next_timer_ = now + kTimerStep;
  probes_left_ = kProbesPerStep;
  const std::vector<Operation*> pending(operations_);
  for (Operation* operation : pending) {
    if (now >= operation->next_check_ && !operation->is_complete()) check_operation(*operation, now);
  }
  for (Channel* channel : std::vector<Channel*>(ending_)) {
    if (now >= channel->ends) end_channel(*channel, now);
  }
  for (Communicator* communicator : std::vector<Communicator*>(councils_)) check_council(*communicator, now);
  std::erase_if(councils_, [](const Communicator* c) { return !c->council_->has_work(); });
  if (!leaving_.empty()) free_boards();
  std::erase_if(orphans_, [&](auto& entry) {
    if (now - entry.second.since < kOrphansMax) return false;
    for (const EarlyFrame& early : entry.second.frames) {
      --early.channel->frames_for_nobody;
      drop(early.arrival);
    }
    return true;
  });
  recorder_.heartbeat(now);
}

void Engine::check_operation(Operation& operation, Instant now) {
  if (operation.state_ == Operation::State::draining) {
    // Transports had their time to let go; what they still hold ends with their channels.
    if (now < operation.deadline_) return;
    for (std::size_t i = 0; i < operation.plan_->lanes.size(); ++i) {
      LaneRun& run = *operation.runs_[i];
      if (run.is_quiet()) continue;
      for (const LaneRun::PeerState& peer : run.peers()) {
        if (peer.channel != nullptr && !peer.channel->closed) peer.channel->link->close(operation.failure_);
      }
    }
    return;
  }
  if (operation.state_ == Operation::State::frozen || !operation.communicator_->failure_.is_ok()) return;
  if (now >= operation.deadline_) {
    fail(operation,
         Status(Code::timeout, format("{} did not complete within {}: {}", title(operation),
                                      format_duration(operation.timeout_), waiting_for(operation, now)))
             .blaming(missing_in(operation, now)),
         now);
    return;
  }
  if (now >= operation.next_probe_) {
    // Of thousands under way the first are enough to learn who is late.
    if (probes_left_ > 0) {
      --probes_left_;
      probe(operation, now);
    } else {
      operation.next_probe_ = now + operation.probe_interval_;
    }
  }
  report_stragglers(operation, now);
  exclude_stragglers(operation, now);
  // With thousands of operations under way, looking closely at each of them in every step is all that would be done.
  operation.next_check_ = std::min(
      {operation.deadline_, operation.next_probe_, now + operation.communicator_->stragglers_.interval() / 4});
}

bool Engine::is_drained() {
  free_boards();
  return leaving_.empty() && std::all_of(channels_.begin(), channels_.end(), [this](const auto& entry) {
           const Channel& channel = *entry.second;
           if (channel.closed || channel.ends != kNever) return true;
           if (channel.control.empty() && channel.link->is_drained()) return true;
           // It may connect for as long as it may: nobody is there to hear what is kept for it.
           return !channel.open && options_.has_ended && options_.has_ended(channel.peer->address);
         });
}

void Engine::wait_descriptors(std::vector<int>& out) const {
  for (const auto& transport : transports_) {
    if (const int descriptor = transport->wait_descriptor(); descriptor >= 0) out.push_back(descriptor);
  }
}

bool Engine::prepare_wait() {
  std::size_t prepared = 0;
  while (prepared < transports_.size() && transports_[prepared]->prepare_wait()) ++prepared;
  bool idle = prepared == transports_.size();
  // A board is written behind the transports' backs: look once more now that writers know that we sleep.
  for (std::size_t i = 0; idle && i < boards_active_.size(); ++i) idle = run_board(*boards_active_[i], now_) == 0;
  if (idle) return true;
  for (std::size_t i = 0; i < prepared; ++i) transports_[i]->finish_wait();
  return false;
}

void Engine::finish_wait() {
  for (const auto& transport : transports_) transport->finish_wait();
}

}  // namespace tutti
