// What goes over the paths of a bundle: the lanes' frames, and what the two sides tell each other.
#include <algorithm>

#include "src/base/format.h"
#include "transports/failover/bundle.h"
#include "transports/failover/transport.h"

namespace tutti::failover {

Path* Bundle::path_for(std::uint32_t lane, std::size_t bytes) {
  Path* const own = slots_[lane].path;
  if (own != nullptr && own->state == Path::State::ready)
    return bytes == 0 || direct_ == 1 ? own : earliest(own->narrow_way != 0 ? filling(*own) : *own, bytes);
  if (direct_ == 0) return ready_.empty() ? nullptr : ready_.front();
  Path* const next = ready_[turn_++ % direct_];
  return transport_.is_reserve(next->lane) ? ready_[turn_++ % direct_] : next;
}

SendState Bundle::put(Path*& path, std::uint32_t lane, std::uint64_t number, const Header& header,
                      const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  const Path* const own = slots_[lane].path;
  const bool is_chosen = path == own || direct_ == 0 || (own != nullptr && own->state == Path::State::ready);
  const std::size_t choices = is_chosen ? 1 : direct_;
  for (std::size_t i = 0; i < choices; ++i) {
    if (i > 0) path = ready_[turn_++ % direct_];
    const SendState state = put_on(*path, lane, number, header, payload, bytes, cookie);
    if (state == SendState::copied || state == SendState::pending) return state;
  }
  return SendState::again;
}

SendState Bundle::put_on(Path& path, std::uint32_t lane, std::uint64_t number, const Header& header,
                         const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  if (!flush(path)) return SendState::again;
  if (path.send_lane != lane || path.send_sequence != number) {
    if (!send_control(path, {ControlKind::label, lane, 0, {number}})) return SendState::again;
    path.send_lane = lane;
    path.send_sequence = number;
  }
  const std::uint64_t confirms = std::min(received(path.lane) - path.told, kConfirmedMax);
  Header marked = header;
  set_mark(marked, confirms);
  const SendState state = path.link->send(marked, payload, bytes, cookie);
  if (state != SendState::copied && state != SendState::pending) return state;
  ++path.send_sequence;
  if (confirms > 0) {
    path.told += confirms;
    slots_[path.lane].lane->told(path.told);
  }
  return state;
}

std::uint64_t Bundle::received(std::uint32_t lane) const {
  return slots_[lane].lane == nullptr ? 0 : slots_[lane].lane->received();
}

bool Bundle::is_drained() const {
  return std::all_of(ready_.begin(), ready_.end(), [](const Path* path) { return path->link->is_drained(); });
}

bool Bundle::waits_for_payload() const {
  return std::any_of(ready_.begin(), ready_.end(), [](const Path* path) { return !path->fetches.empty(); });
}

bool Bundle::send_control(Path& path, const Control& control) {
  return path.link->send(control.pack(), nullptr, 0, 0) == SendState::copied;
}

bool Bundle::flush(Path& path) {
  if (!Relays::label(path, 0)) return false;
  if (path.owes_hello) {
    const std::uint64_t wants = transport_.options().relays ? kWantsRelays : 0;
    const Control hello{
        ControlKind::hello, path.lane, 0, {id_, path.peer_bundle, path.number, transport_.paths_max(), wants}};
    if (!send_control(path, hello)) return false;
    path.owes_hello = false;
    path.told_bundle = path.peer_bundle;
    path.send_lane = path.lane;
    path.send_sequence = path.told = 0;
  }
  if (!path.owes_state || path.state != Path::State::ready) return true;
  for (; path.counts_told < lanes(); path.counts_told += kCountsMax) {
    if (!send_counts(path, path.counts_told)) return false;
  }
  for (; path.ends_told < slots_.size(); ++path.ends_told) {
    const std::uint64_t number = slots_[path.ends_told].ended_here;
    if (number != 0 && !send_control(path, {ControlKind::ended, path.ends_told, 0, {number}})) return false;
  }
  path.owes_state = false;
  return true;
}

// Of kCountsMax lanes from `first` on.
bool Bundle::send_counts(Path& path, std::uint32_t first) {
  Control counts{ControlKind::counts, first, std::min(lanes() - first, kCountsMax), {}};
  for (std::uint32_t i = 0; i < counts.count; ++i) counts.values[i] = received(first + i);
  if (!send_control(path, counts)) return false;
  for (std::uint32_t i = 0; i < counts.count; ++i) {
    if (first + i == path.lane) path.told = counts.values[i];
    if (slots_[first + i].lane != nullptr) slots_[first + i].lane->told(counts.values[i]);
  }
  return true;
}

// Confirms what the lanes owe; false: there is no room for all of it. Where one path fills a narrow way, by another:
// on that one the word would wait behind all that fills it.
bool Bundle::confirm() {
  const auto direct_end = ready_.begin() + static_cast<std::ptrdiff_t>(direct_);
  const auto free_one = std::find_if(ready_.begin(), direct_end,
                                     [this](Path* path) { return path->narrow_way != 0 && &filling(*path) != path; });
  for (std::uint32_t lane = 0; lane < lanes(); ++lane) {
    const Lane* const its = slots_[lane].lane;
    if (its == nullptr || !(its->owes_soon() || its->owes_now())) continue;
    const std::uint32_t first = lane / kCountsMax * kCountsMax;
    const auto tell = [&](Path* path) { return flush(*path) && send_counts(*path, first); };
    const bool is_told =
        (free_one != direct_end && tell(*free_one)) || std::any_of(ready_.begin(), ready_.end(), tell);
    if (!is_told) return false;
  }
  return true;
}

bool Bundle::work(bool is_idle) {
  bool is_left = false;
  bool owes_now = false;
  bool owes_soon = false;
  for (std::size_t lane = 0; lane < slots_.size() && !is_closed_; ++lane) {
    const Slot& its = slots_[lane];
    if (its.path != nullptr && its.path->state != Path::State::connecting) is_left |= !flush(*its.path);
    if (its.lane == nullptr || !its.lane->is_open()) continue;
    if (its.lane->has_waiting()) its.lane->resend();
    is_left |= its.lane->has_waiting();
    owes_now |= its.lane->owes_now();
    owes_soon |= its.lane->owes_soon();
  }
  if (is_closed_) return false;
  if (owes_now || (owes_soon && is_idle)) owes_soon = !confirm();
  return is_left || owes_soon;
}

void Bundle::on_delivery(Path& path, Event& event, Instant now) {
  last_seen_ = transport_.polls();
  const std::uint64_t mark = mark_of(event.header);
  if (mark == kControlMark) {
    const Control control = Control::unpack(event.header);
    const bool has_payload = event.bytes > 0;
    transport_.release(path, event.token);
    if (has_payload) return refuse("it sent a word of the lanes' own with a payload");
    return on_control(path, control, now);
  }
  if (path.state != Path::State::ready) return transport_.release(path, event.token);  // of an earlier bundle
  path.heard += mark;
  Lane* const own = slots_[path.lane].lane;
  if (mark > kConfirmedMax || (mark > 0 && (!is_resilient_ || own == nullptr || !own->confirmed(path.heard)))) {
    transport_.release(path, event.token);
    return refuse(format("it confirmed frame {} of lane {}, which it was not sent", path.heard, path.lane));
  }
  set_mark(event.header, 0);
  if (path.receive_lane >= kLanesLimit || transport_.is_reserve(path.receive_lane)) {
    transport_.release(path, event.token);
    return refuse("it sent a frame of no lane");
  }
  open_lane(path.receive_lane).receive(path, path.receive_sequence++, event);
}

void Bundle::on_fetched(Path& path, std::uint64_t token) {
  const auto found =
      std::find_if(path.fetches.begin(), path.fetches.end(), [&](const Path::Fetch& f) { return f.token == token; });
  if (found == path.fetches.end()) return;
  last_seen_ = transport_.polls();
  const Path::Fetch fetch = *found;
  path.fetches.erase(found);
  fetch.lane->fetched(path, fetch);
}

void Bundle::on_sent(Path& path, std::uint64_t cookie) {
  constexpr int kLaneShift = 56;
  const std::uint64_t lane = is_resilient_ ? cookie >> kLaneShift : path.lane;
  slots_[lane].lane->sent(cookie);
}

void Bundle::on_control(Path& path, const Control& control, Instant now) {
  const bool is_about_path = control.kind == ControlKind::hello || control.kind == ControlKind::ended;
  if (control.lane >= (is_about_path ? kRelayLanes + 2 : kLanesLimit))
    return refuse(format("it speaks of lane {}; there are {}", control.lane, kLanesLimit));
  if (control.kind == ControlKind::hello) return on_hello(path, control, now);
  if (path.state != Path::State::ready) return;  // of an earlier bundle
  if (!is_resilient_) return refuse("it speaks of lanes where there is one");
  switch (control.kind) {
    case ControlKind::label:
      path.receive_lane = control.lane;
      path.receive_sequence = control.values[0];
      return;
    case ControlKind::counts:
      return on_counts(path, control);
    case ControlKind::ended:
      return on_ended(control.lane, control.values[0], now);
    default:
      return refuse(format("it sent a word of unknown kind {}", static_cast<int>(control.kind)));
  }
}

void Bundle::on_hello(Path& path, const Control& control, Instant now) {
  const auto [theirs, ours, number, lanes, wants] = control.values;
  if (theirs == 0 || number == 0 || control.lane != path.lane) return refuse("its greeting is none");
  if (ours != 0 && ours != id_) return;  // meant for an earlier one
  if (peer_id_ != 0 && theirs != peer_id_) {
    const Status why(Code::peer_lost,
                     format("{} is closed: the peer has lost all lanes and began anew", path.link->describe()));
    if (path.state == Path::State::ready) return close(why);  // it may still read what the lanes have sent
    Control anew = control;
    anew.values[1] = 0;
    return begin_anew({&path}, why).on_hello(path, anew, now);
  }
  if (peer_id_ != 0 && lanes != peer_lanes_)
    return refuse(format("it greets with {} lanes, after it had {}", lanes, peer_lanes_));
  if (peer_id_ != 0 && wants != peer_wants_) return refuse("it wants relays at one time and none at another");
  path.peer_bundle = theirs;
  path.peer_number = number;
  path.receive_lane = path.lane;
  path.receive_sequence = path.heard = 0;
  if (path.told_bundle != theirs) {
    path.owes_hello = true;
    note_work();
  }
  if (ours != id_ || path.state != Path::State::greeting) return;
  peer_id_ = theirs;
  peer_lanes_ = lanes;
  peer_wants_ = wants;
  can_relay_ = transport_.options().relays && (wants & kWantsRelays) != 0;
  path.may_relay = can_relay_ && !path.is_relayed();
  is_resilient_ = std::min<std::uint64_t>(lanes, transport_.paths_max()) > 1 || can_relay_;
  make_ready(path, now);
}

void Bundle::on_counts(Path& path, const Control& control) {
  for (std::uint32_t i = 0; i < std::min(control.count, kCountsMax); ++i) {
    const std::uint32_t lane = control.lane + i;
    if (lane >= slots_.size() || slots_[lane].lane == nullptr || !slots_[lane].lane->is_open()) {
      if (control.values[i] == 0) continue;
      return refuse(format("it confirmed frames of lane {}, where there is none", lane));
    }
    if (!slots_[lane].lane->confirmed(control.values[i]))
      return refuse(format("it confirmed frame {} of lane {}, which it was not sent", control.values[i], lane));
    if (lane == path.lane) path.heard = control.values[i];
  }
}

// The peer takes nothing more from its end of that path. What it has of it, it has said before.
void Bundle::on_ended(std::uint32_t lane, std::uint64_t number, Instant now) {
  Slot& its = slot(lane);
  its.ended_there = std::max(its.ended_there, number);
  Path* const path = its.path;
  if (path != nullptr && path->state == Path::State::ready && path->peer_number == number) {
    lose_path(
        *path,
        Status(Code::peer_lost, format("{} is closed: the other end of the connection is", path->link->describe())),
        true, now);
  } else {
    mourn(lane);
  }
  if (!is_closed_) note_work();
}

}  // namespace tutti::failover
