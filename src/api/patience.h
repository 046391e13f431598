// Patience: how a thread that waits spends the next moment: spinning, yielding its core, or asleep. The costs decide,
// and they are learnt from the waits themselves:
//
//   - Spinning wins where the peer runs on another core; it loses a whole turn where the peer needs this one. A yield
//     that takes longer than finding nobody says that somebody else runs here: then nothing is spun away.
//   - Yielding wins where those who share the core want it for a moment only. To a busy stranger it gives a whole
//     time slice, milliseconds: where yields are that dear on average, a thread sleeps instead, since one that wakes
//     up is let in sooner.
//   - Where a stranger is about but gets few of the yields, a thread yields for longer before it sleeps, since to
//     sleep would give the core away. But not in vain where a peer must be waiting for this core: a scheduler that
//     shares cores between groups of processes may ignore a yield.
//   - Sleeping wins where waits are long anyway (a slow link): polling for them only burns a core.
//
// Every belief is put to the test again after a while, so a machine that changes is followed. A state machine without
// clock; not thread-safe.
#pragma once

#include <cstdint>

#include "src/base/clock.h"

namespace tutti {

class Patience {
 public:
  enum class Next : std::uint8_t { spin, yield, sleep };

  // Of an untaught thread: it spins for `spin`, then yields for `yield`, then sleeps.
  Patience(Nanoseconds spin, Nanoseconds yield) : spin_(spin), yield_(yield) {}

  // What to do when nothing has come for `idle`. `crowded`: the job has more ranks than cores here.
  Next next(Nanoseconds idle, bool crowded, Instant now) const;

  // A yield took so long.
  void yielded(Nanoseconds took, Instant now);
  // Something has come after nothing had for `idle`.
  void arrived(Nanoseconds idle);

 private:
  bool waits_are_long() const { return expected_ > 2 * (spin_ + yield_); }

  Nanoseconds spin_;
  Nanoseconds yield_;
  Nanoseconds expected_{0};    // a running average of how long waits are
  int vain_ = 0;               // yields in a row, in this wait, that found nobody
  int company_ = 0;            // evidence that somebody else runs on this core
  Nanoseconds yield_cost_{0};  // a running average of what a yield takes
  Instant no_yields_until_{};
  Instant strangers_until_{};
  Nanoseconds no_yields_for_{0};      // how long the last time
  int short_waits_ = 0;               // in a row
  std::uint32_t quick_in_a_row_ = 0;  // yields that cost no time slice
};

}  // namespace tutti
