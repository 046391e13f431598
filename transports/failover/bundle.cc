// How the paths of a bundle come, go and come again. See bundle.h.
#include "transports/failover/bundle.h"

#include <algorithm>

#include "src/base/format.h"
#include "transports/failover/transport.h"

namespace tutti::failover {

namespace {
constexpr Nanoseconds kGreetingLimit = std::chrono::seconds(10);
constexpr Nanoseconds kRedialLimit = std::chrono::seconds(2);
constexpr Nanoseconds kRelayRest = std::chrono::seconds(1);  // before a relay that is not needed any more ends
}  // namespace

Bundle::Bundle(FailoverTransport& transport, const ProcessId& peer, std::uint64_t id)
    : transport_(transport), peer_(peer), id_(id) {}

Bundle::Slot& Bundle::slot(std::uint32_t lane) {
  if (slots_.size() <= lane) slots_.resize(lane + 1);
  return slots_[lane];
}

bool Bundle::is_empty() const {
  return std::all_of(slots_.begin(), slots_.end(),
                     [](const Slot& each) { return each.lane == nullptr && each.path == nullptr; });
}

bool Bundle::is_coming() const { return ready_.empty() && !is_orphan() && !is_empty(); }

void Bundle::note_work() {
  if (!std::exchange(has_work_, true)) transport_.has_work(*this);
}

Lane* Bundle::connect(Path& path, Instant deadline) {
  Slot& its = slot(path.lane);
  its.lane = transport_.make_lane(*this, path.lane);
  its.deadline = deadline;
  transport_.plan_timer(deadline);
  if (transport_.options().relays && direct_ == 0) {
    const Instant now = transport_.now();
    seek_at_ = ready_.empty() ? now + std::min(transport_.options().relay_after, (deadline - now) / 2) : now;
    transport_.plan_timer(seek_at_);
  }
  return its.lane;
}

void Bundle::add_path(Path& path) {
  Slot& its = slot(path.lane);
  if (its.path != nullptr) end_path(*its.path, Status(Code::aborted, "another connection was made for this lane"));
  its.path = &path;
  path.bundle = this;
}

void Bundle::on_connected(Path& path, Instant now) {
  path.state = Path::State::greeting;
  path.deadline = now + (path.is_relayed() ? transport_.options().relay_limit : kGreetingLimit);
  transport_.plan_timer(path.deadline);
  path.owes_hello = true;
  note_work();
}

Lane& Bundle::open_lane(std::uint32_t lane) {
  Slot& its = slot(lane);
  if (its.lane == nullptr) its.lane = transport_.make_lane(*this, lane);
  if (its.lane->is_connecting()) {
    its.lane->open(is_resilient_);
    its.deadline = kNever;
    Event event;
    event.kind = EventKind::connected;
    event.link = its.lane;
    transport_.emit(event);
  }
  return *its.lane;
}

void Bundle::make_ready(Path& path, Instant now) {
  path.state = Path::State::ready;
  path.narrow_way = path.link->narrow_way();
  path.deadline = kNever;
  path.ready_since = now;
  orphan_until_ = kNever;
  const bool is_replacing = !ready_.empty() || has_lost_;
  Slot& its = slot(path.lane);
  its.redial = kNever;
  if (is_replacing) owe_state(path);
  if (path.is_relayed()) {
    ready_.push_back(&path);
    if (direct_ == 0) open_waiting_lanes();
    return note_work();
  }
  ready_.insert(ready_.begin() + static_cast<std::ptrdiff_t>(direct_++), &path);
  if (slots_.size() > kRelayLanes) {
    retire_at_ = now + kRelayRest;
    transport_.plan_timer(retire_at_);
  }
  if (its.lane != nullptr && its.lane->is_open()) {
    const std::string text = format("{} is back after {}", path.link->describe(), format_duration(now - its.lost_at));
    transport_.options().log.write(LogLevel::info, "failover", "{}", text);
    if (its.lost_number == 0) its.lane->tell_route(false, text);  // otherwise mourn() tells of both
  }
  transport_.is_reserve(path.lane) ? open_on_reserve(now) : static_cast<void>(open_lane(path.lane));
  transport_.on_reached(path);
  note_work();
}

// Lanes whose own path could not be connected.
void Bundle::open_on_reserve(Instant now) {
  const Path* const reserve = path_of(kReserveLane);
  if (reserve == nullptr || reserve->state != Path::State::ready) return;
  for (Slot& each : slots_) {
    if (each.lane == nullptr || !each.lane->is_connecting() || each.path != nullptr) continue;
    open_lane(each.lane->lane());
    plan_redial(each, false, now);
    each.lost_at = now;
    const std::string text =
        format("{}; all goes over {} until it is connected", each.lost_why.text(), reserve->link->describe());
    transport_.options().log.write(LogLevel::warn, "failover", "{}", text);
    each.lane->tell_route(true, text);
  }
}

void Bundle::owe_state(Path& path) {
  path.owes_state = true;
  path.counts_told = path.ends_told = 0;
}

// The path is no more of use. What was on its way comes again.
void Bundle::end_path(Path& path, const Status& why) {
  erase_ready(path);
  for (const Slot& each : slots_) {
    if (each.lane != nullptr) each.lane->path_ended(path);
  }
  slots_[path.lane].path = nullptr;
  const bool by_peer = path.state == Path::State::ready && !path.link->is_open();
  path.state = Path::State::ended;
  path.bundle = nullptr;
  path.fetches.clear();
  path.link->close(why);
  transport_.relays().on_path_ended(path, by_peer);
}

void Bundle::erase_ready(Path& path) {
  if (std::erase(ready_, &path) > 0 && !path.is_relayed()) --direct_;
}

void Bundle::on_closed(Path& path, Instant now) {
  lose_path(path, path.link->status(), path.link->is_cut_off(), now);
}

void Bundle::lose_path(Path& path, const Status& why, bool may_live, Instant now) {
  Slot& its = slots_[path.lane];
  const Path::State was = path.state;
  const bool has_lasted = was == Path::State::ready && now - path.ready_since >= transport_.options().pause_max;
  const bool is_last = was == Path::State::ready && (ready_.size() == 1 || !is_resilient_);
  if (is_last && !(may_live && can_relay_)) {
    std::vector<Path*> others;  // one that has just connected may be the peer's new beginning
    for (const Slot& each : slots_) {
      if (each.path != nullptr && each.path->state == Path::State::greeting) others.push_back(each.path);
    }
    if (others.empty()) return close(why);
    begin_anew(others, why);
    return;
  }
  end_path(path, why);
  if (its.lane != nullptr && its.lane->is_connecting()) {
    its.lost_why = why;
    if (transport_.options().reserve && path_of(kReserveLane) != nullptr && now < its.deadline) {
      open_on_reserve(now);
    } else {
      its.lane->end(why);
      its.lane = nullptr;
    }
  }
  if (transport_.is_reserve(path.lane)) end_waiting_lanes();
  if (is_empty()) return close(why);
  if (was != Path::State::connecting) its.ended_here = path.number;
  if (was == Path::State::ready) {
    has_lost_ = true;
    its.lost_number = path.peer_number;
    its.lost_why = why;
    its.lost_at = now;
  }
  if (!ready_.empty()) owe_state(*ready_.front());
  if (is_wanted(path.lane)) plan_redial(its, has_lasted, now);
  note_work();
  mourn(path.lane);
  if (is_last) return orphan(why, now);
  if (ready_.empty() && (is_orphan() || (seek_at_ != kNever && path.is_relayed()))) seek_relay(now);
}

bool Bundle::is_wanted(std::uint32_t lane) const {
  const Lane* const its = slots_[lane].lane;
  return transport_.is_reserve(lane) || (its != nullptr && its->is_open());
}

// There is nothing left that they could begin on.
void Bundle::end_waiting_lanes() {
  for (Slot& each : slots_) {
    if (each.lane == nullptr || !each.lane->is_connecting() || each.path != nullptr) continue;
    each.lane->end(each.lost_why);
    each.lane = nullptr;
  }
}

void Bundle::plan_redial(Slot& its, bool has_lasted, Instant now) {
  if (address_.empty()) return;
  const FailoverOptions& options = transport_.options();
  its.pause = has_lasted || its.pause.count() == 0 ? options.pause_min : std::min(2 * its.pause, options.pause_max);
  its.redial = now + (options.process < peer_ ? 1 : 2) * its.pause;  // so that both rarely dial at once
  transport_.plan_timer(its.redial);
}

void Bundle::close(const Status& why) {
  if (std::exchange(is_closed_, true)) return;
  for (const Slot& each : slots_) {
    if (each.path != nullptr) end_path(*each.path, why);
  }
  for (Slot& each : slots_) {
    if (each.lane != nullptr) each.lane->end(why);
    each.lane = nullptr;
  }
  transport_.on_unreachable(peer_, peer_id_ != 0);
  transport_.bury(*this);
}

void Bundle::refuse(const std::string& why) {
  const auto with_path = std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.path != nullptr; });
  const Status status(Code::internal,
                      format("{} is closed: {}. No correct peer does that",
                             with_path == slots_.end() ? to_string(peer_) : with_path->path->link->describe(), why));
  transport_.options().log.write(LogLevel::warn, "failover", "{}", status.text());
  close(status);
}

Bundle& Bundle::begin_anew(const std::vector<Path*>& paths, const Status& why) {
  for (Path* const path : paths) {
    erase_ready(*path);
    for (const Slot& each : slots_) {
      if (each.lane != nullptr) each.lane->path_ended(*path);
    }
    path->fetches.clear();
    slots_[path->lane].path = nullptr;
  }
  close(why);
  Bundle& next = transport_.make_bundle(peer_);
  next.address_ = address_;
  for (Path* const path : paths) {
    next.add_path(*path);
    next.on_connected(*path, transport_.now());
  }
  return next;
}

// What the caller may want to know, once it is certain that the peer lives.
void Bundle::mourn(std::uint32_t lane) {
  Slot& its = slots_[lane];
  if (its.lost_number == 0 || its.ended_there < its.lost_number || ready_.empty()) return;
  its.lost_number = 0;
  if (lane >= kRelayLanes && direct_ > 0) return;
  Lane::Backlog backlog;
  for (const Slot& each : slots_) {
    if (each.lane == nullptr) continue;
    const Lane::Backlog part = each.lane->waiting_for(lane);
    backlog.frames += part.frames;
    backlog.bytes += part.bytes;
  }
  const std::string way = direct_ == 0 ? ready_.front()->link->describe()
                                       : format("over its {} other lane{}", direct_, direct_ == 1 ? "" : "s");
  const bool is_back = its.path != nullptr && its.path->state == Path::State::ready;
  const std::string text =
      format("{}. The process is still there: {} frames with {} that it does not have are sent again{}",
             its.lost_why.text(), backlog.frames, format_bytes(backlog.bytes),
             is_back ? "" : format(", and all that follows goes {} until this one is connected again", way));
  transport_.options().log.write(LogLevel::warn, "failover", "{}", text);
  if (its.lane != nullptr) its.lane->tell_route(!is_back, text);
}

Instant Bundle::run_timers(Instant now) {
  Instant next = kNever;
  for (std::size_t lane = 0; lane < slots_.size() && !is_closed_; ++lane) {
    Slot& its = slots_[lane];
    if (its.lane != nullptr && its.lane->is_connecting() && now >= its.deadline) {
      if (its.path != nullptr) {
        lose_path(*its.path,
                  Status(Code::timeout, format("{} is closed: the peer has not greeted before the deadline",
                                               its.path->link->describe())),
                  false, now);
      } else if (transport_.options().reserve) {
        its.lane->end(its.lost_why);
        its.lane = nullptr;
        if (is_empty()) close(its.lost_why);
      }
      continue;
    }
    if (its.path != nullptr && now >= its.path->deadline) {
      lose_path(*its.path,
                Status(Code::timeout, format("{} is closed: the peer has not greeted for {}",
                                             its.path->link->describe(), format_duration(kGreetingLimit))),
                false, now);
      continue;
    }
    if (now >= its.redial) {
      its.redial = kNever;
      if (is_wanted(static_cast<std::uint32_t>(lane)) && its.path == nullptr &&
          transport_.dial(*this, static_cast<std::uint32_t>(lane), deadline_after(now, kRedialLimit)) == nullptr)
        plan_redial(its, false, now);
    }
    next = std::min(next, its.redial);
    if (its.lane != nullptr && its.lane->is_connecting()) next = std::min(next, its.deadline);
    if (its.path != nullptr) next = std::min(next, its.path->deadline);
  }
  return is_closed_ ? kNever : std::min(next, run_relay_timers(now));
}

}  // namespace tutti::failover
