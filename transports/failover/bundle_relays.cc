// How a bundle without a direct path finds a process that relays, and does without it again. See relays.h.
#include <algorithm>

#include "src/base/format.h"
#include "transports/failover/bundle.h"
#include "transports/failover/transport.h"

namespace tutti::failover {

namespace {
constexpr int kTriesInLimit = 3;  // so many thirds may leave the question without an answer
}  // namespace

// The last path has ended, and the peer may live.
void Bundle::orphan(const Status& why, Instant now) {
  orphan_until_ = now + transport_.options().relay_limit;
  orphan_why_ = why;
  asked_.clear();
  transport_.plan_timer(orphan_until_);
  seek_relay(now);
}

bool Bundle::is_greeting() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& each) {
    return each.path != nullptr && each.path->state == Path::State::greeting;
  });
}

void Bundle::seek_relay(Instant now) {
  if (slot(relay_lane(transport_.options().process, peer_)).path != nullptr) return;
  if (Path* const relay = transport_.find_relay(*this, asked_)) {
    asked_.push_back(relay->bundle->peer());
    const int tries = transport_.find_relay(*this, asked_) == nullptr ? 1 : kTriesInLimit;
    Path& path = transport_.dial_by(*relay, *this);
    path.deadline = now + transport_.options().relay_limit / tries;
    transport_.plan_timer(path.deadline);
  } else if (is_orphan() && !is_greeting() && (asked_.empty() || !address_.empty())) {
    end_orphan();  // without an address nobody could connect for us, but somebody may for the peer
  }
}

void Bundle::end_orphan() {
  const std::size_t asked = asked_.size();
  if (asked == 0) return close(Status(orphan_why_));
  close(Status(orphan_why_.code(), format("{}. {} other process{} asked to relay, and could not", orphan_why_.text(),
                                          asked, asked == 1 ? " was" : "es were")));
}

// Lanes that had no answer to their connects begin with what is relayed.
void Bundle::open_waiting_lanes() {
  for (std::uint32_t lane = 0; lane < lanes(); ++lane) {
    if (slots_[lane].lane == nullptr || !slots_[lane].lane->is_connecting()) continue;
    Lane& opened = open_lane(lane);
    slots_[lane].lost_at = transport_.now();
    const std::string text = format("{} has no answer. The process is there: all goes {} until this is connected",
                                    opened.describe(), ready_.front()->link->describe());
    transport_.options().log.write(LogLevel::warn, "failover", "{}", text);
    opened.tell_route(true, text);
  }
}

void Bundle::retire_relays() {
  retire_at_ = kNever;
  if (direct_ == 0) return;
  for (std::uint32_t lane = kRelayLanes; lane < slots_.size(); ++lane) {
    Path* const path = slots_[lane].path;
    if (path == nullptr) continue;
    if (path->state == Path::State::ready) {
      slots_[lane].ended_here = path->number;
      owe_state(*ready_.front());
      note_work();
      transport_.options().log.write(LogLevel::info, "failover", "{} is there again: nothing goes {} any more",
                                     ready_.front()->link->describe(), path->link->describe());
    }
    end_path(*path, Status(Code::aborted, format("{} is not needed any more", path->link->describe())));
  }
}

// The time of the next of these.
Instant Bundle::run_relay_timers(Instant now) {
  if (now >= orphan_until_) {
    end_orphan();
    return kNever;
  }
  if (now >= seek_at_) {
    const bool waits = direct_ == 0 && std::any_of(slots_.begin(), slots_.end(), [](const Slot& each) {
                         return each.lane != nullptr && each.lane->is_connecting();
                       });
    seek_at_ = waits ? now + transport_.options().relay_after : kNever;
    if (waits && !ready_.empty()) {
      open_waiting_lanes();
    } else if (waits && !is_orphan()) {
      asked_.clear();
      seek_relay(now);
    }
  }
  if (now >= retire_at_) retire_relays();
  return std::min({orphan_until_, seek_at_, retire_at_});
}

}  // namespace tutti::failover
