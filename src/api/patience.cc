#include "src/api/patience.h"

#include <algorithm>

namespace tutti {

namespace {

constexpr Nanoseconds kMoment = std::chrono::microseconds(2);       // spun even where waits are long
constexpr Nanoseconds kNobody = std::chrono::nanoseconds(800);      // more than a yield that finds nobody takes
constexpr Nanoseconds kLong = std::chrono::microseconds(500);       // a yield: more than peers want the core for
constexpr Nanoseconds kSleepCosts = std::chrono::microseconds(24);  // to be woken, and what the other pays for it
constexpr int kYieldsAveraged = 256;
constexpr Nanoseconds kFirstPause = std::chrono::milliseconds(16);
constexpr Nanoseconds kLongestPause = std::chrono::seconds(1);
constexpr Nanoseconds kTwoSlices = std::chrono::milliseconds(8);
constexpr int kVainMost = 20;
constexpr Nanoseconds kRemembered = std::chrono::seconds(1);
constexpr std::uint32_t kQuickYieldsToTrust = 64;
constexpr Nanoseconds kShortWait = std::chrono::microseconds(50);
constexpr int kShortWaitsToTrust = 256;  // beside a stranger, one in twenty is longer
constexpr int kCompanyMost = 16;
constexpr int kCompanyBelieved = 8;

}  // namespace

Patience::Next Patience::next(Nanoseconds idle, bool crowded, Instant now) const {
  const bool shared = crowded || company_ >= kCompanyBelieved;
  Nanoseconds spin = shared ? Nanoseconds(0) : spin_;
  if (waits_are_long()) spin = std::min(spin, kMoment);
  if (idle < spin) return Next::spin;
  const bool has_strangers = now < strangers_until_ && yield_.count() > 0;
  const Nanoseconds yield = has_strangers ? std::max(yield_, kTwoSlices) : yield_;
  if (waits_are_long() || now < no_yields_until_ || idle >= spin + yield) return Next::sleep;
  if (crowded && has_strangers && vain_ >= kVainMost) return Next::sleep;
  return Next::yield;
}

void Patience::yielded(Nanoseconds took, Instant now) {
  yield_cost_ += (took - yield_cost_) / kYieldsAveraged;
  if (took < kLong) {
    vain_ = took > kNobody ? 0 : vain_ + 1;
    company_ = took > kNobody ? std::min(company_ + 1, kCompanyMost) : std::max(company_ - 1, 0);
    if (++quick_in_a_row_ >= kQuickYieldsToTrust) no_yields_for_ = Nanoseconds(0);
    return;
  }
  quick_in_a_row_ = 0;
  vain_ = 0;
  strangers_until_ = now + kRemembered;
  if (yield_cost_ < kSleepCosts) return;
  no_yields_for_ = std::clamp(4 * no_yields_for_, kFirstPause, kLongestPause);
  no_yields_until_ = now + no_yields_for_;
  yield_cost_ = kSleepCosts;  // afterwards one more slice lost is enough
}

void Patience::arrived(Nanoseconds idle) {
  vain_ = 0;
  if (idle < kMoment) return;
  short_waits_ = idle < kShortWait ? short_waits_ + 1 : 0;
  if (short_waits_ >= kShortWaitsToTrust) {
    short_waits_ = 0;
    no_yields_until_ = {};
    no_yields_for_ = yield_cost_ = Nanoseconds(0);
  }
  // Bounded, so that a few short waits are enough to be believed after one very long.
  expected_ += (std::min(idle, 4 * (spin_ + yield_)) - expected_) / 4;
}

}  // namespace tutti
