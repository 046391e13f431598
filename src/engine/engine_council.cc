// Elastic communicators: operations that are complete only when they are so on every member, and what happens when
// something goes wrong. See council.h, and verdict.h for why the outcome is the same on every survivor.
#include <algorithm>

#include "src/base/format.h"
#include "src/engine/engine.h"
#include "src/engine/roll.h"

namespace tutti {

namespace {

constexpr std::uint32_t kOnVerdict = 1;  // the agreements of a council, in Frame::message
constexpr std::uint32_t kOnNext = 2;
constexpr std::size_t kEarlyBytesMax = 4 * kAgreementValueBytes;
constexpr Nanoseconds kRetry = std::chrono::milliseconds(20);

// Of those who are not lost. What cannot be read was written by nobody who takes part.
std::vector<std::optional<Testimony>> decode_all(const Agreement::Contributions& contributions,
                                                 const MemberSet& lost) {
  std::vector<std::optional<Testimony>> testimonies(contributions.size());
  for (std::size_t m = 0; m < contributions.size(); ++m) {
    if (!contributions[m] || lost.contains(static_cast<std::uint32_t>(m))) continue;
    auto testimony = Testimony::decode(*contributions[m], static_cast<Rank>(contributions.size()));
    if (testimony) testimonies[m] = *std::move(testimony);
  }
  return testimonies;
}

// Of those who are there: who has called, and was lost or has left since then, would be waited for in the next view,
// too.
std::string call_roll(const Agreement::Contributions& heard, const MemberSet& lost) {
  Agreement::Contributions there(heard.size());
  for (std::size_t m = 0; m < heard.size(); ++m) {
    if (!lost.contains(static_cast<std::uint32_t>(m))) there[m] = heard[m];
  }
  return encode_roll(there);
}

// Where nobody saw why a member is lost, it did not answer.
Verdict name_lost(Verdict verdict, const Communicator& communicator) {
  if (verdict.has_lost(verdict.why.culprit())) return verdict;
  std::vector<Rank> silent;
  std::string names;
  for (const Rank rank : verdict.lost) {
    if (communicator.has_left(rank)) continue;
    silent.push_back(rank);
    names += (names.empty() ? "" : ", ") + communicator.describe(rank);
  }
  if (silent.empty()) return verdict;
  verdict.why =
      Status(Code::peer_lost,
             format("{}; then {} did not answer when the members agreed on how to go on, and {} left behind",
                    verdict.why.text(), names, silent.size() == 1 ? "is" : "are"),
             silent.front());
  return verdict;
}

}  // namespace

// What the operation will overwrite of its own input is kept until its outcome is certain.
void Engine::keep_input(Operation& operation, const OperationRequest& request) {
  const Council* const council = operation.communicator_->council_.get();
  const bool overwrites = request.kind == CallKind::all_reduce || request.kind == CallKind::reduce ||
                          request.kind == CallKind::reduce_scatter || request.kind == CallKind::reduce_scatter_v ||
                          request.kind == CallKind::all_to_all;
  const std::uint64_t bytes = operation.plan_->input_bytes;
  if (council == nullptr || council->by_step || !request.in_place || !overwrites || bytes == 0) return;
  operation.kept_.begin(const_cast<std::byte*>(request.input), bytes);
  operation.job_.kept = &operation.kept_;
  if (operation.on_board_) operation.kept_.before_write(request.input, bytes);
}

// The operation is done on this rank.
void Engine::finish(Operation& operation, Instant now) {
  Communicator& communicator = *operation.communicator_;
  if (!communicator.council_ || operation.point_to_point_) return complete(operation, {}, now);
  const bool waits = !communicator.council_->by_step || operation.signature_.kind == CallKind::agree;
  if (waits) {
    end_runs(operation, Code::ok);
    operation.state_ = Operation::State::committing;
    begin_asking(operation, now);
  } else {
    complete(operation, {}, now);
  }
  spread_reached(communicator, now);
}

// Tells the others how far this rank has come, and completes what all have reached.
void Engine::spread_reached(Communicator& communicator, Instant now) {
  Reached& reached = communicator.council_->reached;
  const std::uint32_t complete = communicator.first_number_ - 1;
  std::uint32_t number = is_ahead(complete, reached.here()) ? complete : reached.here();
  while (true) {
    const std::uint32_t index = number + 1 - communicator.first_number_;
    if (index >= communicator.active_.size()) break;
    const Operation* const next = communicator.active_[index];
    if (next != nullptr && next->state_ != Operation::State::committing) break;
    ++number;
  }
  const bool moved = number != reached.here();
  reached.here(number);
  const bool somebody_waits =
      !communicator.active_.empty() && communicator.active_.front()->state_ == Operation::State::committing;
  if (communicator.council_->by_step && !somebody_waits) return;
  if (communicator.board_wanted_) {
    if (somebody_waits) watch_board(communicator);
    if (!communicator.board_linked_) link_board(communicator, now);
    if (!communicator.board_linked_ || !communicator.failure_.is_ok()) return;
    if (moved || communicator.council_->by_step) {
      communicator.board_->reach(number);
      ring_board(communicator);
    }
  } else {
    Frame frame;
    frame.communicator = communicator.id_;
    frame.kind = FrameKind::reached;
    frame.source = communicator.rank_;
    while (const auto word = reached.next()) {
      frame.target = word->to;
      frame.message = word->level;
      frame.number = word->number;
      const Member& member = communicator.members_[static_cast<std::size_t>(word->to)];
      if (member.gone) continue;
      const Result<Channel*> channel = channel_to(*member.peer, 0, now);
      if (!channel) return cannot_reach(communicator, word->to, channel.status(), now);
      wire_.send_control(**channel, frame);
    }
  }
  commit_reached(communicator, now);
}

void Engine::cannot_reach(Communicator& communicator, Rank rank, const Status& why, Instant now) {
  const std::string text =
      format("{}: {} cannot be reached: {}", communicator.name_, communicator.describe(rank), why.text());
  fail_communicator(communicator, Status(why.code(), text, rank), now);
}

std::size_t Engine::commit_reached(Communicator& communicator, Instant now) {
  if (communicator.council_->stage != Council::Stage::working) return 0;
  if (communicator.board_wanted_ && !communicator.board_linked_) return 0;
  const std::uint32_t everywhere =
      communicator.board_wanted_ ? communicator.board_->least_reached() : communicator.council_->reached.everywhere();
  std::size_t done = 0;
  while (!communicator.active_.empty()) {
    Operation& first = *communicator.active_.front();
    if (first.state_ != Operation::State::committing || is_ahead(first.number_, everywhere)) break;
    complete(first, {}, now);
    ++done;
  }
  return done;
}

void Engine::on_reached(Communicator& communicator, const Frame& frame, Instant now) {
  if (!communicator.council_ || communicator.council_->stage != Council::Stage::working) return;
  if (!communicator.council_->reached.heard(frame.source, frame.message, frame.number)) {
    options_.log.write(LogLevel::warn, "engine", "{}: {} tells of level {}, which is not its to tell; dropped",
                       communicator.name_, communicator.describe(frame.source), frame.message);
    return;
  }
  spread_reached(communicator, now);
}

// Ends the work on the communicator until the members have agreed on how it ended.
void Engine::freeze(Communicator& communicator, const Status& why, bool first_hand, Instant now) {
  Council& council = *communicator.council_;
  if (council.stage != Council::Stage::working) return;
  council.stage = Council::Stage::frozen;
  council.frozen_since = attentive_;
  council.asks_next = now + options_.silence_limit / 4;
  councils_.push_back(&communicator);
  communicator.failure_ = why;
  const bool is_trouble = first_hand && why.code() != Code::aborted;  // others only ask, or somebody wants a refresh
  options_.log.write(is_trouble ? LogLevel::warn : LogLevel::info, "comm", "{}", why.text());
  Testimony testimony;
  testimony.complete = council.reached.here();
  testimony.first_hand = first_hand;
  testimony.failure = why;
  testimony.excluded = council.excluded;
  let_all_go(communicator, why, now);
  Agreement::Options options;
  options.members = static_cast<std::uint32_t>(communicator.size());
  options.self = static_cast<std::uint32_t>(communicator.rank_);
  options.quorum = {std::min(council.minimum, options.members), council.casting_on_verdict()};
  options.tag = communicator.id_;
  options.retry = kRetry;
  council.on_verdict = std::make_unique<Agreement>(
      options, [&communicator](const Agreement::Contributions& heard, const MemberSet& lost) {
        return name_lost(judge(decode_all(heard, lost)), communicator).encode();
      });
  look_around(communicator, now);
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    if (council.seats[static_cast<std::size_t>(rank)].suspected) testimony.suspects.push_back(rank);
    if (rank != communicator.rank_) send_council(communicator, rank, kOnVerdict, {}, now);
  }
  council.on_verdict->start(testimony.encode(), now);
  advance_council(communicator, now);
}

// This rank's end is destroyed: its operations end here, and the others go on without it.
void Engine::leave_council(Communicator& communicator, const Status& why, Instant now) {
  Council& council = *communicator.council_;
  if (!council.is_over()) council.stage = Council::Stage::stopped;
  if (communicator.failure_.is_ok()) communicator.failure_ = why;
  let_all_go(communicator, communicator.failure_, now);
  end_operations(communicator, now);
}

// A process is lost. If a member of the communicator lived in it, nothing can be complete on all members any more.
void Engine::lose_member(Communicator& communicator, const Peer& peer, Instant now) {
  if (communicator.council_->stage != Council::Stage::working) {
    if (communicator.council_->has_work()) look_around(communicator, now);
    return advance_council(communicator, now);
  }
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    const Member& member = communicator.members_[static_cast<std::size_t>(rank)];
    if (member.peer != &peer || (member.gone && !still_needs(communicator, rank))) continue;
    const Code code = peer.why.code() == Code::aborted ? Code::peer_lost : peer.why.code();
    return freeze(
        communicator,
        Status(code, format("{}: {} is lost: {}", communicator.name_, communicator.describe(rank), peer.why.text()),
               rank),
        true, now);
  }
}

// Whether an operation is under way that a member which is gone had not completed before.
bool Engine::still_needs(const Communicator& communicator, Rank rank) {
  const std::uint32_t left_after = communicator.members_[static_cast<std::size_t>(rank)].left_after;
  if (!communicator.active_.empty() && is_ahead(communicator.next_number_ - 1, left_after)) return true;
  return std::any_of(communicator.points_.begin(), communicator.points_.end(),
                     [&](const auto& entry) { return entry.second->peer_ == rank; });
}

// A member has destroyed its end, after it had completed operation frame.number.
void Engine::miss_member(Communicator& communicator, const Frame& frame, Instant now) {
  Council& council = *communicator.council_;
  Member& member = communicator.members_[static_cast<std::size_t>(frame.source)];
  member.left_after = frame.number;
  member.left_for_good = (frame.segment & kForGood) != 0;
  member.left_properly = (frame.segment & kLeaves) != 0;
  if (council.stage != Council::Stage::working) {
    if (council.stage == Council::Stage::stopped) return;
    look_around(communicator, now);
    return advance_council(communicator, now);
  }
  if (!still_needs(communicator, frame.source)) return;
  freeze(communicator, departure(communicator, frame.source).prefixed(communicator.name_), true, now);
}

// Why nothing more comes from a member that is gone.
Status Engine::departure(const Communicator& communicator, Rank rank) {
  const Member& member = communicator.members_[static_cast<std::size_t>(rank)];
  if (member.left_properly) {
    return {Code::aborted,
            format("{} leaves the communicator after operation {}; call tutti_comm_refresh, and go on without it",
                   communicator.describe(rank), member.left_after),
            rank};
  }
  std::string text = format("{} has destroyed the communicator", communicator.describe(rank));
  if (communicator.council_) text += format(" after operation {}", member.left_after);
  return {Code::peer_lost, text + " and is still needed", rank};
}

// Who cannot be reached, and of whom it is certain.
void Engine::look_around(Communicator& communicator, Instant now) {
  Council& council = *communicator.council_;
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    if (rank == communicator.rank_) continue;
    const Member& member = communicator.members_[static_cast<std::size_t>(rank)];
    const Nanoseconds heard = council.seats[static_cast<std::size_t>(rank)].heard;
    // Once there is a verdict, nobody has to say anything before it calls the refresh.
    const bool has_to_speak = council.stage == Council::Stage::frozen || heard < Nanoseconds(0);
    const bool silent = has_to_speak && attentive_ - std::max(heard, council.frozen_since) >= options_.silence_limit;
    if (!member.gone && !member.peer->lost && !silent) continue;
    const bool certain = member.left_for_good || (has_died(*member.peer, now) && !council.was_absent);
    suspect(communicator, rank, certain, now);
    if (silent) shut_out(*member.peer);
  }
}

// A death proves that a member has no part in what follows only if it was still with this one when it died: who
// closed the link before may have gone on, with others, and ended afterwards.
bool Engine::has_died(Peer& peer, Instant now) const {
  constexpr Nanoseconds kDying = std::chrono::milliseconds(200);  // its links close a moment before it is gone
  if (peer.lost && !peer.died && !peer.goes_on && now - peer.lost_since <= kDying)
    peer.died = options_.has_ended && options_.has_ended(peer.address);
  return peer.died;
}

// The others leave behind whoever is silent for silence_limit. A process that has not run for nearly as long cannot
// tell whether they have, and takes no death of theirs for a proof any more.
void Engine::notice_absence(Instant now) {
  if (!has_run_ || now - now_ < options_.silence_limit * 3 / 4) return;
  for (const auto& [key, communicator] : communicators_) {
    if (communicator->council_) communicator->council_->was_absent = true;
  }
}

// Whoever is suspected has to know it: it may be alive, and wait for an answer from here.
void Engine::shut_out(Peer& peer) {
  peer.shut_out = true;
  for (const auto& channel : peer.channels) {
    if (!channel || channel->closed) continue;
    if (channel->open) {
      Frame frame;
      frame.kind = FrameKind::shut_out;
      wire_.send_control(*channel, frame);
    }
    channel->link->close(
        Status(Code::peer_lost, format("{} was silent for {} while the others agreed on how to go on",
                                       peer.address.describe(), format_duration(options_.silence_limit))));
  }
}

void Engine::suspect(Communicator& communicator, Rank rank, bool certain, Instant now) {
  Council& council = *communicator.council_;
  Council::Seat& seat = council.seats[static_cast<std::size_t>(rank)];
  if (seat.suspected && (seat.certain || !certain)) return;
  seat.suspected = true;
  seat.certain = certain;
  council.on_verdict->suspect(static_cast<std::uint32_t>(rank), certain ? Loss::ended : Loss::silent, now);
  if (council.on_next) suspect_in_next(council, rank, now);
}

void Engine::suspect_in_next(Council& council, Rank rank, Instant now) {
  const auto place = council.place_of(rank);
  if (!place) return;
  council.on_next->suspect(*place, council.seats[static_cast<std::size_t>(rank)].certain ? Loss::ended : Loss::silent,
                           now);
}

void Engine::send_council(Communicator& communicator, Rank rank, std::uint32_t agreement,
                          std::span<const std::byte> payload, Instant now) {
  const Member& member = communicator.members_[static_cast<std::size_t>(rank)];
  if (member.gone) return;
  const Result<Channel*> channel = channel_to(*member.peer, 0, now);
  if (!channel) return suspect(communicator, rank, false, now);
  Frame frame;
  frame.communicator = communicator.id_;
  frame.kind = FrameKind::council;
  frame.source = communicator.rank_;
  frame.target = rank;
  frame.message = agreement;
  wire_.send_control(**channel, frame, payload);
}

void Engine::on_council(Communicator& communicator, const Frame& frame, Arrival* arrival, Instant now) {
  std::vector<std::byte> bytes;
  const bool is_whole =
      arrival->state == Arrival::State::readable && (arrival->bytes == 0 || arrival->data != nullptr);
  if (is_whole) bytes.assign(arrival->data, arrival->data + arrival->bytes);
  drop(arrival);
  if (!is_whole || !communicator.council_) return;
  Council& council = *communicator.council_;
  if (council.stage == Council::Stage::stopped) return;
  freeze(communicator,
         Status(Code::aborted, format("{}: {} has stopped and asks how its operations are to end", communicator.name_,
                                      communicator.describe(frame.source))),
         false, now);
  Council::Seat& seat = council.seats[static_cast<std::size_t>(frame.source)];
  seat.heard = attentive_;
  if (frame.message == kOnNext) seat.stays = true;
  if (bytes.empty()) return;
  Status received;
  if (frame.message == kOnVerdict) {
    received = council.on_verdict->receive(static_cast<std::uint32_t>(frame.source), bytes, now);
  } else {
    // It may have its verdict, and ask about what follows, before this member has it.
    if (council.stage != Council::Stage::judged) {
      // More than this is no member's to say meanwhile; what is lost is asked for again.
      if (seat.early_bytes + bytes.size() + kFrameCost > kEarlyBytesMax) return;
      seat.early_bytes += bytes.size() + kFrameCost;
      council.early_next.emplace_back(frame.source, std::move(bytes));
      return;
    }
    received = receive_next(communicator, frame.source, bytes, now);
  }
  if (!received) {
    options_.log.write(LogLevel::warn, "engine", "{}: {} sent what no member says: {}; dropped", communicator.name_,
                       communicator.describe(frame.source), received.text());
  }
  advance_council(communicator, now);
}

Status Engine::receive_next(Communicator& communicator, Rank rank, std::span<const std::byte> bytes, Instant now) {
  Council& council = *communicator.council_;
  const auto place = council.place_of(rank);
  for (const Rank each : {rank, communicator.rank_}) {
    if (!council.place_of(each))
      return {Code::invalid, format("{} is lost, by the verdict", communicator.describe(each))};
  }
  if (!council.on_next) open_next(communicator, now);
  return council.on_next->receive(*place, bytes, now);
}

void Engine::open_next(Communicator& communicator, Instant now) {
  Council& council = *communicator.council_;
  Agreement::Options options;
  options.members = static_cast<std::uint32_t>(council.survivors.size());
  options.self = *council.place_of(communicator.rank_);
  options.quorum.casting = council.casting_on_next();
  options.tag = ~communicator.id_;
  options.retry = kRetry;
  council.on_next = std::make_unique<Agreement>(options, call_roll);
  for (const Rank rank : council.survivors) {
    if (council.seats[static_cast<std::size_t>(rank)].suspected) suspect_in_next(council, rank, now);
  }
}

Status Engine::begin_next(Communicator* communicator, std::string contribution, Instant now) {
  Council& council = *communicator->council_;
  if (council.stage != Council::Stage::judged || communicator->verdict_excludes_self()) return communicator->failure_;
  if (council.next_begun) return {};
  if (!council.on_next) open_next(*communicator, now);
  council.next_begun = true;
  council.seats[static_cast<std::size_t>(communicator->rank_)].stays = true;
  for (const Rank rank : council.survivors) {
    if (rank != communicator->rank_) send_council(*communicator, rank, kOnNext, {}, now);
  }
  council.on_next->start(std::move(contribution), now);
  advance_council(*communicator, now);
  return {};
}

// Sends what the agreements have to say, and acts on what they have decided.
void Engine::advance_council(Communicator& communicator, Instant now) {
  Council& council = *communicator.council_;
  for (const Agreement::Outgoing& message : council.on_verdict->take_outgoing())
    send_council(communicator, static_cast<Rank>(message.to), kOnVerdict, std::as_bytes(std::span(*message.bytes)),
                 now);
  if (council.stage == Council::Stage::frozen && council.on_verdict->decided() != nullptr) {
    auto verdict = Verdict::decode(*council.on_verdict->decided(), communicator.size());
    if (!verdict) return stop_council(communicator, verdict.status(), now);
    council.verdict = *std::move(verdict);
    return apply_verdict(communicator, now);
  }
  if (!council.on_next) return;
  for (const Agreement::Outgoing& message : council.on_next->take_outgoing())
    send_council(communicator, council.survivors[message.to], kOnNext, std::as_bytes(std::span(*message.bytes)), now);
  if (!council.next && council.on_next->decided() != nullptr) {
    council.next = *council.on_next->decided();
    ++completed_;  // somebody may sleep for it
  }
}

void Engine::apply_verdict(Communicator& communicator, Instant now) {
  Council& council = *communicator.council_;
  council.stage = Council::Stage::judged;
  council.stuck_since = Nanoseconds(-1);
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    if (!council.verdict.has_lost(rank)) council.survivors.push_back(rank);
  }
  communicator.failure_ = council.verdict.why;
  if (communicator.verdict_excludes_self()) {
    communicator.failure_ =
        Status(Code::peer_lost, format("{}: the other members go on without {}, this one: {}", communicator.name_,
                                       communicator.describe(communicator.rank_), council.verdict.why.text()))
            .blaming(communicator.rank_);
  }
  if (council.survivors.size() < council.minimum) return stop_council(communicator, too_few(communicator), now);
  end_operations(communicator, now);
  const auto early = std::move(council.early_next);
  for (const auto& [rank, bytes] : early) static_cast<void>(receive_next(communicator, rank, bytes, now).is_ok());
  advance_council(communicator, now);
}

Status Engine::too_few(const Communicator& communicator) {
  const Council& council = *communicator.council_;
  const std::size_t left = council.stage == Council::Stage::judged
                               ? council.survivors.size()
                               : council.seats.size() - council.on_verdict->suspected().count();
  return {Code::peer_lost,
          format("{} of {} members {} left, and fewer than TUTTI_ELASTIC_MINIMUM, which is {}, may not "
                 "go on. Start the job again, or allow fewer",
                 left, council.seats.size(), left == 1 ? "is" : "are", council.minimum)};
}

// No verdict can be had: this rank ends by itself. It does not go on, so nobody will hold the opposite against it.
void Engine::stop_council(Communicator& communicator, const Status& why, Instant now) {
  Council& council = *communicator.council_;
  council.stage = Council::Stage::stopped;
  communicator.failure_ = why.prefixed(communicator.failure_.text());
  options_.log.write(LogLevel::error, "comm", "{}", communicator.failure_.text());
  end_operations(communicator, now);
}

void Engine::end_operations(Communicator& communicator, Instant now) {
  ++completed_;  // somebody may sleep for the verdict alone
  for (Operation* operation : std::vector<Operation*>(operations_)) {
    if (operation->communicator_ != &communicator) continue;
    if (operation->state_ == Operation::State::committing || operation->state_ == Operation::State::frozen)
      conclude(*operation, now);
  }
}

void Engine::conclude(Operation& operation, Instant now) {
  const Communicator& communicator = *operation.communicator_;
  const Council& council = *communicator.council_;
  const bool holds = operation.state_ == Operation::State::committing && council.stage == Council::Stage::judged &&
                     !is_ahead(operation.number_, council.verdict.complete);
  if (holds) return complete(operation, {}, now);
  operation.kept_.restore();
  complete(operation, communicator.failure_, now);
}

void Engine::check_council(Communicator& communicator, Instant now) {
  Council& council = *communicator.council_;
  if (council.stage == Council::Stage::stopped) return;
  look_around(communicator, now);
  if (council.stage == Council::Stage::frozen && now >= council.asks_next) {
    council.asks_next = now + options_.silence_limit / 4;
    council.on_verdict->ask_all();
  }
  council.on_verdict->progress(now);
  if (council.on_next) council.on_next->progress(now);
  advance_council(communicator, now);
  if (council.has_work()) stop_if_stuck(communicator, now);
}

// Where no decision can be reached any more. Others, that cannot be heard here, may have decided without this member.
void Engine::stop_if_stuck(Communicator& communicator, Instant now) {
  Council& council = *communicator.council_;
  const bool is_frozen = council.stage == Council::Stage::frozen;
  const Agreement& agreement = is_frozen ? *council.on_verdict : *council.on_next;
  const std::uint32_t members = static_cast<std::uint32_t>(communicator.size());
  if (is_frozen && members - agreement.dead().count() < council.minimum)
    return stop_council(communicator, too_few(communicator), now);
  const Status stuck = agreement.stuck();
  if (stuck) {
    council.stuck_since = Nanoseconds(-1);
  } else if (council.stuck_since < Nanoseconds(0)) {
    council.stuck_since = attentive_;
  } else if (attentive_ - council.stuck_since >= options_.silence_limit) {
    const bool are_too_few = is_frozen && members - agreement.suspected().count() < council.minimum;
    stop_council(communicator, are_too_few ? too_few(communicator) : Status(Code::peer_lost, stuck.text()), now);
  }
}

}  // namespace tutti
