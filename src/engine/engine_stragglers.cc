// Whom an operation waits for: asking them, answering those who wait for us, and saying who is late. See
// stragglers.h.
#include <algorithm>
#include <limits>

#include "src/base/format.h"
#include "src/engine/engine.h"

namespace tutti {

namespace {

std::uint32_t milliseconds_of(Nanoseconds time) {
  const auto count = std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(count, 0, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

// From now on the operation waits for others than before, or has just begun.
void Engine::begin_asking(Operation& operation, Instant now) {
  operation.asked_ = Nanoseconds(-1);
  operation.probe_interval_ = operation.communicator_->stragglers_.first_question();
  operation.next_probe_ = now + operation.probe_interval_;
  operation.next_check_ = now;
}

// Asks those whom the operation waits for where they are. A mismatch comes back as a failure.
void Engine::probe(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  const StragglerPolicy& policy = communicator.stragglers_;
  operation.probe_interval_ = std::min(operation.probe_interval_ * 2, policy.interval());
  operation.next_probe_ = now + operation.probe_interval_;
  operation.late_.forget(now - policy.memory());
  if (operation.asked_ < Nanoseconds(0)) operation.asked_ = attentive_;
  Frame frame = operation.job_.frame;
  frame.kind = FrameKind::probe;
  frame.to_sender = operation.point_to_point_ && !operation.sends_;
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    Peer& peer = *communicator.members_[static_cast<std::size_t>(rank)].peer;
    if (rank == communicator.rank_ || peer.lost || !waits_on(operation, rank)) continue;
    judge_silence(operation, rank, now);
    const Result<Channel*> channel = channel_to(peer, 0, now);
    if (!channel || !(*channel)->open) continue;
    frame.target = rank;
    wire_.send_control(**channel, frame);
  }
}

void Engine::judge_silence(Operation& operation, Rank rank, Instant now) {
  const Communicator& communicator = *operation.communicator_;
  const Peer& peer = *communicator.members_[static_cast<std::size_t>(rank)].peer;
  const Nanoseconds silence = attentive_ - std::max(operation.asked_, peer.heard);
  if (silence < communicator.stragglers_.silence()) return operation.late_.has_answered(rank, communicator.rank_);
  const char state = options_.process_state ? options_.process_state(peer.address) : '\0';
  Straggler news;
  news.rank = rank;
  news.how = state == 'T' || state == 't' ? Lateness::stopped : Lateness::silent;
  news.seen_by = communicator.rank_;
  news.since = now - silence;
  news.seen = now;
  learn(operation, news, communicator.rank_, now);
}

bool Engine::waits_on(const Operation& operation, Rank rank) const {
  const Communicator& communicator = *operation.communicator_;
  const Peer& peer = *communicator.members_[static_cast<std::size_t>(rank)].peer;
  const bool is_open = !peer.channels.empty() && peer.channels[0] && peer.channels[0]->open;
  const bool uses_board = operation.on_board_ || communicator.board_wanted_;
  if (operation.state_ == Operation::State::committing) {
    if (!uses_board) return communicator.council_->reached.waits_for(rank, operation.number_);
    if (!communicator.board_linked_) return !is_open;
    return is_ahead(operation.number_, communicator.board_->reached(static_cast<std::uint32_t>(rank)));
  }
  if (operation.on_board_) {
    if (!communicator.board_linked_) return !is_open || board_needs(operation, rank);
    return board_needs(operation, rank) || board_waits_to_publish(operation, rank);
  }
  for (std::size_t l = 0; l < operation.plan_->lanes.size(); ++l) {
    const int p = operation.plan_->lanes[l].find_peer(rank);
    if (p < 0) continue;
    if (operation.state_ == Operation::State::connecting) {
      if (l >= peer.channels.size() || !peer.channels[l] || !peer.channels[l]->open) return true;
      continue;
    }
    const LaneRun::PeerState& state = operation.runs_[l]->peers()[static_cast<std::size_t>(p)];
    if (state.to_receive > 0 || state.to_send > 0) return true;
  }
  return false;
}

bool Engine::is_fresh(const Operation& operation, const Straggler& straggler, Instant now) const {
  return now - straggler.seen <= operation.communicator_->stragglers_.memory();
}

// Somebody waits for us in an operation.
void Engine::on_probe(Communicator& communicator, Channel& channel, const Frame& frame, Instant now) {
  if (!communicator.failure_.is_ok()) {
    communicator.failure_told_ = false;
    return tell_failure(communicator);
  }
  const auto& numbers = frame.to_sender ? communicator.sends_to_ : communicator.receives_from_;
  const std::uint32_t next =
      frame.point_to_point ? numbers[static_cast<std::size_t>(frame.source)] : communicator.next_number_;
  const bool called = is_ahead(next, frame.number);
  // A rank that is in an earlier operation may come as soon as that ends: whom that waits for is who is late.
  Operation* waiting = nullptr;
  if (!frame.point_to_point) {
    const bool has_earlier = !communicator.active_.empty();
    waiting = called ? communicator.find(frame.number) : has_earlier ? communicator.active_.front() : nullptr;
  }
  if (!called && waiting == nullptr) {
    Straggler self;
    self.rank = self.seen_by = communicator.rank_;
    self.how = Lateness::absent;
    self.next = next;
    self.since = self.seen = now;
    return answer(channel, frame, self, now);
  }
  if (called && waiting != nullptr) {
    auto& probed_by = waiting->probed_by_;
    if (std::find(probed_by.begin(), probed_by.end(), frame.source) == probed_by.end())
      probed_by.push_back(frame.source);
  }
  bool told = false;
  for (std::size_t i = 0; waiting != nullptr && i < waiting->late_.known().size(); ++i) {
    const Straggler& late = waiting->late_.known()[i];
    if (!is_fresh(*waiting, late, now) || late.rank == frame.source) continue;
    answer(channel, frame, late, now);
    told = true;
  }
  if (!told) answer(channel, frame, {}, now);
  if (frame.point_to_point || !called || communicator.next_number_ - frame.number > Communicator::kHistory) return;
  const Signature& mine = communicator.history_[frame.number % Communicator::kHistory];
  const bool fits = mine.per_message() ? mine.kind == frame.signature.kind && mine.type == frame.signature.type
                                       : mine == frame.signature;
  if (!fits) mismatch(communicator, mine, frame.source, frame.signature, frame.number, now);
}

// To whoever waits for us; `asked` is its probe.
void Engine::answer(Channel& channel, Frame asked, const Straggler& late, Instant now) {
  std::swap(asked.source, asked.target);
  asked.kind = FrameKind::position;
  asked.to_sender = asked.point_to_point && !asked.to_sender;
  asked.segment = static_cast<std::uint32_t>(late.rank);
  asked.lane = static_cast<std::uint8_t>(late.how);
  asked.message = late.next;
  asked.signature.root = late.seen_by;
  asked.signature.count =
      static_cast<std::uint64_t>(milliseconds_of(now - late.since)) << 32 | milliseconds_of(now - late.seen);
  wire_.send_control(channel, asked);
}

void Engine::on_position(Communicator& communicator, const Frame& frame, Instant now) {
  Operation* operation = nullptr;
  if (frame.point_to_point) {
    const auto found =
        communicator.points_.find(Communicator::point_key(frame.source, frame.to_sender, frame.number));
    if (found != communicator.points_.end()) operation = found->second;
  } else {
    operation = communicator.find(frame.number);
  }
  if (operation == nullptr) return;
  Straggler news;
  news.rank = static_cast<Rank>(frame.segment);
  news.how = static_cast<Lateness>(std::min(frame.lane, kLatenessMost));
  news.seen_by = frame.signature.root;
  news.next = frame.message;
  news.since = now - std::chrono::milliseconds(frame.signature.count >> 32);
  news.seen = now - std::chrono::milliseconds(frame.signature.count & 0xffffffff);
  if (news.rank == frame.source) {
    news.since = operation->posted_;
  } else {
    operation->late_.has_called(frame.source);
  }
  const auto exists = [&](Rank rank) { return rank >= 0 && rank < communicator.size(); };
  if (news.how == Lateness::none || !exists(news.rank) || !exists(news.seen_by) || news.rank == communicator.rank_ ||
      !is_fresh(*operation, news, now))
    return;
  learn(*operation, news, frame.source, now);
}

// Those who wait for us want to know as well.
void Engine::learn(Operation& operation, const Straggler& news, Rank from, Instant now) {
  Communicator& communicator = *operation.communicator_;
  if (!operation.late_.learn(news, communicator.stragglers_.interval() / 2)) return;
  Frame frame = operation.job_.frame;
  frame.target = communicator.rank_;
  for (const Rank rank : operation.probed_by_) {
    const Peer& peer = *communicator.members_[static_cast<std::size_t>(rank)].peer;
    if (rank == from || rank == news.rank || rank == news.seen_by || peer.channels.empty() || !peer.channels[0])
      continue;
    frame.source = rank;
    answer(*peer.channels[0], frame, *operation.late_.find(news.rank), now);
  }
}

// Says it once for each straggler, at the first of the operations that wait for it.
void Engine::report_stragglers(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  // Operations that wait behind one which ends now are given their time anew.
  const Instant since = std::max(operation.posted_, communicator.came_);
  if (operation.late_.empty() || now - since < communicator.stragglers_.timeout) return;
  for (const Straggler& late : operation.late_.known()) {
    const auto is_same = [&](const Communicator::Reported& each) { return each.rank == late.rank; };
    auto& reported = communicator.reported_;
    if (!is_fresh(operation, late, now) || std::any_of(reported.begin(), reported.end(), is_same)) continue;
    reported.push_back({late.rank, &operation});
    recorder_.note_straggler(operation.record_, late.rank);
    const std::string limit = operation.deadline_ == kNever
                                  ? "it has no deadline"
                                  : format("its deadline is in {}", format_duration(operation.deadline_ - now));
    options_.log.write(LogLevel::warn, "comm", "{} has waited for {}: {}. Nothing is ended by that; {}",
                       title(operation), format_duration(now - operation.posted_), describe(communicator, late, now),
                       limit);
  }
}

// By the policy of an elastic communicator: the others go on without those who have been late for so long.
void Engine::exclude_stragglers(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  const StragglerPolicy& policy = communicator.stragglers_;
  const Instant since = std::max(operation.posted_, communicator.came_);
  if (!policy.excludes || !communicator.council_ || now - since < policy.limit) return;
  std::vector<Rank>& excluded = communicator.council_->excluded;
  std::string causes;
  for (const Straggler& late : operation.late_.known()) {
    if (!is_fresh(operation, late, now) || now - late.since < policy.limit) continue;
    excluded.push_back(late.rank);
    causes += (causes.empty() ? "" : "; ") + describe(communicator, late, now);
  }
  if (excluded.empty()) return;
  fail(operation,
       Status(Code::peer_lost,
              format("{} has waited for {}: {}. Excluded by TUTTI_STRAGGLER_POLICY; call tutti_comm_refresh to go on "
                     "with the others",
                     title(operation), format_duration(now - since), causes),
              excluded.front()),
       now);
}

// At the operation's end. Others that still wait for the same ranks report them anew.
void Engine::forget_reported(const Operation& operation, bool came, Instant now) {
  Communicator& communicator = *operation.communicator_;
  if (communicator.reported_.empty()) return;  // as nearly always
  std::string names;
  const auto erased = std::erase_if(communicator.reported_, [&](const Communicator::Reported& each) {
    if (each.by != &operation) return false;
    if (came) names += (names.empty() ? "" : ", ") + communicator.describe(each.rank);
    return true;
  });
  if (erased == 0 || !came) return;
  communicator.came_ = now;
  options_.log.write(LogLevel::warn, "comm", "{} is complete after {}: {} came after all", title(operation),
                     format_duration(now - operation.posted_), names);
}

std::vector<StragglerReport> Engine::stragglers(const Communicator* communicator, Instant now) const {
  std::vector<StragglerReport> reports;
  for (const Communicator::Reported& each : communicator->reported_) {
    const Straggler* const late = each.by->late_.find(each.rank);
    if (late == nullptr || !is_fresh(*each.by, *late, now)) continue;
    reports.push_back({*late, each.by->number_, now - each.by->posted_});
  }
  std::sort(reports.begin(), reports.end(),
            [](const StragglerReport& a, const StragglerReport& b) { return a.who.rank < b.who.rank; });
  return reports;
}

std::string Engine::describe(const Communicator& communicator, const Straggler& late, Instant now) const {
  const std::string name = communicator.describe(late.rank);
  if (late.how == Lateness::absent) return format("{} has not called it (its next is operation {})", name, late.next);
  const std::string listener = late.seen_by == communicator.rank_ ? "this rank" : communicator.describe(late.seen_by);
  const std::string heard = format("{} has not heard it for {}", listener, format_duration(now - late.since));
  if (late.how == Lateness::stopped) return format("{} is stopped (state T); {}", name, heard);
  const Peer& peer = *communicator.members_[static_cast<std::size_t>(late.rank)].peer;
  const char state = options_.process_state ? options_.process_state(peer.address) : '\0';
  if (state != '\0') return format("{} does not answer, and its process is in state {}; {}", name, state, heard);
  return format("{} does not answer: it is stopped or very busy, or the way to it is cut; {}", name, heard);
}

// For the sentence of a deadline.
std::string Engine::waiting_for(const Operation& operation, Instant now) const {
  const Communicator& communicator = *operation.communicator_;
  constexpr int kNamed = 8;
  std::string text;
  int waits = 0;
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    if (rank == communicator.rank_ || !waits_on(operation, rank)) continue;
    if (++waits > kNamed) continue;
    const Peer& peer = *communicator.members_[static_cast<std::size_t>(rank)].peer;
    const bool connected = !peer.channels.empty() && peer.channels[0] && peer.channels[0]->open;
    const Straggler* const late = operation.late_.find(rank);
    text += waits > 1 ? "; " : "waiting for ";
    if (!connected) {
      text += communicator.describe(rank) + ", not connected yet";
    } else if (late == nullptr || !is_fresh(operation, *late, now)) {
      text += communicator.describe(rank) + ", which is in it or has not answered yet";
    } else if (late->how == Lateness::absent) {
      text +=
          format("{}, which has not called it (its next is operation {})", communicator.describe(rank), late->next);
    } else {
      text += describe(communicator, *late, now);
    }
  }
  if (waits > kNamed) text += format(" and {} more", waits - kNamed);
  for (const Straggler& late : operation.late_.known()) {
    if (!waits_on(operation, late.rank) && is_fresh(operation, late, now))
      text += "; in the end it waits since " + describe(communicator, late, now);
  }
  if (text.empty()) text = "nothing is missing but time";
  const bool is_part_done =
      operation.state_ == Operation::State::committing && operation.signature_.kind != CallKind::agree;
  if (!is_part_done) return text;
  return "it is complete on this rank, and not on all others; until it is, it may still have to be undone; " + text;
}

// The rank that is to blame for a deadline, as far as is known: the first of those who are late.
Rank Engine::missing_in(const Operation& operation, Instant now) const {
  for (const Straggler& late : operation.late_.known()) {
    if (is_fresh(operation, late, now)) return late.rank;
  }
  return Status::kNobody;
}

}  // namespace tutti
