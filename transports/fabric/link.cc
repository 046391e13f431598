#include "transports/fabric/link.h"

#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "transports/fabric/transport.h"

namespace tutti::fabric {

namespace {

constexpr std::uint64_t kTellAfter = kWindow / 4;
// How long the control connection has to tell that the process has ended, after the library has said that its own
// has.
constexpr Nanoseconds kLastWordLimit = std::chrono::milliseconds(100);
// How long what a process that has ended had sent may take to come. Either it comes or the library fails, long
// before.
constexpr Nanoseconds kFetchLimit = std::chrono::seconds(1);
constexpr std::byte kNothing{};  // where the payload of an empty frame is

}  // namespace

FabricLink::FabricLink(FabricTransport& transport, Link* control, std::uint64_t key, Instant deadline, bool is_known)
    : transport_(transport),
      control_(control),
      peer_(control->peer()),
      lane_(control->lane()),
      wire_(transport.wire_of(lane_)),
      key_(key),
      is_known_(is_known),
      deadline_(deadline) {}

FabricLink::~FabricLink() = default;

std::string FabricLink::describe() const {
  const std::string_view name = transport_.capabilities().name;
  if (peer_name_.empty()) return format("{} over {}", name, control_->describe());
  const bool is_one_of_several = transport_.capabilities().lanes_max > 1;
  return format("{} {} -> {}{}", name, transport_.own_name(), peer_name_,
                is_one_of_several ? format(", lane {} by {}", lane_, wire_.limits().device) : "");
}

void FabricLink::attend() { transport_.attend(*this); }

// ---- Becoming a link

void FabricLink::on_control_connected() {
  if (state_ != State::connecting) return;
  auto port = wire_.open(*this);
  if (!port) return close(port.status().prefixed(format("{} is not made", describe())));
  port_ = *std::move(port);
  Greeting greeting;
  const WireLimits& limits = wire_.limits();
  greeting.key = key_;
  greeting.small_bytes_max = limits.small_bytes_max;
  greeting.large_bytes_max = limits.large_bytes_max;
  greeting.name = transport_.own_name();
  greeting.kind = limits.kind;
  greeting.port.assign(port_->address().begin(), port_->address().end());
  greeting_ = encode(greeting);
  state_ = State::greeting;
  owes_greeting_ = true;
  greet();
}

void FabricLink::greet() {
  const SendState sent = control_->send(Header{}, greeting_.data(), greeting_.size(), 0);
  owes_greeting_ = sent == SendState::again;
  attend();
}

void FabricLink::on_control_word(std::span<const std::byte> bytes) {
  if (is_closing()) return;
  if (is_farewell(bytes)) {
    auto farewell = parse_farewell(bytes);
    if (!farewell) return violated(farewell.status().text());
    farewell_ = *std::move(farewell);
    return;
  }
  if (has_peer_greeted_) return violated("a second greeting");
  const auto greeting = parse_greeting(bytes);
  if (!greeting) return violated(greeting.status().text());
  on_greeting(*greeting);
}

void FabricLink::on_greeting(const Greeting& greeting) {
  has_peer_greeted_ = true;
  const WireLimits& limits = wire_.limits();
  if (greeting.kind != limits.kind || greeting.large_bytes_max != limits.large_bytes_max) {
    return close(
        {Code::unsupported,
         format("{} is not made: {} uses {} with frames up to {}, this process {} with frames up to {}. Give "
                "both the same library and settings",
                describe(), greeting.name, greeting.kind, format_bytes(greeting.large_bytes_max), limits.kind,
                format_bytes(limits.large_bytes_max))});
  }
  peer_name_ = greeting.name;
  peer_key_ = greeting.key;
  small_bytes_max_ = std::min<std::size_t>(limits.small_bytes_max, greeting.small_bytes_max);
  slots_.resize(kWindow);
  if (const Status connected = port_->connect(greeting.port); !connected) {
    return close(connected.prefixed(format("{} is not made", describe())));
  }
  attend();
}

// ---- Sending

SendState FabricLink::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t cookie) {
  if (state_ != State::open) return SendState::closed;
  if (next_send_ - acknowledged_ >= kWindow) return transport_.refused();
  const Head head{peer_key_, Head::Kind::frame, bytes, next_send_, consumed_, header};
  const bool is_small = bytes <= small_bytes_max_;
  if (!(is_small ? port_->send_small(head, payload, bytes) : port_->send_large(head, payload, bytes, cookie)))
    return transport_.refused();
  told_ = consumed_;
  if (acknowledged_ == next_send_) confirmed_at_ = transport_.now();
  ++next_send_;
  return is_small ? SendState::copied : SendState::pending;
}

bool FabricLink::say(Head::Kind kind) {
  const auto counts = port_->counts();
  const std::uint64_t said = counts ? counts->said + 1 : 0;
  const std::uint64_t sequence = kind == Head::Kind::ask ? drains_until_ : said;
  if (!port_->send_small({peer_key_, kind, 0, sequence, consumed_, {}}, nullptr, 0)) return false;
  told_ = consumed_;
  if (kind == Head::Kind::taken) is_pinged_ = false;
  return true;
}

bool FabricLink::owes_word() const {
  return is_pinged_ || consumed_ - told_ >= kTellAfter || (told_ < asked_until_ && consumed_ >= asked_until_);
}

void FabricLink::speak() {
  if (owes_word() && !say(Head::Kind::taken)) return;
  if (asked_for_ < drains_until_ && say(Head::Kind::ask)) asked_for_ = drains_until_;
}

void FabricLink::on_sent(std::uint64_t cookie) {
  transport_.emit({.kind = EventKind::sent, .link = this, .token = cookie});
}

bool FabricLink::is_drained() const {
  if (state_ != State::open || acknowledged_ == next_send_) return true;
  drains_until_ = next_send_;
  transport_.attend(const_cast<FabricLink&>(*this));
  return false;
}

// ---- Receiving

void FabricLink::on_message(const Message& message) {
  if (is_closing() || slots_.empty()) {
    if (message.handle != nullptr) wire_.give_back(message);
    return;
  }
  const Head& head = message.head;
  heard_at_ = transport_.now();
  pinged_at_ = kNever;
  if (head.taken > acknowledged_) {
    acknowledged_ = head.taken;
    confirmed_at_ = heard_at_;
  }
  const bool is_frame = head.kind == Head::Kind::frame;
  if (is_frame) take_frame(message);
  if (!is_frame && message.handle != nullptr) wire_.give_back(message);
  if (!is_frame) ++answers_heard_;
  if (head.kind == Head::Kind::ping || head.kind == Head::Kind::taken)
    peer_said_ = std::max(peer_said_, head.sequence);
  if (head.kind == Head::Kind::ping) is_pinged_ = true;
  if (head.kind == Head::Kind::ask) asked_until_ = std::max(asked_until_, head.sequence);
  if (acknowledged_ > next_send_) return violated(format("it took {} frames of {}", acknowledged_, next_send_));
  if (asked_until_ > consumed_ + kWindow) return violated(format("it asked for frame {}", asked_until_));
  attend();
}

void FabricLink::take_frame(const Message& message) {
  const Head& head = message.head;
  const bool is_expected = head.sequence >= consumed_ && head.sequence - consumed_ < kWindow &&
                           head.sequence >= next_receive_ && slot(head.sequence).state == Slot::State::empty;
  const bool has_right_size = head.bytes == message.bytes && head.bytes <= wire_.limits().large_bytes_max;
  if (is_expected && has_right_size) return keep(slot(head.sequence), message);
  if (message.handle != nullptr) wire_.give_back(message);
  violated(format("frame {} of {} bytes with {} bytes behind it, where {} was the next", head.sequence, head.bytes,
                  message.bytes, next_receive_));
}

void FabricLink::keep(Slot& slot, const Message& message) {
  slot.state = Slot::State::arrived;
  slot.message = message;
  if (message.is_large || message.handle != nullptr) return;
  std::byte* to = slot.inlined.data();
  if (message.bytes > kInlineBytes) {
    slot.copy.assign(message.data, message.data + message.bytes);
    to = slot.copy.data();
  } else if (message.bytes > 0) {
    std::memcpy(to, message.data, message.bytes);
  }
  slot.message.data = to;
}

bool FabricLink::may_hand_out() const {
  if (state_ != State::open && state_ != State::ending) return false;
  const Slot& next = slots_[next_receive_ % kWindow];
  if (next.state != Slot::State::arrived || next.message.head.sequence != next_receive_) return false;
  return state_ == State::open || !next.message.is_large;
}

FetchState FabricLink::fetch(std::uint64_t token, std::byte* target) {
  Slot& its = slot(token);
  if (state_ != State::open) return FetchState::closed;
  its.state = Slot::State::fetching;
  port_->fetch(its.message, target, token);
  its.message.handle = nullptr;
  return FetchState::pending;
}

void FabricLink::on_fetched(std::uint64_t token) {
  slot(token).state = Slot::State::delivered;
  transport_.emit({.kind = EventKind::fetched, .link = this, .token = token});
}

void FabricLink::release(std::uint64_t token) {
  Slot& its = slot(token);
  if (its.message.handle != nullptr) wire_.give_back(its.message);
  its.message.handle = nullptr;
  its.copy = {};
  its.state = Slot::State::empty;
  while (consumed_ < next_receive_ && slot(consumed_).state == Slot::State::empty) ++consumed_;
  if (state_ == State::open && owes_word()) attend();
}

// ---- The end

void FabricLink::on_control_closed() {
  is_control_closed_ = true;
  attend();
  if (is_closing()) return;
  const bool has_farewell = !farewell_.reason.empty();
  const std::string why =
      has_farewell ? format("the peer ended it: {}", farewell_.reason) : control_->status().text();
  const bool is_cut_off = has_farewell ? farewell_.is_cut_off : control_->is_cut_off();
  if (state_ == State::open && !has_farewell && !is_cut_off) fetches_until_ = transport_.now() + kFetchLimit;
  // The control connection's words are the better ones where the library has only said that its own is gone.
  end(control_->status().is_ok() ? Code::peer_lost : control_->status().code(), why, is_cut_off);
}

void FabricLink::on_failed(const std::string& words) {
  fetches_until_ = {};
  if (state_ != State::greeting && state_ != State::open) return;
  end(Code::peer_lost, format("{}: {}", wire_.limits().library, words), true);
  deadline_ = transport_.now() + kLastWordLimit;
}

void FabricLink::end(Code code, const std::string& why, bool is_cut_off) {
  const bool was_open = state_ == State::open || state_ == State::ending;
  status_ = Status(
      code, was_open ? format("{} ended: {}", describe(), why) : format("{} is not made: {}", describe(), why));
  is_cut_off_ = is_cut_off;
  if (was_open) {
    state_ = State::ending;
  } else {
    begin_closing();
  }
  attend();
}

void FabricLink::close(const Status& why) {
  if (is_closing()) return;
  status_ = why.is_ok() ? Status(Code::aborted, format("{} was closed by this process", describe())) : why;
  is_cut_off_ = false;
  begin_closing();
}

void FabricLink::violated(const std::string& what) {
  if (is_closing()) return;
  const Status why(
      Code::peer_lost,
      format("{} broke the protocol of {}: {}. The link was closed to be safe; restart that process, with "
             "the same version of Tutti",
             peer_name_.empty() ? control_->describe() : peer_name_, transport_.capabilities().name, what));
  transport_.log().write(LogLevel::warn, transport_.capabilities().name, "{}", why.text());
  close(why);
}

void FabricLink::begin_closing() {
  if (state_ == State::open || state_ == State::ending) {
    const auto bytes = encode(Farewell{is_cut_off_, std::string(status_.text())});
    if (!is_control_closed_ && control_->is_open()) control_->send(Header{}, bytes.data(), bytes.size(), 0);
  }
  state_ = State::closing;
  withdraw();
  if (!is_control_closed_) control_->close(status_);
  attend();
}

void FabricLink::withdraw() {
  transport_.forget_key(key_);
  if (!port_) return;
  for (Slot& each : slots_) {
    const bool is_readable = each.state == Slot::State::delivered && !each.message.is_large;
    if (is_readable || each.message.handle == nullptr) continue;
    wire_.give_back(each.message);
    each.message.handle = nullptr;
  }
  port_->close();
}

// A question goes by the wire after half of the limit, and has the other half for its answer.
void FabricLink::watch(Instant now, Nanoseconds stall_limit, bool ends_when_silent) {
  if (state_ != State::open || watch_losses(now, stall_limit / 2) || acknowledged_ == next_send_) return;
  if (ends_when_silent && pinged_at_ != kNever && now - pinged_at_ >= stall_limit / 2)
    return end_watched(
        format("{} has brought nothing for {}, while the control connection lives; {} frames are not confirmed",
               wire_.limits().library, format_duration(now - heard_at_), next_send_ - acknowledged_),
        now);
  if (now - std::max(confirmed_at_, asked_at_) < stall_limit / 2) return;
  static_cast<void>(say(Head::Kind::ping));  // where there is no room for it nothing gets through either
  asked_at_ = now;
  pinged_at_ = std::min(pinged_at_, now);
}

// Messages may overtake each other. But those that were said before an answer, and have not come long after it, while
// nothing else comes that carries anything, will not.
bool FabricLink::watch_losses(Instant now, Nanoseconds limit) {
  const auto counts = port_->counts();
  if (!counts || counts->heard >= peer_said_) {
    missing_since_ = kNever;
    return false;
  }
  const std::uint64_t carried = counts->heard - answers_heard_;
  if (missing_since_ == kNever || carried != carried_then_) {
    missing_since_ = now;
    carried_then_ = carried;
  }
  if (now - missing_since_ < limit) return false;
  end_watched(format("{} has lost {} of the {} messages that the peer has sent, and told nobody",
                     wire_.limits().library, peer_said_ - counts->heard, peer_said_),
              now);
  return true;
}

void FabricLink::end_watched(const std::string& why, Instant now) {
  end(Code::peer_lost, why, true);
  deadline_ = now + kLastWordLimit;
}

// Another way must not go on where the library may still write: so the peer is lost.
void FabricLink::distrust(const std::string& why) {
  is_cut_off_ = false;
  status_ =
      Status(status_.code(), format("{}. {} has not let go of memory that was under way, and may still write to "
                                    "it: {}. Restart this process",
                                    status_.text(), wire_.limits().library, why));
  transport_.log().write(LogLevel::error, transport_.capabilities().name, "{}", status_.text());
}

// ---- Moving on

bool FabricLink::awaits_fetches() const {
  const auto is_fetching = [](const Slot& slot) { return slot.state == Slot::State::fetching; };
  return transport_.now() < fetches_until_ && std::any_of(slots_.begin(), slots_.end(), is_fetching);
}

Instant FabricLink::deadline() const {
  return state_ == State::ending && is_control_closed_ ? fetches_until_ : deadline_;
}

bool FabricLink::has_work() const {
  switch (state_) {
    case State::greeting:
      return owes_greeting_ || (has_peer_greeted_ && port_->is_ready());
    case State::open:
      return may_hand_out() || owes_word() || asked_for_ < drains_until_;
    case State::ending:
      return may_hand_out() || (is_control_closed_ && !awaits_fetches());
    case State::closing:
      return is_control_closed_ && is_withdrawn();
    case State::connecting:
    case State::closed:
      break;
  }
  return false;
}

bool FabricLink::is_unsettled() const {
  return state_ == State::greeting || state_ == State::ending || state_ == State::closing;
}

std::size_t FabricLink::work(std::span<Event> out, Instant now) {
  if (state_ == State::greeting) {
    if (owes_greeting_) greet();
    if (has_peer_greeted_ && port_->is_ready()) {
      state_ = State::open;
      is_known_ = true;
      deadline_ = kNever;
      heard_at_ = now;
      transport_.log().write(LogLevel::debug, transport_.capabilities().name, "{} is open", describe());
      transport_.emit({.kind = EventKind::connected, .link = this});
      return 0;  // deliveries come behind that event
    }
  }
  if (state_ == State::greeting && now >= deadline_) {
    close({Code::timeout,
           format("{} is not made: the peer has not {} before the deadline", describe(),
                  has_peer_greeted_ ? format("been reached by {}", wire_.limits().library) : "greeted")});
  }
  if (state_ == State::open) speak();
  std::size_t count = 0;
  while (count < out.size() && may_hand_out()) {
    Slot& its = slot(next_receive_);
    its.state = Slot::State::delivered;
    const Message& message = its.message;
    Event& event = out[count++] = {.kind = EventKind::delivery, .transient = !message.is_large, .link = this};
    event.token = next_receive_++;
    event.header = message.head.header;
    event.bytes = message.bytes;
    if (!message.is_large) event.data = message.bytes > 0 ? message.data : &kNothing;
  }
  if (state_ == State::ending && !may_hand_out() && !awaits_fetches() && (is_control_closed_ || now >= deadline_))
    begin_closing();
  if (state_ == State::closing && is_control_closed_ && is_withdrawn()) {
    state_ = State::closed;
    if (const std::string why = port_ ? port_->unreleased() : ""; !why.empty()) distrust(why);
    is_known_ ? transport_.emit({.kind = EventKind::closed, .link = this}) : transport_.bury(*this);
  }
  return count;
}

}  // namespace tutti::fabric
