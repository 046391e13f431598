// The frames of relayed links: how they are sent, carried on and taken. See relays.h.
#include "transports/failover/relays.h"

#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "transports/failover/bundle.h"
#include "transports/failover/transport.h"

namespace tutti::failover {

namespace {
constexpr std::uint64_t kSendingMark = std::uint64_t{1} << 63;  // of the cookies that are ours

bool has_room(const Stream& stream, std::uint64_t cost) {
  return stream.under_way == 0 || stream.under_way + cost <= kRelayWindowBytes;
}
}  // namespace

RelayLink::RelayLink(FailoverTransport& transport, Stream& stream, const ProcessId& peer, std::uint32_t lane)
    : transport_(transport), stream_(&stream), peer_(peer), lane_(lane), through_(stream.path->link->describe()) {}

std::string RelayLink::describe() const {
  return format("relayed to process {} by {}", to_string(peer_).substr(0, 8), through_);
}

SendState RelayLink::send(const Header& header, const std::byte* payload, std::size_t bytes, std::uint64_t) {
  if (!is_open()) return SendState::closed;
  Stream::Frame frame;
  frame.header = header;
  frame.bytes = bytes;
  if (!stream_->queue.empty() || !has_room(*stream_, frame.cost())) return SendState::again;
  if (bytes > 0) {  // the path may go on reading it after this link has ended
    frame.memory = std::make_shared_for_overwrite<std::byte[]>(bytes);
    std::memcpy(frame.memory.get(), payload, bytes);
  }
  stream_->queue.push_back(std::move(frame));
  transport_.relays().pump(*stream_);
  return SendState::copied;
}

FetchState RelayLink::fetch(std::uint64_t token, std::byte* target) {
  Delivery& delivery = deliveries_[token];
  if (stream_ == nullptr) return FetchState::closed;
  const FetchState state = delivery.path->link->fetch(delivery.token, target);
  delivery.is_fetching = state == FetchState::pending;
  return state;
}

void RelayLink::release(std::uint64_t token) {
  const Delivery delivery = std::exchange(deliveries_[token], {});
  transport_.release(*delivery.path, delivery.token);
  if (stream_ != nullptr) Relays::let_go(*stream_, delivery.cost);
}

// What has been credited is in the next process's socket, or taken.
bool RelayLink::is_drained() const { return !is_open() || (stream_->queue.empty() && stream_->under_way == 0); }

void RelayLink::close(const Status& why) {
  if (stream_ == nullptr) return;
  Stream& stream = *stream_;
  finish(why, false);
  transport_.relays().end(stream, RelayEnd::closed);
}

void RelayLink::finish(const Status& why, bool is_cut_off) {
  stream_->link = nullptr;
  stream_ = nullptr;
  status_ = why;
  is_cut_off_ = is_cut_off;
  transport_.relays().report(EventKind::closed, *this);
}

void Relays::report(EventKind kind, RelayLink& link, std::uint64_t token) {
  Event event;
  event.kind = kind;
  event.link = &link;
  event.token = token;
  events_.push_back(event);
}

bool Relays::take_event(Event& event) {
  if (events_.empty()) return false;
  event = events_.front();
  events_.pop_front();
  return true;
}

bool Relays::label(Path& path, std::uint32_t stream) {
  if (path.send_stream == stream) return true;
  const Control word{ControlKind::relay_label, stream, 0, {}};
  if (path.link->send(word.pack(), nullptr, 0, 0) != SendState::copied) return false;
  path.send_stream = stream;
  return true;
}

// Sends what waits; then the stream may end.
void Relays::pump(Stream& stream) {
  while (stream.path != nullptr && stream.is_accepted && !stream.queue.empty()) {
    Stream::Frame& frame = stream.queue.front();
    if (!frame.is_whole || !has_room(stream, frame.cost()) || !say_words(*stream.path) ||
        !label(*stream.path, stream.id))
      return;
    const std::uint64_t cookie = kSendingMark | next_sending_;
    const SendState state = stream.path->link->send(frame.header, frame.memory.get(), frame.bytes, cookie);
    if (state != SendState::copied && state != SendState::pending) return;
    stream.under_way += frame.cost();
    if (state == SendState::pending) {
      sending_[cookie] = {stream.path, &stream, std::move(frame.memory), frame.cost()};
      ++next_sending_;
    } else if (stream.other != nullptr) {
      let_go(*stream.other, frame.cost());
    }
    stream.queue.pop_front();
  }
  if (stream.path != nullptr && stream.ends != RelayEnd{} && stream.queue.empty()) end(stream, stream.ends);
}

void Relays::on_sent(std::uint64_t cookie) {
  const auto found = sending_.find(cookie);
  if (found == sending_.end()) return;
  const Stream* const stream = found->second.stream;
  if (stream != nullptr && stream->other != nullptr) let_go(*stream->other, found->second.cost);
  sending_.erase(found);
}

void Relays::let_go(Stream& stream, std::uint64_t cost) { stream.owed += cost; }

void Relays::on_frame(Path& path, const Event& event) {
  Stream* const stream = find(path, path.receive_stream);
  if (stream == nullptr || stream->ends != RelayEnd{}) return transport_.release(path, event.token);
  const std::uint64_t cost = event.bytes + kRelayFrameCost;
  if (!stream->is_accepted || (stream->held > 0 && stream->held + cost > kRelayWindowBytes)) {
    transport_.release(path, event.token);
    return path.bundle->refuse(format("it sent {} to be relayed where {} are under way", format_bytes(event.bytes),
                                      format_bytes(stream->held)));
  }
  stream->held += cost;
  if (stream->other != nullptr) return carry(path, *stream, event);
  RelayLink& link = *stream->link;
  auto place = std::find_if(link.deliveries_.begin(), link.deliveries_.end(),
                            [](const RelayLink::Delivery& each) { return each.path == nullptr; });
  if (place == link.deliveries_.end()) place = link.deliveries_.insert(place, RelayLink::Delivery{});
  *place = {&path, event.token, cost, false};
  Event taken = event;
  taken.link = &link;
  taken.token = static_cast<std::uint64_t>(place - link.deliveries_.begin());
  events_.push_back(taken);
}

void Relays::carry(Path& path, Stream& stream, const Event& event) {
  Stream::Frame frame;
  frame.header = event.header;
  frame.bytes = event.bytes;
  if (event.bytes > 0) frame.memory = std::make_shared_for_overwrite<std::byte[]>(event.bytes);
  FetchState fetch = FetchState::done;
  if (event.data != nullptr) {
    std::copy_n(event.data, event.bytes, frame.memory.get());
  } else if (event.bytes > 0) {
    fetch = path.link->fetch(event.token, frame.memory.get());
  }
  frame.is_whole = fetch == FetchState::done;
  if (fetch == FetchState::pending) {
    fetching_.push_back({&path, event.token, stream.other, frame.memory});
  } else {
    transport_.release(path, event.token);
    if (!frame.is_whole) return;  // the path has ended
  }
  stream.other->queue.push_back(std::move(frame));
  pump(*stream.other);
}

bool Relays::on_fetched(const Path& path, std::uint64_t token) {
  const auto found = std::find_if(fetching_.begin(), fetching_.end(),
                                  [&](const Fetching& each) { return each.path == &path && each.token == token; });
  if (found != fetching_.end()) {
    const Fetching fetched = *found;
    fetching_.erase(found);
    transport_.release(*fetched.path, token);
    if (fetched.to == nullptr) return true;
    for (Stream::Frame& frame : fetched.to->queue) frame.is_whole |= frame.memory == fetched.memory;
    pump(*fetched.to);
    return true;
  }
  for (const auto& [key, link] : links_) {
    for (std::size_t i = 0; i < link->deliveries_.size(); ++i) {
      RelayLink::Delivery& delivery = link->deliveries_[i];
      if (delivery.path != &path || delivery.token != token || !delivery.is_fetching) continue;
      delivery.is_fetching = false;
      if (link->stream_ != nullptr) report(EventKind::fetched, *link, i);
      return true;
    }
  }
  return false;
}

bool Relays::on_event(Path& path, const Event& event) {
  switch (event.kind) {
    case EventKind::delivery: {
      const bool is_word = mark_of(event.header) == kControlMark && is_relay_word(Control::unpack(event.header).kind);
      if (!is_word && path.receive_stream == 0) return false;
      if (path.bundle == nullptr || !path.may_relay) {
        transport_.release(path, event.token);
        if (path.bundle != nullptr) path.bundle->refuse("it speaks of relays where there are none");
        return true;
      }
      if (!is_word) return on_frame(path, event), true;
      const bool has_payload = event.bytes > 0;
      transport_.release(path, event.token);
      if (has_payload) return path.bundle->refuse("it sent a word of the lanes' own with a payload"), true;
      on_word(path, Control::unpack(event.header));
      return true;
    }
    case EventKind::fetched:
      return on_fetched(path, event.token);
    case EventKind::sent:
      if (!path.may_relay || (event.token & kSendingMark) == 0) return false;
      on_sent(event.token);
      return true;
    default:
      return false;
  }
}

void Relays::work() {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    Stream& stream = *streams_[i];
    pump(stream);
    if (stream.path == nullptr || stream.owed == 0) continue;
    say(*stream.path, {ControlKind::relay_credit, stream.id, 0, {stream.owed}});
    stream.held -= stream.owed;
    stream.owed = 0;
  }
  std::erase_if(streams_, [](const auto& stream) { return stream->path == nullptr; });
  std::erase_if(talking_, [](Path* path) { return say_words(*path); });
}

}  // namespace tutti::failover
