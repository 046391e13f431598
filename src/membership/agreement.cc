#include "src/membership/agreement.h"

#include <algorithm>

#include "src/base/format.h"

namespace tutti {

Agreement::Agreement(const Options& options, Combine combine)
    : options_(options),
      frame_{options.tag, options.members},
      combine_(std::move(combine)),
      suspected_(options.members),
      dead_(options.members),
      asked_(options.members),
      told_(options.members),
      contributions_(options.members),
      round_{.dead = dead_, .answered = dead_} {}

void Agreement::start(std::string contribution, Instant now) {
  if (is_started_ || decision_) return;
  is_started_ = true;
  contributions_[options_.self] = std::move(contribution);
  timer_ = deadline_after(now, patience());
  for (std::uint32_t member = 0; member < options_.members; ++member) {
    if (asked_.contains(member) && !dead_.contains(member)) contribute_to(member);
  }
  serve_leader();
  advance();
}

Status Agreement::receive(std::uint32_t from, std::span<const std::byte> bytes, Instant now) {
  if (from >= options_.members || from == options_.self) {
    return {Code::invalid, format("an agreement message came from member {}, who is none of the {} others", from,
                                  options_.members - 1)};
  }
  Result<AgreementMessage> message = decode(frame_, from, options_.self, bytes);
  if (!message) return message.status();
  if (dead_.contains(from)) return Status::ok();
  is_called_ = true;
  bury(message->dead);
  handle(from, *message, now);
  advance();
  return Status::ok();
}

void Agreement::handle(std::uint32_t from, AgreementMessage& message, Instant now) {
  using enum AgreementKind;
  if (decision_) {
    const bool asks =
        message.kind == poke || message.kind == contribution || message.kind == prepare || message.kind == accept;
    if (asks) send(from, this->message(decided));
    return;
  }
  switch (message.kind) {
    case poke:
      is_started_ ? contribute_to(from) : asked_.add(from);
      break;
    case contribution:
      if (!contributions_[from]) contributions_[from] = std::move(message.value);
      break;
    case prepare:
      this->prepare(from, message.ballot, now);
      break;
    case promise:
      promised(from, message);
      break;
    case accept:
      this->accept(from, message.ballot, std::move(message.value), now);
      break;
    case accepted:
      this->accepted(from, message.ballot);
      break;
    case refused:
      outbid_ = std::max(outbid_, message.promised);
      break;
    case decided:
      learn(std::move(message.value), from);
      break;
  }
}

void Agreement::prepare(std::uint32_t from, Ballot ballot, Instant now) {
  if (ballot < promised_) return refuse(from, ballot);
  if (ballot == promised_) return;  // a ballot is prepared once
  follow(ballot, now);
  AgreementMessage promise = message(AgreementKind::promise, ballot);
  promise.accepted = accepted_;
  promise.value = accepted_value_;
  send(from, promise);
}

void Agreement::accept(std::uint32_t from, Ballot ballot, std::string value, Instant now) {
  if (ballot < promised_) return refuse(from, ballot);
  follow(ballot, now);
  accepted_ = ballot;
  accepted_value_ = std::move(value);
  send(from, message(AgreementKind::accepted, ballot));
}

// Promises another's ballot, which ends a round of one's own, and leaves the other time to bring it home.
void Agreement::follow(Ballot ballot, Instant now) {
  promised_ = ballot;
  round_.phase = Phase::idle;
  if (is_started_) timer_ = deadline_after(now, patience());
}

void Agreement::refuse(std::uint32_t from, Ballot ballot) {
  AgreementMessage refusal = message(AgreementKind::refused, ballot);
  refusal.promised = promised_;
  send(from, refusal);
}

void Agreement::suspect(std::uint32_t member, Loss loss, Instant) {
  if (loss == Loss::ended) {
    MemberSet dead(options_.members);
    dead.add(member);
    bury(dead);
  } else if (!suspected_.contains(member)) {
    suspected_.add(member);
    serve_leader();
  }
  advance();
}

// Takes these members as certainly dead: suspects and fences them.
void Agreement::bury(const MemberSet& dead) {
  if (dead_.contains(dead)) return;
  dead_.add(dead);
  suspected_.add(dead);
  serve_leader();
}

// Does what follows when the suspicions have grown: another may lead now, this member perhaps.
void Agreement::serve_leader() {
  if (!is_started_ || decision_) return;
  review_round();
  std::uint32_t leader = 0;
  while (suspected_.contains(leader)) ++leader;
  if (leader != options_.self) {
    if (!told_.contains(leader)) contribute_to(leader);
  } else if (!leads_) {
    leads_ = true;
    is_due_ = true;
    poke_unheard();
  }
}

void Agreement::contribute_to(std::uint32_t member) {
  told_.add(member);
  AgreementMessage contribution = message(AgreementKind::contribution);
  contribution.value = *contributions_[options_.self];
  send(member, contribution);
}

// Whoever told this may have died before it could tell all: each one passes it on, once.
void Agreement::learn(std::string value, std::uint32_t teacher) {
  settle(std::move(value));
  MemberSet but = suspected_;
  but.add(teacher);
  send_all(message(AgreementKind::decided), but);
}

void Agreement::settle(std::string value) {
  decision_ = std::move(value);
  round_.phase = Phase::idle;
  timer_ = kNever;
}

Status Agreement::stuck() const {
  if (decision_) return Status::ok();
  if (!broken_) return broken_;
  return can_decide() ? Status::ok() : no_quorum(suspected_, dead_, options_.quorum);
}

AgreementMessage Agreement::message(AgreementKind kind, Ballot ballot) const {
  AgreementMessage message{.kind = kind, .dead = dead_, .ballot = ballot};
  if (kind == AgreementKind::decided) message.value = *decision_;
  return message;
}

void Agreement::send(std::uint32_t to, const AgreementMessage& message) {
  outgoing_.push_back({to, std::make_shared<const std::string>(encode(frame_, message))});
}

void Agreement::send_all(const AgreementMessage& message, const MemberSet& but) {
  const auto bytes = std::make_shared<const std::string>(encode(frame_, message));
  for (std::uint32_t member = 0; member < options_.members; ++member) {
    if (member != options_.self && !but.contains(member)) outgoing_.push_back({member, bytes});
  }
}

}  // namespace tutti
