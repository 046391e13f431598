#include "transports/tcp/link.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "src/base/format.h"

namespace tutti::tcp {

namespace {
// So far that what one connection has under way may not fill it, and each packet lost costs much: there every
// connection counts.
constexpr Nanoseconds kLongWay = std::chrono::milliseconds(2);
}  // namespace

void Agenda::add(TcpLink& link) {
  if (link.on_agenda_) return;
  link.on_agenda_ = true;
  links_.push_back(&link);
}

void Agenda::remove(TcpLink& link) {
  if (latest_ == &link) latest_ = nullptr;
  if (!link.on_agenda_) return;
  link.on_agenda_ = false;
  std::erase(links_, &link);
}

std::size_t Agenda::collect(std::span<Event> out) {
  std::size_t count = 0;
  if (links_.size() > 1) std::rotate(links_.begin(), links_.begin() + 1, links_.end());
  for (TcpLink* const link : links_) {
    const std::size_t events = link->collect(out.subspan(count));
    if (events > 0) latest_ = link;
    count += events;
  }
  std::erase_if(links_, [](TcpLink* link) { return !(link->on_agenda_ = link->has_work()); });
  return count;
}

TcpLink::TcpLink(Agenda& agenda, std::uint64_t serial, const ProcessId& peer, std::uint32_t lane, Names names)
    : agenda_(agenda), serial_(serial), peer_(peer), lane_(lane), names_(std::move(names)) {}

std::string TcpLink::describe() const {
  if (remote_.port == 0) return format("tcp {} -> {}, lane {}", names_.local, names_.peer, lane_);
  return format("tcp {} {}{}{} -> {} {}, lane {}", names_.local, interface_, interface_.empty() ? "" : " ",
                to_string(local_), names_.peer, to_string(remote_), lane_);
}

void TcpLink::open(Descriptor descriptor, std::unique_ptr<TlsChannel> tls, const Endpoint& remote,
                   const TcpOptions& options, std::string interface, std::uint32_t narrow_way) {
  descriptor_ = std::move(descriptor);
  interface_ = std::move(interface);
  tls_ = std::move(tls);
  if (tls_ != nullptr) tls_->expect_much();
  local_ = local_endpoint(descriptor_.get());
  remote_ = remote;
  is_within_host_ = remote_.ip == local_.ip || remote_.ip.is_loopback();
  if (is_within_host_) tune_for_this_host(descriptor_.get());
  if (!is_within_host_ && round_trip(descriptor_.get()) < kLongWay) narrow_way_ = narrow_way;
  sender_.emplace(options.copied_bytes_max);
  sender_->note_conduit(conduit());
  receiver_.emplace(options.frame_bytes_max);
  state_ = State::open;
  owes_connected_ = true;
  agenda_.add(*this);
}

SendState TcpLink::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  if (state_ != State::open) return SendState::closed;
  const SendState state = sender_->send(conduit(), header, payload, bytes, cookie);
  has_refused_ = state == SendState::again;
  if (!on_agenda_) agenda_.add(*this);
  return state;
}

void TcpLink::flush() {
  const std::size_t queued = sender_->queued_bytes();
  sender_->flush(conduit());
  if (has_refused_ && (sender_->queued_bytes() < queued || queued == 0)) {
    has_refused_ = false;
    agenda_.note_room();
  }
}

FetchState TcpLink::fetch(std::uint64_t token, std::byte* target) {
  if (state_ != State::open) return FetchState::closed;
  agenda_.add(*this);
  const FetchState state = receiver_->fetch(conduit(), token, target);
  is_parsed_ = state == FetchState::pending;  // then the buffer is empty, and the next poll may read at once
  return state;
}

void TcpLink::release(std::uint64_t token) {
  if (state_ != State::open || !receiver_->waits_for_fetch()) return;
  receiver_->release(token);
  is_parsed_ = false;
  agenda_.add(*this);
}

bool TcpLink::is_drained() const {
  if (state_ != State::open || sender_->is_unused()) return true;
  // Only what the peer's kernel has is safe: a process that ends with bytes unread makes its kernel drop the rest.
  return sender_->is_empty() && unacknowledged_bytes(descriptor_.get()) == 0;
}

std::optional<std::uint64_t> TcpLink::under_way() const {
  if (state_ != State::open) return 0;
  return sender_->queued_bytes() + unacknowledged_bytes(descriptor_.get());
}

void TcpLink::close(const Status& why) {
  if (state_ == State::closed) return;
  finish(why.is_ok() ? Status(Code::aborted, format("{} was closed by this process", describe())) : why);
}

void TcpLink::lose(Code code, std::string_view cause) {
  if (state_ == State::closed) return;
  std::string under_way;
  if (state_ == State::open) {
    under_way = format("; {} not sent and {} not acknowledged are lost", format_bytes(sender_->queued_bytes()),
                       format_bytes(unacknowledged_bytes(descriptor_.get())));
  }
  finish(Status(code, format("{} is closed: {}{}", describe(), cause, under_way)));
}

void TcpLink::cut_off(std::string_view cause) {
  if (state_ == State::closed) return;
  is_cut_off_ = true;
  lose(Code::peer_lost, cause);
}

void TcpLink::finish(Status why) {
  status_ = std::move(why);
  state_ = State::closed;
  if (is_cut_off_) quiet_ = std::move(descriptor_);
  descriptor_.reset();
  owes_closed_ = true;
  agenda_.add(*this);
}

void TcpLink::try_receive() {
  if (state_ != State::open || receiver_->waits_for_fetch()) return;
  receiver_->mark_readable();
  agenda_.add(*this);
}

void TcpLink::on_ready(std::uint32_t flags) {
  if (state_ != State::open) return;
  if ((flags & EPOLLIN) != 0) receiver_->mark_readable();
  if ((flags & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) receiver_->mark_ending();
  if ((flags & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) sender_->unblock();
  if (has_work()) agenda_.add(*this);
}

// Time alone proves nothing: the kernel waits longer after each question, up to minutes, also while a peer that is
// alive and does not read answers every one of them.
void TcpLink::check_silence(Nanoseconds limit, Instant now) {
  constexpr unsigned kQuestionsMin = 3;
  if (state_ != State::open) return;
  const Silence silence = measure_silence(descriptor_.get());
  const Instant question = now - silence.since_question;
  if (now - silence.since_answer > last_question_) questions_unanswered_ = 0;
  if (silence.since_answer > silence.since_question &&
      (questions_unanswered_ == 0 || question - last_question_ > std::chrono::milliseconds(10))) {
    ++questions_unanswered_;
    last_question_ = question;
  }
  // Repetitions count also where they cannot leave, as the interface is down.
  const unsigned unanswered = std::max({questions_unanswered_, silence.probes_unanswered, silence.retransmissions});
  // A peer that does not hear goes on talking: what it sends again carries acknowledgements, of nothing new.
  if (silence.retransmissions == 0 || understood_ == Instant{}) understood_ = now;
  if (silence.since_answer >= limit && unanswered >= kQuestionsMin) {
    cut_off(format("the host of {} has not answered for {}", names_.peer, format_duration(silence.since_answer)));
  } else if (silence.retransmissions >= kQuestionsMin && now - understood_ >= limit) {
    cut_off(format("the host of {} is heard, and has acknowledged nothing for {}", names_.peer,
                   format_duration(now - understood_)));
  }
}

bool TcpLink::has_work() const {
  if (owes_connected_ || owes_closed_) return true;
  if (state_ != State::open) return false;
  if (sender_->wants_flush() || sender_->has_sent() || sender_->wrote_this_turn()) return true;
  return !is_parsed_ || (!receiver_->is_drained() && !receiver_->waits_for_fetch());
}

std::size_t TcpLink::collect(std::span<Event> out) {
  std::size_t count = 0;
  if (owes_connected_ && count < out.size()) {
    out[count++] = make_event(EventKind::connected);
    owes_connected_ = false;
  }
  if (state_ == State::open) {
    flush();
    while (count < out.size() && sender_->has_sent()) {
      Event& event = out[count++] = make_event(EventKind::sent);
      sender_->take_sent(event.token);
    }
    count += collect_received(out.subspan(count));
  }
  if (owes_closed_ && !owes_connected_ && count < out.size()) {
    out[count++] = make_event(EventKind::closed);
    owes_closed_ = false;
  }
  return count;
}

// What has come, then, if all of it was known before this poll began, one more read. The stream's end is the link's
// only when everything before it has been handed out: also after a failed write the peer's last frames are read.
std::size_t TcpLink::collect_received(std::span<Event> out) {
  std::size_t count = 0;
  if (is_parsed_ && (!receiver_->is_drained() || sender_->error() != 0)) receiver_->receive(conduit());
  is_parsed_ = false;
  while (count < out.size()) {
    if (!receiver_->next(out[count])) {
      is_parsed_ = true;
      break;
    }
    out[count++].link = this;
  }
  if (!is_parsed_ || receiver_->waits_for_fetch()) return count;
  if (!receiver_->fault().is_ok()) {
    lose(receiver_->fault().code(), receiver_->fault().text());
  } else if (receiver_->has_ended() && receiver_->error() != 0) {
    fail(receiver_->error());
  } else if (sender_->error() != 0 && (receiver_->has_ended() || receiver_->is_drained())) {
    fail(sender_->error());
  } else if (receiver_->has_ended()) {
    lose(Code::peer_lost, format("{} ended the connection (end of stream)", names_.peer));
  }
  return count;
}

void TcpLink::fail(int error) {
  if (tls_ != nullptr && tls_->failed()) return lose(Code::peer_lost, tls_->status().text());
  const bool is_way =
      error == ETIMEDOUT || error == ENETUNREACH || error == EHOSTUNREACH || error == ENETDOWN || error == EHOSTDOWN;
  is_way ? cut_off(describe_errno(error)) : lose(Code::peer_lost, describe_errno(error));
}

Event TcpLink::make_event(EventKind kind) {
  Event event;
  event.kind = kind;
  event.link = this;
  return event;
}

}  // namespace tutti::tcp
