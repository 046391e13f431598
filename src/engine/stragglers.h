// Stragglers: who keeps an operation waiting, as far as one rank knows. Whoever waits asks those it waits for
// (probes); they answer at once, also while their program computes, and say who keeps them waiting themselves. What
// they say is passed on to those who ask here. So every rank learns who is late in the end, however many ranks wait
// in between: somebody who does not answer is late himself, and whoever answers is not, unless he says that he has
// not called.
//
// Evidence has an age: the time since somebody saw it at first hand. Whoever passes it on says how old it is, so no
// clocks are compared. Fresher evidence replaces older, and what nobody has seen for a while is forgotten: news that
// go round in a circle die of age, and a rank that has come is late no more, without anybody having to take it back.
// Plain data; the engine drives it (engine_stragglers.cc).
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/schedule/schedule.h"

namespace tutti {

enum class Lateness : std::uint8_t {
  none = 0,
  absent = 1,   // has not called the operation, as it says itself
  silent = 2,   // does not answer: stopped, very busy, or cut off
  stopped = 3,  // the same, and its process is seen to be stopped
};
constexpr std::uint8_t kLatenessMost = 3;

struct Straggler {
  Rank rank = -1;
  Lateness how = Lateness::none;
  Rank seen_by = -1;       // who has seen it at first hand
  std::uint32_t next = 0;  // absent: the number of its next operation
  Instant since{};         // how long it has been so, as far as is known
  Instant seen{};          // the latest evidence
  Instant told{};          // the latest that was passed on from here
};

// What a communicator does about them.
struct StragglerPolicy {
  Nanoseconds timeout =
      std::chrono::milliseconds(1500);  // they are reported when an operation has waited for so long
  bool excludes = false;                // elastic: they are lost when they have been late for `limit`
  Nanoseconds limit = std::chrono::seconds(60);

  // How often those who are waited for are asked, and how long they may then be silent.
  Nanoseconds interval() const {
    return std::clamp<Nanoseconds>(timeout / 8, std::chrono::milliseconds(5), std::chrono::seconds(1));
  }
  Nanoseconds silence() const { return timeout * 3 / 4; }
  Nanoseconds first_question() const { return std::min<Nanoseconds>(interval(), std::chrono::milliseconds(100)); }
  // Evidence that nobody renews is forgotten after that.
  Nanoseconds memory() const { return 4 * interval(); }
};

class Stragglers {
 public:
  static constexpr std::size_t kMost = 8;  // the first of them; more would be a crowd

  void clear() { known_.clear(); }
  bool empty() const { return known_.empty(); }
  // By rank. Some may be out of date: see is_fresh.
  const std::vector<Straggler>& known() const { return known_; }
  const Straggler* find(Rank rank) const;

  // True if it is worth passing on: it is new, or was last passed on at least `pause` before.
  bool learn(Straggler news, Nanoseconds pause);
  void has_called(Rank rank);                 // says so itself: it is not absent
  void has_answered(Rank rank, Rank asking);  // `asking` does not see it silent any more
  void forget(Instant seen_before);

 private:
  std::vector<Straggler> known_;
};

}  // namespace tutti
