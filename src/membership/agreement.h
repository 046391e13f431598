// Agreement: the members of one view decide ONE value together, although some of them die, stop, or cannot reach each
// other meanwhile. One instance is one decision: which operation failed and who is lost, say, or who is in the next
// view. A pure state machine: no I/O, no thread, no clock, no chance. docs/membership.md explains it with examples.
//
// In short. Every member sends its contribution to the lowest member that it does not suspect. That one combines them
// into a value and has it accepted by a quorum (agreement_quorum.h) under a ballot; whoever takes over asks a quorum
// first what was accepted before. This is Paxos, but for the second kind of quorum, "all that are not certainly
// dead".
//
// Invariants:
// 1. A member promises ballots in rising order, and accepts nothing older than its promise.
// 2. Who is certainly dead is dead for good: nothing that it sent is taken any more (it is fenced), and every message
//    says whom its sender knows to be dead, so that it fences them too before it answers.
// 3. A round counts its quorum with those who were known dead when it began, and who answered has fenced them.
// 4. Who has decided answers with the decision, and with nothing else.
// 5. Time decides nothing: it only makes a member try again that has waited for long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "src/membership/agreement_messages.h"
#include "src/membership/agreement_quorum.h"
#include "src/membership/member_set.h"

namespace tutti {

enum class Loss {
  silent,  // nothing is heard, or the link has closed: it may live, and others may hear it
  ended,   // proven: its process has ended and executes nothing any more
};

class Agreement {
 public:
  struct Options {
    std::uint64_t tag = 0;      // of this decision alone: messages with another are refused
    std::uint32_t members = 1;  // of the view
    std::uint32_t self = 0;
    QuorumRule quorum;    // the same at all
    Nanoseconds retry{};  // longer than a few messages take; more than 0
  };

  using Contributions = std::vector<std::optional<std::string>>;  // by member; empty: not heard

  // Makes the value. Pure. It may be called at several members, whose contributions and lost members differ; one
  // result is decided. Each member is among the lost or has contributed; one that was heard before it was lost is
  // both.
  using Combine = std::function<std::string(const Contributions&, const MemberSet& lost)>;

  struct Outgoing {
    std::uint32_t to = 0;
    std::shared_ptr<const std::string> bytes;
  };

  // REQUIRES: self < members, 1 <= quorum.minimum <= members, quorum.casting < members, retry > 0
  Agreement(const Options& options, Combine combine);

  // This member takes part from now on: what it contributes is fixed. Once.
  // REQUIRES: contribution.size() <= kAgreementValueBytes
  void start(std::string contribution, Instant now);

  // Whether others have begun: the owner should fix its contribution and call start.
  bool wants_start() const { return is_called_ && !is_started_ && !decision_; }

  // What came from `from`. INVALID, blaming it, when it is no message of this agreement; then nothing has changed.
  Status receive(std::uint32_t from, std::span<const std::byte> bytes, Instant now);

  // The owner suspects everybody that it cannot reach or cannot hear; whoever stops hearing a member also lets it
  // know, by closing the link. For good: a member that comes back stays suspected here, though its messages are
  // taken, and it learns the decision. `ended` may follow `silent`. REQUIRES: member != self
  void suspect(std::uint32_t member, Loss loss, Instant now);

  // Has everybody that may live say something: each answers, at the least with what it has contributed.
  void ask_all() { send_all(message(AgreementKind::poke), dead_); }

  void progress(Instant now);
  Instant next_timer() const { return timer_; }

  // What is to be sent, in order. Each link delivers in order what it delivers, or closes; messages to a member that
  // is lost may get lost.
  std::vector<Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }

  // The value, the same on all that decide; null before. Keep this object while others may ask for it.
  const std::string* decided() const { return decision_ ? &*decision_ : nullptr; }

  // OK, or why no decision can be reached with those who are not suspected now. Proof of a death, here or at another
  // member, can still change that; it is the owner who knows for how long to wait for it.
  Status stuck() const;

  const MemberSet& suspected() const { return suspected_; }
  const MemberSet& dead() const { return dead_; }  // certainly; part of suspected()

 private:
  enum class Phase { idle, preparing, accepting };

  struct Round {  // of one's own
    Phase phase = Phase::idle;
    Ballot ballot = 0;
    MemberSet dead;          // when it began
    MemberSet answered;      // in this phase
    Ballot accepted = 0;     // the latest that the promises report; 0: none
    std::string value = {};  // that was accepted in it; then that of this round
  };

  // agreement.cc: taking part
  void handle(std::uint32_t from, AgreementMessage& message, Instant now);
  void prepare(std::uint32_t from, Ballot ballot, Instant now);
  void accept(std::uint32_t from, Ballot ballot, std::string value, Instant now);
  void follow(Ballot ballot, Instant now);
  void refuse(std::uint32_t from, Ballot ballot);
  void bury(const MemberSet& dead);
  void serve_leader();
  void contribute_to(std::uint32_t member);
  void learn(std::string value, std::uint32_t teacher);
  void settle(std::string value);
  AgreementMessage message(AgreementKind kind, Ballot ballot = 0) const;
  void send(std::uint32_t to, const AgreementMessage& message);
  void send_all(const AgreementMessage& message, const MemberSet& but);

  // agreement_rounds.cc: leading
  void advance();
  void begin_round();
  void propose();
  void promised(std::uint32_t from, AgreementMessage& promise);
  void accepted(std::uint32_t from, Ballot ballot);
  void count_answers();
  void review_round();
  void poke_unheard();
  bool can_decide() const;
  bool has_heard_all() const;
  Nanoseconds patience() const;

  Options options_;
  AgreementFrame frame_;
  Combine combine_;
  std::vector<Outgoing> outgoing_;

  MemberSet suspected_;
  MemberSet dead_;
  Ballot promised_ = 0;
  Ballot outbid_ = 0;    // the latest promise that somebody reported
  Ballot accepted_ = 0;  // with accepted_value_
  std::string accepted_value_;
  std::optional<std::string> decision_;

  bool is_called_ = false;
  bool is_started_ = false;
  MemberSet asked_;  // poked before start
  MemberSet told_;   // who were sent this member's contribution

  Contributions contributions_;
  bool leads_ = false;   // is the lowest member that it does not suspect; stays so
  bool is_due_ = false;  // a round is to begin as soon as it can
  Round round_;
  std::uint32_t attempts_ = 0;
  Instant timer_ = kNever;
  Status broken_;  // what combine or another member did wrong, so that this one cannot propose
};

}  // namespace tutti
