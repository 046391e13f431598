#include "transports/fabric/pull_port.h"

#include <utility>

#include "src/base/bytes.h"
#include "src/base/format.h"

namespace tutti::fabric {

namespace {
// As many as a link has frames on their way; a peer that announces more breaks the protocol.
constexpr std::size_t kOffersMax = 64;
constexpr int kWhatBits = 8;
// Of a hello: whether the other's has come.
constexpr std::uint64_t kFirstHello = 0;
constexpr std::uint64_t kAnswer = 1;
}  // namespace

PullPort::~PullPort() {
  for (const auto& [number, offer] : offers_) delete offer;
}

bool PullPort::say(What what, std::uint64_t number, const Head* head, const std::byte* body, std::size_t bytes) {
  std::array<std::byte, kFirstBytesMax> said;
  put_preamble(said.data(), what, number, 0);
  if (head != nullptr) encode(*head, said.data() + kPreambleBytes);
  if (!say(std::span(said).first(head != nullptr ? kFirstBytesMax : kPreambleBytes), body, bytes)) return false;
  ++said_;
  return true;
}

void PullPort::put_preamble(std::byte* to, What what, std::uint64_t number, std::uint64_t offset) const {
  store_little_endian(to, peer_key_);
  store_little_endian(to + 8, static_cast<std::uint64_t>(what) | offset << kWhatBits);
  store_little_endian(to + 16, number);
}

std::array<std::byte, kPreambleBytes> PullPort::chunk_preamble(std::uint64_t number, std::uint64_t offset) const {
  std::array<std::byte, kPreambleBytes> preamble;
  put_preamble(preamble.data(), What::chunk, number, offset);
  return preamble;
}

void PullPort::on_chunk(std::uint64_t number, std::uint64_t, std::span<const std::byte> bytes) {
  fail(format("{} bytes came of large message {}, which is not sent in pieces", bytes.size(), number));
}

bool PullPort::send_small(const Head& head, const std::byte* body, std::size_t bytes) {
  return owed_.empty() && say(What::message, 0, &head, body, bytes);
}

bool PullPort::send_large(const Head& head, const std::byte* body, std::size_t bytes, std::uint64_t cookie) {
  if (!owed_.empty() || !say(What::announcement, next_number_, &head, nullptr, 0)) return false;
  announced_[next_number_++] = {body, bytes, cookie, false};
  return true;
}

void PullPort::fetch(const Message& message, std::byte* target, std::uint64_t token) {
  auto* const offer = static_cast<Offer*>(message.handle);
  const std::uint64_t number = offer->number;
  offers_.erase(number);
  delete offer;
  wanted_.push_back({number, target, message.bytes, token});
  static_cast<void>(flush());
}

void PullPort::give_back(const Message& message) {
  auto* const offer = static_cast<Offer*>(message.handle);
  offer->port->offers_.erase(offer->number);
  offer->port->owe({.what = What::drop, .number = offer->number});
  delete offer;
}

void PullPort::owe(const Owed& owed) {
  owed_.push_back(owed);
  static_cast<void>(flush());
}

// Whatever waits for the peer's bodies must not keep back those that the peer waits for.
bool PullPort::flush() {
  if (!can_say_) return true;
  while (!wanted_.empty()) {
    const Wanted its = wanted_.front();
    if (!take_body(its.number, its.target, its.bytes, its.token)) break;
    wanted_.pop_front();
    owed_.push_back({What::pull, its.number});
  }
  while (!owed_.empty() && say(owed_.front().what, owed_.front().number, nullptr, nullptr, 0)) owed_.pop_front();
  while (!pulled_.empty()) {
    const auto found = announced_.find(pulled_.front());
    const Announced its = found->second;
    if (!send_body(found->first, its.body, its.bytes, its.cookie)) return false;
    announced_.erase(found);
    pulled_.pop_front();
  }
  return flush_bodies() && owed_.empty() && wanted_.empty();
}

// A body counts as said when the library is done with it: one that is long under way is not lost.
void PullPort::body_sent(std::uint64_t cookie) {
  ++said_;
  user_.on_sent(cookie);
}

void PullPort::body_taken(std::uint64_t token) {
  ++heard_;
  user_.on_fetched(token);
}

void PullPort::abandon() {
  announced_.clear();
  pulled_.clear();
  wanted_.clear();
  owed_.clear();
}

bool PullPort::hear(std::span<const std::byte> bytes, WireUser& wire_user) {
  if (bytes.size() < kPreambleBytes) return false;
  const auto what = static_cast<What>(bytes[8]);
  const bool has_head = what == What::message || what == What::announcement;
  const std::size_t first = has_head ? kFirstBytesMax : kPreambleBytes;
  return bytes.size() >= first && hear(bytes.first(first), bytes.subspan(first), wire_user);
}

bool PullPort::hear(std::span<const std::byte> first, std::span<const std::byte> body, WireUser& wire_user) {
  if (first.size() < kPreambleBytes || load_little_endian<std::uint64_t>(first.data()) != key_) return false;
  ++heard_;
  const auto kind = load_little_endian<std::uint64_t>(first.data() + 8);
  const auto what = static_cast<What>(kind);
  const auto number = load_little_endian<std::uint64_t>(first.data() + 16);
  const bool is_alone = first.size() == kPreambleBytes;
  if (is_alone && what == What::chunk) {
    on_chunk(number, kind >> kWhatBits, body);
    return true;
  }
  if (is_alone && body.empty() && what == What::hello) {
    on_hello(number);
    return true;
  }
  if (is_alone && body.empty() && (what == What::pull || what == What::drop)) {
    what == What::pull ? on_pull(number) : on_drop(number);
    return true;
  }
  const bool has_head = (what == What::message || what == What::announcement) && first.size() == kFirstBytesMax;
  const auto head = parse_head(has_head ? first.subspan(kPreambleBytes) : std::span<const std::byte>());
  if (!head) {
    fail(format("it got {} bytes that are no message", first.size() + body.size()));
    return false;
  }
  Message message{.head = *head, .data = body.data(), .bytes = body.size()};
  if (what == What::announcement) {
    if (message.bytes != 0 || head->bytes == 0 || offers_.size() >= kOffersMax || offers_.contains(number)) {
      fail(format("large message {} was announced in a way that no correct peer does", number));
      return false;
    }
    auto* const offer = new Offer{this, number};
    offers_[number] = offer;
    message.data = nullptr;
    message.bytes = head->bytes;
    message.is_large = true;
    message.handle = offer;
  }
  wire_user.on_message(message);
  return true;
}

void PullPort::greet(std::uint64_t peer_key) {
  peer_key_ = peer_key;
  can_say_ = true;
  owe({.what = What::hello, .number = kFirstHello});
  if (has_heard_) owe({.what = What::hello, .number = kAnswer});
}

void PullPort::greet_again() {
  owed_.clear();
  said_ = 0;
  greet(peer_key_);
}

void PullPort::on_hello(std::uint64_t number) {
  if (number == kAnswer) is_greeted_ = true;
  if (!std::exchange(has_heard_, true) && can_say_) owe({.what = What::hello, .number = kAnswer});
}

void PullPort::on_pull(std::uint64_t number) {
  const auto found = announced_.find(number);
  if (found == announced_.end() || found->second.is_pulled)
    return fail(format("it was asked for large message {}, which is not there", number));
  found->second.is_pulled = true;
  pulled_.push_back(number);
  static_cast<void>(flush());
}

void PullPort::on_drop(std::uint64_t number) {
  const auto found = announced_.find(number);
  if (found == announced_.end() || found->second.is_pulled)
    return fail(format("large message {} was declined, which is not there", number));
  const std::uint64_t cookie = found->second.cookie;
  announced_.erase(found);
  user_.on_sent(cookie);
}

}  // namespace tutti::fabric
