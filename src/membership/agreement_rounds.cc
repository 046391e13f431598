// The part of an agreement that brings a value home: a round under a ballot of this member's own, in two phases.
// A ballot is never used for two rounds, and its proposer is always one of those who promise and accept it.
#include <algorithm>

#include "src/base/format.h"
#include "src/membership/agreement.h"

namespace tutti {

namespace {

constexpr std::uint32_t kDoublings = 6;  // of the time between two attempts
constexpr std::uint32_t kSpread = 64;    // the last member's extra patience, in retries

}  // namespace

// Begins a round that is due as soon as there is somebody to decide it and everybody has been heard.
void Agreement::advance() {
  const bool may_begin = is_started_ && !decision_ && round_.phase == Phase::idle;
  if (may_begin && is_due_ && can_decide() && has_heard_all()) begin_round();
}

void Agreement::begin_round() {
  is_due_ = false;
  // The first ballot of all needs no promises: nothing older can have been accepted.
  const Ballot latest = std::max(promised_, outbid_);
  const bool is_first = latest == 0 && options_.self == 0;
  Ballot ballot = latest - latest % options_.members + options_.self + 1;
  if (ballot <= latest) ballot += options_.members;
  if (ballot > kBallotMax) {
    broken_ = {Code::internal, format("ballot {} was promised and none above {} may follow, so that member {} cannot "
                                      "propose any more: a member counts its ballots wrongly",
                                      latest, kBallotMax, options_.self)};
    return;
  }
  promised_ = ballot;
  round_ = {.phase = Phase::preparing, .ballot = promised_, .dead = dead_, .answered = MemberSet(options_.members)};
  round_.answered.add(options_.self);
  round_.accepted = accepted_;
  round_.value = accepted_value_;
  if (is_first) return propose();
  send_all(message(AgreementKind::prepare, round_.ballot), dead_);
  count_answers();
}

void Agreement::propose() {
  if (round_.accepted == 0) {
    std::string value = combine_(contributions_, suspected_);
    if (value.size() > kAgreementValueBytes) {
      round_.phase = Phase::idle;
      broken_ = {Code::internal,
                 format("the value that {} members are to agree on has {} bytes; at most {} are allowed",
                        options_.members, value.size(), kAgreementValueBytes)};
      return;
    }
    round_.value = std::move(value);
  }
  round_.phase = Phase::accepting;
  round_.answered = MemberSet(options_.members);
  round_.answered.add(options_.self);
  accepted_ = round_.ballot;
  accepted_value_ = round_.value;
  AgreementMessage request = message(AgreementKind::accept, round_.ballot);
  request.value = round_.value;
  send_all(request, dead_);
  count_answers();
}

void Agreement::promised(std::uint32_t from, AgreementMessage& promise) {
  if (round_.phase != Phase::preparing || promise.ballot != round_.ballot) return;
  if (promise.accepted > round_.accepted) {
    round_.accepted = promise.accepted;
    round_.value = std::move(promise.value);
  }
  round_.answered.add(from);
  count_answers();
}

void Agreement::accepted(std::uint32_t from, Ballot ballot) {
  if (round_.phase != Phase::accepting || ballot != round_.ballot) return;
  round_.answered.add(from);
  count_answers();
}

void Agreement::count_answers() {
  // With those who were dead when the round began: who died since may have been heard by somebody who has answered
  // without fencing it.
  if (!is_quorum(round_.answered, round_.dead, options_.quorum)) return;
  if (round_.phase == Phase::preparing) return propose();
  settle(std::move(round_.value));
  send_all(message(AgreementKind::decided), dead_);
}

// Ends a round that cannot come to a quorum any more, and has another begin, which knows of more deaths.
void Agreement::review_round() {
  if (round_.phase == Phase::idle) return;
  MemberSet hoped_for = suspected_.others();
  hoped_for.add(round_.answered);
  if (is_quorum(hoped_for, round_.dead, options_.quorum)) return;
  round_.phase = Phase::idle;
  is_due_ = true;
}

void Agreement::progress(Instant now) {
  if (now < timer_) return;
  ++attempts_;
  timer_ = deadline_after(now, patience());
  round_.phase = Phase::idle;
  is_due_ = true;
  if (can_decide()) {
    poke_unheard();
  } else {
    ask_all();  // somebody may know of more deaths, or of the decision
  }
  advance();
}

void Agreement::poke_unheard() {
  MemberSet but = dead_;
  for (std::uint32_t member = 0; member < options_.members; ++member) {
    if (contributions_[member]) but.add(member);
  }
  send_all(message(AgreementKind::poke), but);
}

bool Agreement::can_decide() const { return is_quorum(suspected_.others(), dead_, options_.quorum); }

bool Agreement::has_heard_all() const {
  for (std::uint32_t member = 0; member < options_.members; ++member) {
    if (!contributions_[member] && !suspected_.contains(member)) return false;
  }
  return true;
}

// Doubles with each attempt, and differs from member to member, so that rivals leave each other time.
Nanoseconds Agreement::patience() const {
  return options_.retry * (1 << std::min(attempts_, kDoublings)) +
         options_.retry * kSpread * options_.self / std::max(options_.members, kSpread);
}

}  // namespace tutti
