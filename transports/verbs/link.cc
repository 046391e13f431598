#include "transports/verbs/link.h"

#include <algorithm>

#include "src/base/format.h"

namespace tutti::verbs {

namespace {
constexpr Nanoseconds kLastWords = std::chrono::milliseconds(200);
}  // namespace

void Common::add(VerbsLink& link) {
  if (link.on_agenda_) return;
  link.on_agenda_ = true;
  agenda.push_back(&link);
}

void Common::starve(VerbsLink& link) {
  if (std::exchange(link.is_starved_, true)) return;
  starved.push_back(&link);
}

void Common::wake_starved() {
  for (VerbsLink* const link : starved) {
    link->is_starved_ = false;
    add(*link);
  }
  starved.clear();
}

VerbsLink::VerbsLink(Common& common, std::uint64_t serial, Link& control, Instant deadline)
    : common_(common),
      serial_(serial),
      peer_(control.peer()),
      lane_(control.lane()),
      control_(&control),
      deadline_(deadline) {
  common_.plan_timer(deadline);
}

VerbsLink::~VerbsLink() {
  if (common_.connector) common_.connector->forget(serial_);
  queue_pair_.reset();  // before what it reads and writes
  if (on_agenda_) std::erase(common_.agenda, this);
  if (is_starved_) std::erase(common_.starved, this);
}

std::string VerbsLink::describe() const {
  const std::string local = format("{} (pid {})", common_.hello.host_name, common_.hello.pid);
  if (peer_name_.empty()) return format("verbs {} -> process {}, lane {}", local, to_string(peer_), lane_);
  if (peer_port_.name.empty()) return format("verbs {} -> {}, lane {}", local, peer_name_, lane_);
  const PortFacts& port = common_.hello.ports[port_];
  return format("verbs {} {} {} -> {} {} {}, lane {}", local, port.name, to_string(port.gid), peer_name_,
                peer_port_.name, to_string(peer_port_.gid), lane_);
}

void VerbsLink::ask(Instant deadline) {
  is_asked_ = true;
  deadline_ = std::min(deadline_, deadline);
  common_.plan_timer(deadline_);
}

void VerbsLink::on_control_closed() {
  const Link& control = *std::exchange(control_, nullptr);
  control_open_ = false;
  if (state_ == State::closed || end_) return;
  const std::string why = control.status().text();
  const Code code = control.status().code();
  is_cut_off_ = control.is_cut_off();
  const std::string but = failure_.empty() ? "" : format("; before that: {}", failure_);
  if (farewell_) {
    is_cut_off_ = farewell_->is_cut_off && (failure_.empty() || failure_cuts_);
    return end(Status(Code::peer_lost, format("{} is closed by the peer: {}{}", describe(), farewell_->reason, but)));
  }
  end(Status(code == Code::ok ? Code::peer_lost : code,
             format("{} is closed with its control connection: {}{}", describe(), why, but)));
}

void VerbsLink::fail(const std::string& cause, bool is_cut_off) {
  if (state_ == State::closed || !failure_.empty()) return;
  failure_ = cause;
  failure_cuts_ = is_cut_off;
  failed_at_ = deadline_after(common_.now, kLastWords);
  common_.plan_timer(failed_at_);
}

void VerbsLink::run_timers() {
  if (state_ == State::closed) return;
  if (failed_at_ <= common_.now) {
    is_cut_off_ = failure_cuts_;
    failed_at_ = kNever;
    const Rail* rail = queue_pair_ ? &queue_pair_->rail() : nullptr;
    const bool adds_port = rail && rail->down_since != kNever && !failure_.starts_with(rail->port().name());
    const std::string down = adds_port ? format(", and {} is down", rail->port().name()) : "";
    end(Status(Code::peer_lost, format("{} is closed: {}{}; {} payloads not sent are lost", describe(), failure_,
                                       down, sending_.size())));
  } else if (state_ == State::greeting && deadline_ <= common_.now) {
    end(Status(Code::timeout, format("{} was not set up in time: {}", describe(), awaited())));
  }
  if (failed_at_ != kNever) common_.plan_timer(failed_at_);
  if (state_ == State::greeting) common_.plan_timer(deadline_);
  if (!unsaid_.empty()) common_.add(*this);
}

// At once where nothing of it can be delivered.
void VerbsLink::end(Status why) {
  if (state_ == State::closed) return;
  if (state_ != State::open) return finish(why);
  if (!end_) end_ = std::move(why);
  common_.add(*this);
}

void VerbsLink::close(const Status& why) {
  if (state_ == State::closed) return;
  finish(why.is_ok() ? Status(Code::aborted, format("{} was closed by this process", describe())) : why);
}

void VerbsLink::finish(const Status& why) {
  status_ = why;
  if (control_open_) say(Farewell{is_cut_off_, why.text()});
  if (common_.connector) common_.connector->forget(serial_);
  if (queue_pair_) {
    Registrar& registrar = queue_pair_->rail().registrar();
    old_ring_ = queue_pair_->take_ring();
    queue_pair_.reset();
    for (Sending& sending : sending_) registrar.give_back(sending.loan);
    for (Fetching& fetching : fetching_) registrar.give_back(fetching.loan);
    common_.wake_starved();
  }
  sending_.clear();
  fetching_.clear();
  arrivals_.clear();
  answers_.clear();
  unsaid_.clear();
  state_ = State::closed;
  owes_closed_ = is_known();
  if (!owes_closed_) {  // nobody has heard of it
    owes_connected_ = false;
    common_.options.log.write(LogLevel::debug, "verbs", "{}", why.text());
  }
  common_.add(*this);
  common_.note_room();
  if (control_ != nullptr) control_->close(why);
}

bool VerbsLink::has_work() const {
  if (owes_connected_ || owes_closed_ || end_ || !unsaid_.empty()) return true;
  if (state_ != State::open) return false;
  return owner_.holds() || !arrivals_.empty() || !sent_.empty() || !fetched_.empty();
}

std::size_t VerbsLink::collect(std::span<Event> out) {
  std::size_t count = 0;
  if (owes_connected_ && count < out.size()) {
    out[count++] = make_event(EventKind::connected);
    owes_connected_ = false;
    has_reported_ = true;
  }
  while (control_open_ && !unsaid_.empty() && state_ != State::closed) {
    const auto& bytes = unsaid_.front();
    if (control_->send(Header{}, bytes.data(), bytes.size(), 0) == SendState::again) break;
    unsaid_.pop_front();
  }
  if (state_ == State::open && !owes_connected_) {
    owner_.consume();
    if (failure_.empty()) work();
    for (; count < out.size() && !sent_.empty(); sent_.pop_front()) {
      Event& event = out[count++] = make_event(EventKind::sent);
      event.token = sent_.front();
    }
    for (; count < out.size() && !fetched_.empty(); fetched_.pop_front()) {
      Event& event = out[count++] = make_event(EventKind::fetched);
      event.token = fetched_.front();
    }
    deliver(out, count);
    if (end_ && arrivals_.empty() && sent_.empty() && fetched_.empty()) finish(*std::exchange(end_, std::nullopt));
  }
  if (owes_closed_ && !owes_connected_ && count < out.size()) {
    out[count++] = make_event(EventKind::closed);
    owes_closed_ = false;
  }
  return count;
}

Event VerbsLink::make_event(EventKind kind) {
  Event event;
  event.kind = kind;
  event.link = this;
  return event;
}

}  // namespace tutti::verbs
