// Whatever the paths of a peer bring, in whatever order they come and go: fail-over survives, gives every delivery of
// the wrapped transport back exactly once, ends every send that it has taken, and reports nothing of a lane after its
// end. The input is a script of records of 8 bytes: what happens, on which path, with which small numbers. One that
// is no multiple of that has relays: there are two more peers then, any of the three may be relayed, relay and lie.
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "tests/fuzz/check.h"
#include "transports/failover/control.h"
#include "transports/failover/failover.h"

namespace {

using namespace tutti;
using failover::Control;
using failover::ControlKind;

constexpr std::uint32_t kLanes = 3;
constexpr std::uint32_t kPaths = kLanes + 2;  // of the first peer, and one of each other

ProcessId peer_of(std::uint32_t path) { return ProcessId{{0, path < kLanes ? 1u : path}}; }
std::uint32_t lane_of(std::uint32_t path) { return path < kLanes ? path : 0; }
constexpr std::size_t kCopiedMax = 64;

class ScriptedTransport;

class ScriptedLink final : public Link {
 public:
  ScriptedLink(ScriptedTransport& owner, std::uint32_t path) : owner_(owner), path_(path) {}

  ProcessId peer() const override { return peer_of(path_); }
  std::uint32_t lane() const override { return lane_of(path_); }
  bool is_cut_off() const override { return cut_off; }
  bool is_open() const override { return open_; }
  const Status& status() const override { return status_; }
  std::string describe() const override { return "scripted"; }
  SendState send(const Header& header, const std::byte*, std::size_t bytes, std::uint64_t cookie) override {
    if (!open_) return SendState::closed;
    if (failover::mark_of(header) == failover::kControlMark && Control::unpack(header).kind == ControlKind::hello)
      bundle = header.words[0];
    if (bytes <= kCopiedMax) return SendState::copied;
    pending.push_back(cookie);
    return SendState::pending;
  }
  FetchState fetch(std::uint64_t token, std::byte* target) override {
    FUZZ_CHECK(held.contains(token));
    if (!open_) return FetchState::closed;
    std::memset(target, 7, held[token]);
    if (token % 2 == 0) return FetchState::done;
    fetching.push_back(token);
    return FetchState::pending;
  }
  void release(std::uint64_t token) override { FUZZ_CHECK(held.erase(token) == 1); }
  void close(const Status& why) override;

  void open() { open_ = true; }
  bool is_closed() const { return closed_; }

  std::map<std::uint64_t, std::size_t> held;  // deliveries that are not released: their bytes
  std::deque<std::uint64_t> pending;
  std::deque<std::uint64_t> fetching;
  std::uint64_t bundle = 0;  // as our latest hello says
  std::uint64_t next_token = 0;
  bool cut_off = false;

 private:
  ScriptedTransport& owner_;
  const std::uint32_t path_;
  Status status_;
  bool open_ = false;
  bool closed_ = false;
};

class ScriptedTransport final : public Transport {
 public:
  ScriptedTransport() {
    capabilities_.name = "scripted";
    capabilities_.frame_bytes_max = 1 << 20;
    capabilities_.copied_bytes_max = kCopiedMax;
    capabilities_.lanes_max = kLanes;
  }
  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return {}; }
  bool reaches(std::span<const std::byte>) const override { return true; }
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte>, std::uint32_t lane, Instant) override {
    std::uint32_t path = 0;
    while (path < kPaths && (peer_of(path) != peer || lane_of(path) != lane)) ++path;
    if (path == kPaths) return Status(Code::invalid, "there is no such path");
    return static_cast<Link*>(newest[path] != nullptr && !newest[path]->is_closed() ? newest[path] : make(path));
  }
  void forget(Link* link) override {
    FUZZ_CHECK(static_cast<ScriptedLink*>(link)->held.empty());
    for (ScriptedLink*& each : newest) each = each == link ? nullptr : each;
    std::erase_if(links_, [&](const auto& each) { return each.get() == link; });
  }
  std::size_t poll(std::span<Event> out, Instant) override {
    std::size_t count = 0;
    for (; count < out.size() && !events.empty(); events.pop_front()) out[count++] = events.front();
    return count;
  }
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override { return events.empty(); }
  void finish_wait() override {}

  ScriptedLink* make(std::uint32_t path) {
    links_.push_back(std::make_unique<ScriptedLink>(*this, path));
    return newest[path] = links_.back().get();
  }
  void report(EventKind kind, ScriptedLink& link, std::uint64_t token = 0) {
    Event event;
    event.kind = kind;
    event.link = &link;
    event.token = token;
    events.push_back(event);
  }
  std::size_t held() const {
    std::size_t count = 0;
    for (const auto& link : links_) count += link->held.size();
    return count;
  }

  std::array<ScriptedLink*, kPaths> newest{};
  std::deque<Event> events;

 private:
  Capabilities capabilities_;
  std::vector<std::unique_ptr<ScriptedLink>> links_;
};

void ScriptedLink::close(const Status& why) {
  if (closed_) return;
  closed_ = true;
  open_ = false;
  status_ = why;
  owner_.report(EventKind::closed, *this);
}

// Who uses the lanes: takes what comes, and holds the lanes to the contract.
class Caller {
 public:
  explicit Caller(Transport& transport) : transport_(transport) {}

  void poll(Instant now) {
    std::array<Event, 4> events;
    const std::size_t count = transport_.poll(events, now);
    for (std::size_t i = 0; i < count; ++i) take(events[i]);
  }
  void connect(std::uint32_t path, Instant now) {
    const auto link = transport_.connect(peer_of(path), {}, lane_of(path), now + std::chrono::seconds(5));
    if (link) links_[{peer_of(path), lane_of(path)}] = *link;
  }
  void send(std::uint32_t path, std::size_t bytes) {
    const auto found = links_.find({peer_of(path), lane_of(path)});
    if (found == links_.end() || !found->second->is_open()) return;
    if (found->second->send({}, memory_.data(), bytes, next_) == SendState::pending)
      pending_[found->second].insert(next_);
    ++next_;
  }
  void close(std::uint32_t path) {
    const auto found = links_.find({peer_of(path), lane_of(path)});
    if (found != links_.end()) found->second->close(Status(Code::aborted, "the script closes it"));
  }
  void close_all() {
    for (const auto& [key, link] : std::map(links_)) link->close(Status(Code::aborted, "the script is at its end"));
  }

 private:
  void take(const Event& event) {
    FUZZ_CHECK(!closed_.contains(event.link));
    switch (event.kind) {
      case EventKind::connected:
        links_[{event.link->peer(), event.link->lane()}] = event.link;
        return;
      case EventKind::delivery:
        if (event.data != nullptr || event.bytes == 0 || event.header.words[0] % 2 == 1)
          return event.link->release(event.token);
        targets_.emplace_back(event.bytes);
        switch (event.link->fetch(event.token, targets_.back().data())) {
          case FetchState::pending:
            open_fetches_[event.link].insert(event.token);
            return;
          case FetchState::done:
          case FetchState::closed:
            return event.link->release(event.token);
        }
        return;
      case EventKind::fetched:
        FUZZ_CHECK(open_fetches_[event.link].erase(event.token) == 1);
        return event.link->release(event.token);
      case EventKind::sent:
        FUZZ_CHECK(pending_[event.link].erase(event.token) == 1);
        return;
      case EventKind::rerouted:
        FUZZ_CHECK(event.link->is_open() && !event.link->news().empty());
        return;
      case EventKind::closed:
        for (const std::uint64_t token : open_fetches_[event.link]) event.link->release(token);
        open_fetches_.erase(event.link);
        pending_.erase(event.link);
        closed_.insert(event.link);
        std::erase_if(links_, [&](const auto& each) { return each.second == event.link; });
        return;
    }
  }

  Transport& transport_;
  std::map<std::pair<ProcessId, std::uint32_t>, Link*> links_;
  std::map<Link*, std::set<std::uint64_t>> pending_;
  std::map<Link*, std::set<std::uint64_t>> open_fetches_;
  std::set<Link*> closed_;  // never forgotten, so that no address is used again
  std::deque<std::vector<std::byte>> targets_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(255 * 300);
  std::uint64_t next_ = 0;
};

Event frame(ScriptedLink& link, const Header& header, std::size_t bytes, const std::byte* data) {
  Event event;
  event.kind = EventKind::delivery;
  event.link = &link;
  event.header = header;
  event.bytes = bytes;
  event.data = bytes > 0 ? data : nullptr;
  event.token = link.next_token++;
  link.held[event.token] = bytes;
  return event;
}

// What is said of relays, true or not: the numbers of streams and processes are few, so that they often fit.
Control relay_word(const std::uint8_t* record) {
  const auto kind = static_cast<ControlKind>(record[2] % 12);
  Control word{kind, record[3] % 8u, record[2] % 8u, {record[4], record[5], record[6], record[7]}};
  if (kind == ControlKind::relay_open || kind == ControlKind::relay_offer) word.values = {0, record[4] % 7u};
  if (kind == ControlKind::relay_credit) word.values[0] = std::uint64_t{record[4]} << record[5] % 16;
  if (kind == ControlKind::ended && record[4] & 1) word.lane = failover::kRelayLanes + record[3] % 3u;
  return word;
}

void act(ScriptedTransport& transport, Caller& caller, const std::uint8_t* record, const std::byte* payload,
         Instant now, bool relays) {
  const std::uint32_t path = record[1] % (relays ? kPaths : kLanes);
  ScriptedLink* link = transport.newest[path];
  const bool is_up = link != nullptr && link->is_open();
  const std::array<std::uint64_t, 5> values{record[3], record[4], record[5], record[6], record[7]};
  switch (record[0] % 12) {
    case 0:
    case 1:
      if (is_up) {
        const std::uint64_t ours = record[3] & 1 ? link->bundle : record[3];
        Control hello{ControlKind::hello, lane_of(path), 0, {record[4] % 3u, ours, record[5], record[6] % 5u}};
        if (relays) hello.values[3] = 1 + record[6] % 2u;
        if (relays && record[7] % 8 != 0) hello.values[4] = failover::kWantsRelays;
        if (relays && record[7] & 0x80) hello.lane = failover::kRelayLanes + (record[7] >> 6 & 1u);
        transport.events.push_back(frame(*link, hello.pack(), 0, nullptr));
      }
      return;
    case 2:
      if (is_up) {
        const Control word{static_cast<ControlKind>(record[2] % 6), record[2] / 6u, record[2] % 8u, values};
        const Header header = relays ? relay_word(record).pack() : word.pack();
        transport.events.push_back(frame(*link, header, record[7] == 255 ? 5 : 0, payload));
      }
      return;
    case 3:
      if (is_up) {
        const Control label{ControlKind::label, record[2] % 4u, 0, {record[3]}};
        transport.events.push_back(frame(*link, label.pack(), 0, nullptr));
      }
      return;
    case 4:
    case 5:
    case 6:
      if (is_up) {
        Header header;
        header.words[0] = record[4];
        failover::set_mark(header, record[2] < 200 ? 0 : record[2] - 200u);
        transport.events.push_back(frame(*link, header, std::size_t{record[3]} * (record[4] == 255 ? 4000 : 20),
                                         record[5] & 1 ? payload : nullptr));
      }
      return;
    case 7:
      if (link != nullptr && !link->is_closed()) link->cut_off = relays && record[2] & 1;
      if (link != nullptr) link->close(Status(Code::peer_lost, "the script cuts it"));
      return;
    case 8:
      if (link == nullptr || link->is_closed()) link = transport.make(path);
      if (!link->is_open()) {
        link->open();
        transport.report(EventKind::connected, *link);
      }
      return;
    case 9:
      return caller.send(path, std::size_t{record[2]} * (record[3] & 1 ? 1 : 300));
    case 10:
      if (link != nullptr && is_up && !link->pending.empty()) {
        transport.report(EventKind::sent, *link, link->pending.front());
        link->pending.pop_front();
      }
      if (link != nullptr && is_up && !link->fetching.empty()) {
        transport.report(EventKind::fetched, *link, link->fetching.front());
        link->fetching.pop_front();
      }
      return;
    default:
      return record[2] < 20 ? caller.close(path) : caller.connect(path, now);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kRecord = 8;
  static const std::vector<std::byte> payload(255 * 4000, std::byte{3});
  auto owned = std::make_unique<ScriptedTransport>();
  ScriptedTransport& scripted = *owned;
  FailoverOptions options;
  options.process.low = 2;
  options.relays = size % kRecord != 0;
  const std::unique_ptr<Transport> transport = make_failover_transport(std::move(owned), options);
  Caller caller(*transport);
  Instant now{};
  for (std::uint32_t path = 0; path < (options.relays ? kPaths : kLanes); ++path) {
    caller.connect(path, now);
    scripted.newest[path]->open();
    scripted.report(EventKind::connected, *scripted.newest[path]);
  }
  for (int i = 0; i < 4; ++i) caller.poll(now);
  for (std::size_t at = 0; at + kRecord <= size; at += kRecord) {
    act(scripted, caller, data + at, payload.data(), now, options.relays);
    if (data[at] & 0x40) now += std::chrono::milliseconds(data[at + 1]);
    if (data[at] & 0x80) continue;  // several things between two polls
    caller.poll(now);
  }
  for (int i = 0; i < 200; ++i) {  // what has not been polled may still bring a lane
    caller.close_all();
    caller.poll(now += std::chrono::seconds(1));
  }
  FUZZ_CHECK(scripted.held() == 0);
  return 0;
}
