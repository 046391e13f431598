// Council: what an elastic communicator has beyond another. While all is well it learns how far all members have
// come, and an operation is complete only then. Once something went wrong, or somebody asks for it, the members
// freeze, agree on a verdict (verdict.h), and then on who the members of the communicator's successor are. Plain
// data: the engine drives it (engine_council.cc).
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/engine/reached.h"
#include "src/engine/verdict.h"
#include "src/membership/agreement.h"

namespace tutti {

struct Council {
  Council(Rank members, Rank self, bool agrees_by_step, std::uint32_t least_members)
      : by_step(agrees_by_step),
        minimum(least_members),
        reached(members, self),
        seats(static_cast<std::size_t>(members)) {}

  struct Seat {
    Nanoseconds heard{-1};        // when it said something in the agreements last; negative: not since they began
    bool suspected = false;       // cannot be reached from here
    bool certain = false;         // has ended: nothing of it will ever come again
    bool is_new = false;          // joined with this view, whether it has come or not
    bool stays = false;           // takes part in the agreement on the successor's members
    std::size_t early_bytes = 0;  // of its messages in `early_next`
  };

  enum class Stage : std::uint8_t {
    working,
    frozen,   // the verdict is being agreed upon
    judged,   // `verdict` holds
    stopped,  // no verdict can be had: too few members are left, and this one has given up
  };

  const bool by_step;           // only agrees wait for the others; what is before one is as certain as it
  const std::uint32_t minimum;  // fewer members never go on
  Reached reached;
  std::uint32_t completed = 0;  // up to here this member has ended all well, and owes nobody a word about it
  bool was_absent = false;      // this process did not run for so long that the others may have gone on without it
  Stage stage = Stage::working;
  std::vector<Seat> seats;  // by rank
  // Silence, as Seat::heard, goes by the engine's attentive clock: while this process does not run it hears nobody.
  Nanoseconds frozen_since{0};
  Nanoseconds stuck_since{-1};  // the agreement cannot be reached with those who are left; negative: it can
  Instant asks_next{};          // all others, so that who lives is heard
  std::vector<Rank> excluded;   // by this member, before it froze: see StragglerPolicy
  std::unique_ptr<Agreement> on_verdict;
  Verdict verdict;

  std::vector<Rank> survivors;         // when judged; the members of `on_next`, in this order
  std::unique_ptr<Agreement> on_next;  // from the first message or begin_next() on
  bool next_begun = false;
  std::vector<std::pair<Rank, std::vector<std::byte>>> early_next;  // messages that came before the verdict did
  std::optional<std::string> next;                                  // its decision

  // Among the survivors; nothing: the verdict has lost it. When judged.
  std::optional<std::uint32_t> place_of(Rank rank) const {
    const auto found = std::lower_bound(survivors.begin(), survivors.end(), rank);
    if (found == survivors.end() || *found != rank) return std::nullopt;
    return static_cast<std::uint32_t>(found - survivors.begin());
  }

  // Who has the casting vote in the two agreements: the first that has not just joined, since who joins may never
  // come.
  std::uint32_t casting_on_verdict() const {
    const auto found = std::find_if(seats.begin(), seats.end(), [](const Seat& seat) { return !seat.is_new; });
    return found == seats.end() ? 0 : static_cast<std::uint32_t>(found - seats.begin());
  }
  std::uint32_t casting_on_next() const {
    const auto is_old = [this](Rank rank) { return !seats[static_cast<std::size_t>(rank)].is_new; };
    const auto found = std::find_if(survivors.begin(), survivors.end(), is_old);
    return found == survivors.end() ? 0 : static_cast<std::uint32_t>(found - survivors.begin());
  }

  bool is_over() const { return stage == Stage::judged || stage == Stage::stopped; }
  bool has_work() const { return stage == Stage::frozen || (stage == Stage::judged && on_next != nullptr && !next); }
};

}  // namespace tutti
