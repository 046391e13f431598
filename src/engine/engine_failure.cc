// What goes wrong with operations and their communicators, and how an operation that waits learns for whom. See
// engine.h.
#include <algorithm>

#include "src/base/format.h"
#include "src/engine/engine.h"

namespace tutti {

namespace {
constexpr Nanoseconds kProbesAtMost = std::chrono::seconds(5);
constexpr Nanoseconds kDrainTime = std::chrono::seconds(2);
}  // namespace

// One operation that goes wrong takes its communicator with it.
void Engine::fail(Operation& operation, const Status& why, Instant now) {
  fail_communicator(*operation.communicator_, why, now);
}

void Engine::fail_communicator(Communicator& communicator, const Status& why, Instant now) {
  if (!communicator.failure_.is_ok()) return;
  if (communicator.council_) return freeze(communicator, why, true, now);
  communicator.failure_ = why;
  options_.log.write(LogLevel::error, "comm", "{}", why.text());
  tell_failure(communicator);
  let_all_go(communicator, why, now);
}

void Engine::let_all_go(Communicator& communicator, const Status& why, Instant now) {
  communicator.on_board_.clear();
  for (Operation* operation : std::vector<Operation*>(operations_)) {
    if (operation->communicator_ == &communicator && operation->is_under_way()) let_go(*operation, why, now);
  }
  forget_early(communicator);
}

// Neither this engine nor, as soon as it has drained, a transport has anything to do with the caller's memory any
// more.
void Engine::let_go(Operation& operation, const Status& why, Instant now) {
  operation.failure_ = why;
  if (operation.on_board_ || operation.state_ == Operation::State::connecting) {
    for (const Recorder::Peer& peer : operation.board_records_) recorder_.end_peer(peer, why.code());
    operation.board_records_.clear();
    if (!operation.communicator_->council_) return complete(operation, why, now);
    operation.state_ = Operation::State::frozen;
    return;
  }
  operation.state_ = Operation::State::draining;
  operation.deadline_ = now + kDrainTime;
  for (std::size_t l = 0; l < operation.plan_->lanes.size(); ++l) operation.runs_[l]->abandon(wire_);
  settle(operation, now);
}

void Engine::forget_early(Communicator& communicator) {
  for (auto& [number, frames] : communicator.early_) {
    for (const EarlyFrame& early : frames) drop(early.arrival);
  }
  for (auto& [key, frames] : communicator.early_points_) {
    for (const EarlyFrame& early : frames) drop(early.arrival);
  }
  communicator.early_.clear();
  communicator.early_points_.clear();
}

// Asks those whom the operation waits for where they are. A mismatch comes back as a failure.
void Engine::probe(Operation& operation, Instant now) {
  operation.probe_interval_ = std::min(operation.probe_interval_ * 2, kProbesAtMost);
  operation.next_probe_ = now + operation.probe_interval_;
  Communicator& communicator = *operation.communicator_;
  operation.positions_.clear();
  Frame frame = operation.job_.frame;
  frame.kind = FrameKind::probe;
  frame.to_sender = operation.point_to_point_ && !operation.sends_;
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    Peer& peer = *communicator.members_[static_cast<std::size_t>(rank)].peer;
    if (rank == communicator.rank_ || peer.channels.empty() || !peer.channels[0] || !waits_on(operation, rank))
      continue;
    frame.target = rank;
    wire_.send_control(*peer.channels[0], frame);
  }
}

bool Engine::waits_on(const Operation& operation, Rank rank) const {
  if (operation.on_board_) return board_needs(operation, rank);
  for (std::size_t l = 0; l < operation.plan_->lanes.size(); ++l) {
    const int p = operation.plan_->lanes[l].find_peer(rank);
    if (p < 0) continue;
    if (operation.state_ == Operation::State::connecting) return true;
    const LaneRun::PeerState& state = operation.runs_[l]->peers()[static_cast<std::size_t>(p)];
    if (state.to_receive > 0 || state.to_send > 0) return true;
  }
  return false;
}

std::string Engine::waiting_for(const Operation& operation) const {
  const Communicator& communicator = *operation.communicator_;
  if (operation.state_ == Operation::State::committing)
    return "it is complete on this rank, and not on all others; until it is, it may still have to be undone";
  constexpr int kNamed = 8;
  std::string text;
  int waits = 0;
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    if (!waits_on(operation, rank)) continue;
    if (++waits > kNamed) continue;
    const auto index = static_cast<std::size_t>(rank);
    const Peer& peer = *communicator.members_[index].peer;
    const bool connected =
        rank == communicator.rank_ || (!peer.channels.empty() && peer.channels[0] && peer.channels[0]->open);
    text += format("{}{}", waits > 1 ? "; " : "waiting for ", communicator.describe(rank));
    const Position position = index < operation.positions_.size() ? operation.positions_[index] : Position{};
    if (!connected) {
      text += ", not connected yet";
    } else if (position.absent < 0) {
      text += ", which is in it or cannot answer";
    } else if (position.absent == rank) {
      text += format(", which has not called it (its next is operation {})", position.next);
    } else {
      text += format(
          ", which is in it and itself waits, in the end for {}, which has not called it (its next is "
          "operation {})",
          communicator.describe(position.absent), position.next);
    }
  }
  if (waits > kNamed) text += format(" and {} more", waits - kNamed);
  return text.empty() ? "nothing is missing but time" : text;
}

// The rank whose absence the operation waits for, as far as is known; -1 if nobody has said.
Rank Engine::missing_in(const Operation& operation) const {
  for (Rank rank = 0; rank < static_cast<Rank>(operation.positions_.size()); ++rank) {
    const Rank absent = operation.positions_[static_cast<std::size_t>(rank)].absent;
    if (absent >= 0 && waits_on(operation, rank)) return absent;
  }
  return Status::kNobody;
}

}  // namespace tutti
