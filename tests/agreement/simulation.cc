#include "tests/agreement/simulation.h"

#include <algorithm>
#include <utility>

#include "src/base/format.h"
#include "src/membership/agreement_quorum.h"

namespace tutti {

namespace {

constexpr std::uint64_t kTag = 0x5eed;
constexpr Nanoseconds kMicrosecond = std::chrono::microseconds(1);

}  // namespace

Simulation::Simulation(std::uint64_t seed) : random_(seed) {
  const std::uint64_t kind = random_.below(100);
  size_ = static_cast<std::uint32_t>(kind < 70   ? 2 + random_.below(6)
                                     : kind < 98 ? 8 + random_.below(9)
                                                 : 17 + random_.below(48));
  const double story = random_.unit();
  const bool is_doomed = story < 0.15 && size_ >= 4;
  const bool is_quarrel = story >= 0.15 && story < 0.25;
  const bool is_cascade = story >= 0.25 && story < 0.4;
  if (is_cascade) size_ = 5 + size_ % 5;
  if (is_quarrel) size_ = 3 + size_ % 5;
  minimum_ = random_.chance(0.15) ? 1 + static_cast<std::uint32_t>(random_.below(size_)) : 1;
  if (seed % 5 == 0)
    casting_ = static_cast<std::uint32_t>(seed / 5 % size_);  // no chance: other courses stay as they are
  plan_network(is_doomed ? 3 : is_quarrel ? 1 : static_cast<int>(random_.below(3)));
  if (is_quarrel) retry_ = delay_max_ * static_cast<std::int64_t>(1 + random_.below(8)) / 8;
  join(seed, is_doomed ? kMicrosecond * 20 : random_.chance(0.8) ? delay_max_ : 10 * delay_max_);
  if (is_doomed) {
    plan_doom();
  } else if (is_quarrel) {
    plan_quarrel();
  } else if (is_cascade) {
    plan_cascade();
  } else {
    if (random_.chance(0.85)) plan_crashes();
    if (random_.chance(0.25)) plan_suspicions();
    if (random_.chance(0.35)) plan_partition();
  }
}

void Simulation::join(std::uint64_t seed, Nanoseconds within) {
  const std::uint64_t layout = random_.below(4);  // one host, a host each, or few hosts
  const std::uint64_t hosts = layout <= 1 ? 1 : layout == 2 ? size_ : 2 + random_.below(3);
  const bool is_mixed = random_.chance(0.5);
  for (std::uint32_t i = 0; i < size_; ++i) {
    members_.push_back({.dead_then = MemberSet(size_)});
    Member& member = members_[i];
    member.host = static_cast<std::uint32_t>(is_mixed ? random_.below(hosts) : i * hosts / size_);
    member.contribution = format("contribution {} of seed {}", i, seed);
    const Agreement::Options options{.tag = kTag,
                                     .members = size_,
                                     .self = i,
                                     .quorum = {.minimum = minimum_, .casting = casting_},
                                     .retry = retry_};
    member.agreement = std::make_unique<Agreement>(
        options, [this, i](const auto& contributions, const auto& lost) { return combine(i, contributions, lost); });
    at(some_time({}, within), [this, i] { start(i); });
  }
}

// A quorum on one host decides and dies, while the others hear of the deaths before they hear what was decided.
void Simulation::plan_doom() {
  std::vector<std::uint32_t> order(size_);
  for (std::uint32_t i = 0; i < size_; ++i) order[i] = i;
  for (std::uint32_t i = size_ - 1; i > 0; --i) std::swap(order[i], order[random_.below(i + 1)]);
  if (random_.chance(0.8)) std::swap(*std::find(order.begin(), order.end(), 0u), order[0]);
  const std::uint32_t doomed = std::min((size_ + 1) / 2 + static_cast<std::uint32_t>(random_.below(2)), size_ - 2);
  std::vector<bool> is_doomed(size_);
  for (std::uint32_t i = 0; i < doomed; ++i) is_doomed[order[i]] = true;

  learning_ = kMicrosecond * static_cast<std::int64_t>(10 + random_.below(150));
  is_late_kept_ = true;
  for (std::uint32_t from = 0; from < size_; ++from) {
    for (std::uint32_t to = 0; to < size_; ++to) {
      if (is_doomed[to]) {
        link(from, to).base = {};
      } else if (random_.chance(is_doomed[from] ? 0.9 : 0.6)) {
        link(from, to).base =
            kMicrosecond * static_cast<std::int64_t>(random_.below(is_doomed[from] ? 9'900 : 1'500));
      }
    }
  }
  const std::uint64_t stages = 1 + random_.below(3);
  for (Member& member : members_) member.host = 0;
  for (std::uint64_t stage = 0; stage < stages; ++stage) {
    const Instant when = some_time(Instant(kMicrosecond * 40), kMicrosecond * 200);
    for (std::uint32_t i = 0; i < doomed; ++i) {
      if (i % stages == stage) at(when, [this, victim = order[i]] { crash(victim); });
    }
  }
  if (random_.chance(0.2)) at(some_time({}, kMicrosecond * 400), [this, victim = order[doomed]] { crash(victim); });
  const std::uint32_t heir = *std::min_element(order.begin() + doomed, order.end());
  const std::uint32_t doubter = order[doomed + random_.below(size_ - doomed)];
  if (random_.chance(0.4) && doubter != heir) {
    at(some_time({}, kMicrosecond * 400), [this, doubter, heir] { lose(doubter, heir, Loss::silent); });
  }
}

// One leader after the other dies somewhere in its round, as far as anybody can tell; who is slow to answer one takes
// part in the next one's.
void Simulation::plan_cascade() {
  const std::uint32_t leaders = (size_ - 1) / 2;
  learning_ = delay_max_ / 2;
  for (std::uint32_t i = 0; i < size_; ++i) members_[i].host = i;
  for (std::uint32_t i = 0; i < leaders; ++i) {
    if (i + 1 < leaders) {
      members_[i].sends_after_proposing = random_.below(size_);
    } else {
      members_[i].sends_after_deciding = random_.below(2);
    }
  }
}

// Several members take themselves for the leader, since they suspect others who live; some of them die.
void Simulation::plan_quarrel() {
  for (Link& link : links_) {
    if (random_.chance(0.7)) link.base = kMicrosecond * static_cast<std::int64_t>(random_.below(1'900));
  }
  for (std::uint32_t who = 0; who < size_; ++who) {
    std::uint32_t left = (size_ - 1) / 2;
    for (std::uint32_t whom = 0; whom < size_ && left > 0; ++whom) {
      if (who == whom || !random_.chance(0.6)) continue;
      --left;
      at(some_time({}, 3 * delay_max_), [this, who, whom] { lose(who, whom, Loss::silent); });
    }
  }
  for (std::uint64_t crashes = random_.below((size_ + 1) / 2); crashes > 0; --crashes) {
    members_[random_.below(size_)].sends_left = random_.below(8 * size_);
  }
}

void Simulation::plan_network(int shape) {
  shape_ = shape;
  delay_max_ = kMicrosecond * (shape_ == 0 ? 100 : shape_ == 3 ? 10'000 : 2'000);
  retry_ = delay_max_ * static_cast<std::int64_t>(1 + random_.below(8)) / 2;
  learning_ = delay_max_ * static_cast<std::int64_t>(1 + random_.below(40)) / 10;
  links_.resize(std::size_t{size_} * size_);
  for (Link& link : links_) {
    link.base =
        kMicrosecond * static_cast<std::int64_t>(random_.chance(0.3) ? random_.below(1900) : random_.below(100));
  }
}

void Simulation::plan_crashes() {
  const std::uint64_t kind = random_.below(10);
  const std::uint64_t most = size_ - 1;
  const std::uint64_t crashes = kind < 4 ? 1 : kind < 6 ? most : kind < 8 ? size_ / 2 : 1 + random_.below(most);
  Instant when = some_time({}, 4 * delay_max_);
  const bool at_once = random_.chance(0.4);
  const bool low_first = random_.chance(0.4);  // those who lead
  for (std::uint64_t i = 0; i < crashes; ++i) {
    const auto victim = static_cast<std::uint32_t>(low_first ? i : random_.below(size_));
    if (!at_once) when = some_time({}, (random_.chance(0.5) ? 3 : 8) * delay_max_);
    if (random_.chance(0.5)) {
      members_[victim].sends_left = random_.below(random_.chance(0.5) ? size_ + 1 : 4 * size_);
    } else {
      at(when, [this, victim] { crash(victim); });
    }
  }
}

void Simulation::plan_suspicions() {
  for (std::uint64_t left = 1 + random_.below(3); left > 0; --left) {
    const auto who = static_cast<std::uint32_t>(random_.below(size_));
    const auto whom = static_cast<std::uint32_t>(random_.below(size_));
    if (who == whom) continue;
    const bool is_mutual = random_.chance(0.5);
    const Instant when = some_time({}, 4 * delay_max_);
    at(when, [this, who, whom] { lose(who, whom, Loss::silent); });
    if (is_mutual) at(some_time(when, learning_), [this, who, whom] { lose(whom, who, Loss::silent); });
  }
}

void Simulation::plan_partition() {
  const std::uint64_t kind = random_.below(4);  // hosts, two halves at random, one alone, single pairs
  const auto alone = static_cast<std::uint32_t>(random_.below(size_));
  std::vector<std::uint32_t> side(size_);
  for (std::uint32_t i = 0; i < size_; ++i) {
    side[i] = kind == 0 ? members_[i].host : kind == 1 ? static_cast<std::uint32_t>(random_.below(2)) : i == alone;
  }
  const bool is_one_way = random_.chance(0.3);
  const bool heals = random_.chance(0.5);
  const Instant when = some_time({}, 4 * delay_max_);
  const Instant healed = some_time(when, 30 * delay_max_);
  for (std::uint32_t from = 0; from < size_; ++from) {
    for (std::uint32_t to = 0; to < size_; ++to) {
      if (from >= to || (kind < 3 ? side[from] == side[to] : random_.chance(0.7))) continue;
      const std::uint64_t direction = is_one_way ? 1 + random_.below(2) : 3;
      at(when, [this, from, to, direction] {
        if (direction & 1) cut(from, to);
        if (direction & 2) cut(to, from);
      });
      at(some_time(when, learning_), [this, from, to] { lose(from, to, Loss::silent); });
      at(some_time(when, learning_), [this, from, to] { lose(to, from, Loss::silent); });
      if (!heals) continue;
      at(healed, [this, from, to] {
        heal(from, to);
        heal(to, from);
      });
    }
  }
}

void Simulation::at(Instant time, std::function<void()> act) { events_.put(time, std::move(act)); }

Instant Simulation::some_time(Instant from, Nanoseconds within) {
  const Instant time =
      from + Nanoseconds(static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(within.count()) + 1)));
  last_fault_ = std::max(last_fault_, time);
  return time;
}

Nanoseconds Simulation::delay(const Link& link) {
  const auto up_to = [this](std::uint64_t most) {
    return kMicrosecond * static_cast<std::int64_t>(random_.below(most));
  };
  if (shape_ == 0) return up_to(100);
  if (shape_ == 1) return link.base + up_to(100);
  if (shape_ == 3) return link.base + up_to(20);
  return random_.chance(0.05) ? up_to(2000) : up_to(20);
}

void Simulation::start(std::uint32_t who) {
  Member& member = members_[who];
  if (!member.is_alive || std::exchange(member.has_started, true)) return;
  member.agreement->start(member.contribution, now_);
  turn(who);
}

void Simulation::crash(std::uint32_t who) {
  Member& member = members_[who];
  if (!std::exchange(member.is_alive, false)) return;
  const bool may_be_seen_as_silent = random_.chance(0.3);
  const bool all_arrives = is_late_kept_ || random_.chance(0.5);
  for (std::uint32_t other = 0; other < size_; ++other) {
    if (other == who) continue;
    if (!all_arrives && random_.chance(0.5)) cut(who, other);
    const bool same_host = member.host == members_[other].host;
    if (!same_host || may_be_seen_as_silent) {
      at(some_time(now_, learning_), [this, who, other] { lose(other, who, Loss::silent); });
    }
    if (same_host) at(some_time(now_, learning_), [this, who, other] { lose(other, who, Loss::ended); });
  }
}

void Simulation::cut(std::uint32_t from, std::uint32_t to) {
  Link& broken = link(from, to);
  if (broken.is_cut) return;
  broken.is_cut = broken.was_cut = true;
  broken.cut_at = now_;
  broken.lost_from = some_time(now_, random_.chance(0.5) ? Nanoseconds(0) : delay_max_);
}

void Simulation::heal(std::uint32_t from, std::uint32_t to) { link(from, to).is_cut = false; }

void Simulation::lose(std::uint32_t who, std::uint32_t lost, Loss loss) {
  if (!members_[who].is_alive) return;
  members_[who].agreement->suspect(lost, loss, now_);
  turn(who);
}

void Simulation::send(std::uint32_t from, std::uint32_t to, std::shared_ptr<const std::string> bytes) {
  Link& line = link(from, to);
  if (line.is_cut || !members_[to].is_alive) return;
  const Instant sent = now_;
  line.last_arrival = std::max(line.last_arrival, now_ + delay(line));
  at(line.last_arrival, [this, from, to, sent, bytes = std::move(bytes)] {
    const Link& now = link(from, to);
    if (members_[to].is_alive && (sent >= now.cut_at ? !now.is_cut : now_ <= now.lost_from))
      deliver(from, to, *bytes);
  });
}

void Simulation::deliver(std::uint32_t from, std::uint32_t to, const std::string& bytes) {
  ++delivered_;
  const Status taken = members_[to].agreement->receive(from, std::as_bytes(std::span(bytes)), now_);
  if (!taken) say(format("member {} refuses a message of a member: {}", to, taken.text()));
  turn(to);
}

void Simulation::turn(std::uint32_t who) {
  Member& member = members_[who];
  Agreement& agreement = *member.agreement;
  if (agreement.wants_start() && !member.has_started) {
    at(some_time(now_, delay_max_ / 10), [this, who] { start(who); });
  }
  if (agreement.decided() != nullptr && member.decided_turn == 0) {
    member.decision = *agreement.decided();
    member.decided_turn = ++decisions_;
    member.decided_at = now_;
    member.dead_then = agreement.dead();
    member.sends_left = std::min(member.sends_left, member.sends_after_deciding);
  }
  for (const Agreement::Outgoing& outgoing : agreement.take_outgoing()) {
    if (member.sends_left-- == 0) return crash(who);
    send(who, outgoing.to, outgoing.bytes);
  }
  if (agreement.next_timer() == member.timer) return;
  member.timer = agreement.next_timer();
  if (member.timer == kNever) return;
  at(member.timer, [this, who, due = member.timer] {
    if (!members_[who].is_alive || members_[who].timer != due) return;
    members_[who].agreement->progress(now_);
    turn(who);
  });
}

std::string Simulation::combine(std::uint32_t who, const Agreement::Contributions& contributions,
                                const MemberSet& lost) {
  std::string value = format("value {} of member {}, lost:", combined_.size(), who);
  for (std::uint32_t i = 0; i < size_; ++i) {
    if (lost.contains(i)) {
      value += format(" {}", i);
    } else if (!contributions[i]) {
      say(format("member {} combines without member {}, who is not lost", who, i));
    }
    if (contributions[i] && *contributions[i] != members_[i].contribution) {
      say(format("member {} combines what member {} has not contributed", who, i));
    }
  }
  combined_.push_back(value);
  members_[who].sends_left = std::min(members_[who].sends_left, members_[who].sends_after_proposing);
  const auto alive = std::count_if(members_.begin(), members_.end(), [](const Member& m) { return m.is_alive; });
  is_allowed_.push_back(alive >= minimum_);
  return value;
}

bool Simulation::is_settled() const {
  return std::all_of(members_.begin(), members_.end(), [](const Member& member) {
    return !member.is_alive || member.decided_turn != 0 || !member.agreement->stuck();
  });
}

std::string Simulation::run(SimulationMarks& marks) {
  while (!events_.empty() && wrong_.empty()) {
    const Instant next = events_.next();
    const Nanoseconds after = next - last_fault_;
    // Time for everybody to try again a few times with all patience, and three times that before it counts as
    // hanging.
    if (after > 1000 * retry_ + 100 * delay_max_) break;
    if (after > 300 * retry_ + 100 * delay_max_ && is_settled()) break;
    now_ = next;
    events_.take()();
  }
  if (wrong_.empty()) check_values();
  if (wrong_.empty()) check_telling();
  if (wrong_.empty()) check_endings();
  count(marks);
  return wrong_;
}

// Two that decide differently: the later one knew the earlier one to be dead. A survivor is never that earlier one.
void Simulation::check_values() {
  for (std::uint32_t a = 0; a < size_; ++a) {
    const Member& first = members_[a];
    if (first.decided_turn == 0) continue;
    const auto place = std::find(combined_.begin(), combined_.end(), first.decision);
    if (place == combined_.end()) {
      say(format("member {} decides \"{}\", which nobody combined", a, first.decision));
    } else if (!is_allowed_[static_cast<std::size_t>(place - combined_.begin())]) {
      say(format("member {} decides \"{}\", made when fewer than {} were alive", a, first.decision, minimum_));
    }
    for (std::uint32_t b = 0; b < size_; ++b) {
      const Member& second = members_[b];
      if (second.decided_turn <= first.decided_turn || second.decision == first.decision) continue;
      if (second.dead_then.contains(a)) continue;
      say(format("member {} decides \"{}\", then member {} decides \"{}\"", a, first.decision, b, second.decision));
    }
  }
}

// Whoever decides has told everybody that it can reach, in one hop.
void Simulation::check_telling() {
  for (std::uint32_t from = 0; from < size_; ++from) {
    const Member& teller = members_[from];
    if (!teller.is_alive || teller.decided_turn == 0) continue;
    for (std::uint32_t to = 0; to < size_; ++to) {
      const Member& told = members_[to];
      if (to == from || !told.is_alive || link(from, to).was_cut || teller.agreement->suspected().contains(to))
        continue;
      if (told.decided_turn != 0 && told.decided_at <= teller.decided_at + delay_max_) continue;
      say(format("member {} decides at {}, member {} {}", from, format_duration(teller.decided_at.time_since_epoch()),
                 to,
                 told.decided_turn == 0 ? std::string("never does")
                                        : "at " + format_duration(told.decided_at.time_since_epoch())));
    }
  }
}

// Every survivor has decided, or says why it cannot; and then it really cannot.
void Simulation::check_endings() {
  for (std::uint32_t who = 0; who < size_; ++who) {
    const Member& member = members_[who];
    if (!member.is_alive || member.decided_turn != 0) continue;
    const Status stuck = member.agreement->stuck();
    if (stuck.is_ok()) say(format("member {} neither decides nor says why it cannot", who));
    if (stuck.text().empty() || stuck.culprit() < 0) say(format("member {} is stuck without a reason", who));
    for (std::uint32_t other = 0; other < size_; ++other) {
      if (other == who || !is_up(who, other)) continue;
      const Member& peer = members_[other];
      if (peer.decided_turn != 0) say(format("member {} does not learn what member {} has decided", who, other));
      if (peer.agreement->dead() != member.agreement->dead()) {
        say(format("members {} and {}, both stuck, know of different deaths", who, other));
      }
    }
  }
}

bool Simulation::is_up(std::uint32_t a, std::uint32_t b) const {
  return members_[a].is_alive && members_[b].is_alive && !links_[a * size_ + b].is_cut &&
         !links_[b * size_ + a].is_cut;
}

void Simulation::count(SimulationMarks& marks) const {
  std::uint32_t alive = 0;
  std::uint32_t decided = 0;
  const Member* teller = nullptr;
  for (const Member& member : members_) {
    alive += member.is_alive;
    decided += member.is_alive && member.decided_turn != 0;
    if (member.is_alive && member.decided_turn != 0) teller = &member;
  }
  marks.messages += delivered_;
  marks.combined_often += combined_.size() > 1;
  marks.decided += decided == alive;
  marks.stuck += decided < alive;
  if (teller == nullptr) return;
  marks.lone += alive == 1;
  marks.minority += 2 * alive < size_;
  marks.forgotten += std::any_of(members_.begin(), members_.end(), [&](const Member& member) {
    return member.decided_turn != 0 && member.decision != teller->decision;
  });
  const std::string lost = teller->decision.substr(teller->decision.find(':')) + " ";
  for (std::uint32_t i = 0; i < size_; ++i) {
    marks.excluded += members_[i].is_alive && lost.find(format(" {} ", i)) != std::string::npos;
  }
}

void Simulation::say(std::string sentence) {
  if (wrong_.empty()) wrong_ = std::move(sentence);
}

}  // namespace tutti
