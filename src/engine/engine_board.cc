// Small operations through the board: every rank publishes its whole input once, and runs the receives, reduces and
// copies of its direct program on what the others have published. The messages of that program are views of the
// senders' inputs, so a message's bytes are found at their place in the sender's publication. See engine.h and
// board.h.
#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "src/engine/engine.h"

namespace tutti {

namespace {

constexpr std::uint32_t kForgotten = 0;  // the digest of a call that is not remembered

}  // namespace

void Engine::watch_board(Communicator& communicator) {
  if (communicator.board_watched_) return;
  communicator.board_watched_ = true;
  boards_active_.push_back(&communicator);
}

void Engine::link_board(Communicator& communicator, Instant now) {
  if (communicator.board_linked_) return;
  const std::uint64_t capacity = communicator.planner_->shape().board_bytes;
  bool all_open = true;
  std::vector<std::byte*> parts;
  communicator.board_channels_.assign(communicator.members_.size(), nullptr);
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    const auto index = static_cast<std::size_t>(rank);
    Member& member = communicator.members_[index];
    if (member.board_offset % Board::kLine != 0 || member.board_offset > segment_transport_->segment_bytes() ||
        segment_transport_->segment_bytes() - member.board_offset < Board::member_bytes(capacity)) {
      return fail_communicator(
          communicator,
          Status(Code::internal, format("{}: {} offers a board at {}, outside its segment", communicator.name_,
                                        communicator.describe(rank), member.board_offset)),
          now);
    }
    if (rank == communicator.rank_) {
      parts.push_back(segment_transport_->segment() + member.board_offset);
      continue;
    }
    const Result<Channel*> channel = channel_to(*member.peer, 0, now);
    if (!channel) return cannot_reach(communicator, rank, channel.status(), now);
    communicator.board_channels_[index] = *channel;
    all_open &= (*channel)->open;
    if (!all_open) continue;
    std::byte* const segment = member.peer->address.process == options_.process ? segment_transport_->segment()
                                                                                : (*channel)->link->segment();
    parts.push_back(segment + member.board_offset);
  }
  if (!all_open) return;
  const auto tag = static_cast<std::uint32_t>(communicator.id_ ^ communicator.id_ >> 32) | 1;
  communicator.board_ =
      std::make_unique<Board>(std::move(parts), static_cast<std::uint32_t>(communicator.rank_), capacity, tag);
  communicator.board_linked_ = true;
  if (communicator.council_ && communicator.council_->reached.here() > 0) {  // by links, before
    communicator.board_->reach(communicator.council_->reached.here());
    ring_board(communicator);
  }
}

std::size_t Engine::run_board(Communicator& communicator, Instant now) {
  if (!communicator.board_linked_) {
    link_board(communicator, now);
    if (!communicator.board_linked_) return 0;
    for (Operation* operation : std::vector<Operation*>(communicator.on_board_.begin(), communicator.on_board_.end()))
      fail_if_orphaned(*operation, now);
  }
  std::size_t done = 0;
  while (!communicator.on_board_.empty() && communicator.failure_.is_ok()) {
    Operation& operation = *communicator.on_board_.front();
    const bool was_published = operation.published_;
    if (!advance_board(operation, now)) {
      done += operation.published_ != was_published;
      break;
    }
    ++done;
    if (!communicator.failure_.is_ok()) break;
    communicator.on_board_.pop_front();
    communicator.board_->consume(operation.number_);
    ring_board(communicator);  // whoever waits for a free cell
    for (const Recorder::Peer& peer : operation.board_records_) recorder_.end_peer(peer, Code::ok);
    operation.board_records_.clear();
    finish(operation, now);
  }
  // Those behind the first may show what they have, so that they wait for each other only once. Strictly in order: a
  // later one that took the cell which the first is waiting for would never be consumed.
  for (std::size_t i = 0; i < communicator.on_board_.size() && communicator.failure_.is_ok(); ++i) {
    if (communicator.on_board_[i]->published_) continue;
    if (!publish(*communicator.on_board_[i], now)) break;
    ++done;
  }
  if (communicator.council_) done += commit_reached(communicator, now);
  return done;
}

// Wakes the members that sleep: something on this rank's part has changed.
void Engine::ring_board(const Communicator& communicator) {
  for (Channel* channel : communicator.board_channels_) {
    if (channel != nullptr && channel->open) channel->link->notify();
  }
}

// Shows this rank's input to all. False while somebody may still read what its cell holds.
bool Engine::publish(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  const CompiledPlan& plan = *operation.plan_;
  if (plan.sends) {
    Board& board = *communicator.board_;
    std::byte* const cell = board.begin(operation.number_);
    if (cell == nullptr) return false;
    if (plan.input_bytes > 0)
      std::memcpy(cell, operation.job_.bases[static_cast<int>(Buffer::input)], plan.input_bytes);
    Frame shown = operation.job_.frame;
    shown.message = digest_before(communicator, operation.number_);
    board.publish(operation.number_, shown.pack(), static_cast<std::uint32_t>(plan.input_bytes));
    communicator.board_published_ = operation.number_;
    ring_board(communicator);
  }
  operation.published_ = true;
  const CompiledLane& lane = plan.lanes[0];
  operation.board_records_.clear();
  for (const CompiledPeer& peer : lane.peers) {
    if (peer.inbound.count == 0) continue;
    RecordedPeer record;
    record.rank = peer.rank;
    record.direction = Direction::receive;
    record.transport = segment_record_;
    record.bytes = lane.steps[lane.inbound[peer.inbound.begin].step].bytes;
    operation.board_records_.push_back(recorder_.begin_peer(operation.record_, record, now));
  }
  const std::uint64_t scratch = lane.scratch_bytes;
  if (scratch > 0) operation.job_.bases[static_cast<int>(Buffer::scratch)] = operation.scratch_.data();
  return true;
}

// True when the operation is done.
bool Engine::advance_board(Operation& operation, Instant now) {
  if (!operation.published_ && !publish(operation, now)) return false;
  const CompiledLane& lane = operation.plan_->lanes[0];
  while (operation.board_step_ < lane.steps.size()) {
    if (!board_step(operation, lane.steps[operation.board_step_])) return false;
    if (!operation.communicator_->failure_.is_ok()) return false;
    ++operation.board_step_;
  }
  return true;
}

// Where a peer's publication for this operation is, from this rank's part on; null if it is not there yet.
const std::byte* Engine::board_data(Operation& operation, std::uint32_t peer) {
  Communicator& communicator = *operation.communicator_;
  const CompiledLane& lane = operation.plan_->lanes[0];
  const CompiledPeer& from = lane.peers[peer];
  Board& board = *communicator.board_;
  const auto member = static_cast<std::uint32_t>(from.rank);
  const Board::CellHead* const cell = board.peek(member, operation.number_);
  if (cell == nullptr || cell->header.words[0] != communicator.id_) return nullptr;
  const Frame frame = Frame::unpack(cell->header);
  // A root publishes more than others do, so what counts is that it holds what is read here.
  const std::uint64_t needed =
      operation.plan_->board_offset + lane.steps[lane.inbound[from.inbound.begin].step].bytes;
  if (frame.signature != operation.signature_ || cell->bytes < needed) {
    mismatch(communicator, operation.signature_, from.rank, frame.signature, operation.number_, now_);
    return nullptr;
  }
  const std::uint32_t mine = digest_before(communicator, operation.number_);
  const bool comparable = mine != kForgotten && frame.message != kForgotten;
  if (comparable && frame.message != mine && communicator.doubted_ != operation.number_)
    doubt_previous(operation, from.rank);
  return board.payload_of(member, operation.number_) + operation.plan_->board_offset;
}

// Of the call before. Not everybody reads what everybody publishes: that two ranks meant different roots may show in
// nothing that either of them reads. So every publication also says what its rank had called before.
// kForgotten if that is too long ago: more operations may be in flight than are remembered.
std::uint32_t Engine::digest_before(const Communicator& communicator, std::uint32_t number) {
  if (communicator.next_number_ - (number - 1) > Communicator::kHistory) return kForgotten;
  const Signature& before = communicator.history_[(number - 1) % Communicator::kHistory];
  const std::uint64_t mixed = (before.word() ^ before.count * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
  return static_cast<std::uint32_t>(mixed >> 32) | 1;
}

// The rank has called something else before this operation: asks it about that one, so that it finds the mismatch.
void Engine::doubt_previous(const Operation& operation, Rank rank) {
  Communicator& communicator = *operation.communicator_;
  Channel* const channel = communicator.board_channels_[static_cast<std::size_t>(rank)];
  if (channel == nullptr) return;
  communicator.doubted_ = operation.number_;
  Frame frame = operation.job_.frame;
  frame.kind = FrameKind::probe;
  frame.target = rank;
  frame.number = operation.number_ - 1;
  frame.signature = communicator.history_[frame.number % Communicator::kHistory];
  wire_.send_control(*channel, frame);
}

bool Engine::board_step(Operation& operation, const CompiledStep& step) {
  const LaneRun::Job& job = operation.job_;
  const auto at = [&](const Place& place) { return job.bases[static_cast<int>(place.buffer)] + place.offset; };
  switch (step.kind) {
    case StepKind::send:
      return true;
    case StepKind::receive: {
      const std::byte* const data = board_data(operation, step.peer);
      if (data == nullptr) return false;
      std::memcpy(at(step.target), data, step.bytes);
      return true;
    }
    case StepKind::copy: {
      const std::byte* const source = at(step.source);
      Reduction reduction = job.reduction;
      reduction.divisor = job.divisor;
      if (step.finish && job.divisor > 1) {
        job.reduce(reduction, at(step.target), {&source, 1}, step.bytes / job.element_bytes);
      } else if (source != at(step.target)) {
        std::memcpy(at(step.target), source, step.bytes);
      }
      return true;
    }
    case StepKind::reduce:
      break;
  }
  board_sources_.clear();
  const CompiledLane& lane = operation.plan_->lanes[0];
  for (std::uint32_t i = step.operands.begin; i < step.operands.begin + step.operands.count; ++i) {
    const CompiledOperand& operand = lane.operands[i];
    const std::byte* const data =
        operand.peer == CompiledOperand::kLocal ? at(operand.local) : board_data(operation, operand.peer);
    if (data == nullptr) return false;
    board_sources_.push_back(data);
  }
  Reduction reduction = job.reduction;
  reduction.divisor = step.finish && job.divisor > 1 ? job.divisor : 0;
  job.reduce(reduction, at(step.target), board_sources_, step.bytes / job.element_bytes);
  return true;
}

// Whether the operation still has to see what the rank publishes.
bool Engine::board_needs(const Operation& operation, Rank rank) const {
  const Communicator& communicator = *operation.communicator_;
  const CompiledLane& lane = operation.plan_->lanes[0];
  const int peer = lane.find_peer(rank);
  if (peer < 0 || lane.peers[static_cast<std::size_t>(peer)].inbound.count == 0) return false;
  if (!communicator.board_linked_) return true;
  return communicator.board_->peek(static_cast<std::uint32_t>(rank), operation.number_) == nullptr;
}

// Whether the operation cannot show its input before the rank has used what lies in that place.
bool Engine::board_waits_to_publish(const Operation& operation, Rank rank) const {
  if (operation.published_ || !operation.plan_->sends) return false;
  return !operation.communicator_->board_->is_free_of(static_cast<std::uint32_t>(rank), operation.number_);
}

}  // namespace tutti
