// What goes wrong with operations and their communicators. See engine.h.
#include "src/engine/engine.h"

namespace tutti {

namespace {
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
  operation.deadline_ = operation.next_check_ = now + kDrainTime;
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

}  // namespace tutti
