// Whatever frames come over an open link, from a stranger or from a member that has gone mad: the engine survives,
// gives every delivery back exactly once, and ends every operation. The input is a script of records of 16 bytes:
// which link, how the frame is delivered, its fields in small numbers, and the length of its payload.
#include <array>
#include <cstring>
#include <deque>
#include <set>
#include <vector>

#include "algorithms/catalog.h"
#include "src/engine/engine.h"
#include "tests/fuzz/check.h"

namespace {

using namespace tutti;

class ScriptedLink final : public Link {
 public:
  explicit ScriptedLink(std::uint64_t number) { peer_.low = number; }

  ProcessId peer() const override { return peer_; }
  std::uint32_t lane() const override { return 0; }
  bool is_open() const override { return open_; }
  const Status& status() const override { return status_; }
  std::string describe() const override { return "scripted"; }
  SendState send(const Header&, const std::byte*, std::size_t, std::uint64_t) override {
    return open_ ? SendState::copied : SendState::closed;
  }
  FetchState fetch(std::uint64_t token, std::byte* target) override {
    FUZZ_CHECK(held_.contains(token));
    std::memset(target, 7, bytes_[token]);
    return FetchState::done;
  }
  void release(std::uint64_t token) override { FUZZ_CHECK(held_.erase(token) == 1); }
  void close(const Status& why) override {
    if (!open_) return;
    open_ = false;
    status_ = why;
    closing_ = true;
  }

  std::uint64_t hold(std::size_t bytes) {
    bytes_.push_back(bytes);
    held_.insert(bytes_.size() - 1);
    return bytes_.size() - 1;
  }
  bool take_closing() { return std::exchange(closing_, false); }
  std::size_t held() const { return held_.size(); }

 private:
  ProcessId peer_;
  Status status_;
  bool open_ = true;
  bool closing_ = false;
  std::vector<std::size_t> bytes_;  // by token
  std::set<std::uint64_t> held_;
};

class ScriptedTransport final : public Transport {
 public:
  ScriptedTransport() {
    capabilities_.name = "scripted";
    capabilities_.frame_bytes_max = 1 << 20;
  }
  const Capabilities& capabilities() const override { return capabilities_; }
  std::span<const std::byte> address() const override { return {}; }
  bool reaches(std::span<const std::byte>) const override { return true; }
  Result<Link*> connect(const ProcessId& peer, std::span<const std::byte>, std::uint32_t, Instant) override {
    return static_cast<Link*>(&links[peer.low % links.size()]);
  }
  void forget(Link*) override {}
  std::size_t poll(std::span<Event> out, Instant) override {
    std::size_t count = 0;
    for (; count < out.size() && !events.empty(); events.pop_front()) out[count++] = events.front();
    for (ScriptedLink& link : links) {
      if (count == out.size() || !link.take_closing()) continue;
      out[count].kind = EventKind::closed;
      out[count++].link = &link;
    }
    return count;
  }
  int wait_descriptor() const override { return -1; }
  bool prepare_wait() override { return events.empty(); }
  void finish_wait() override {}

  std::array<ScriptedLink, 3> links{ScriptedLink(0), ScriptedLink(1), ScriptedLink(2)};  // by process; 0: a stranger
  std::deque<Event> events;

 private:
  Capabilities capabilities_;
};

ProcessAddress address_of(std::uint64_t number) {
  ProcessAddress address;
  address.process.low = number;
  address.host.low = number;
  address.host_name = "host";
  address.reaches.push_back({"scripted", {}});
  return address;
}

// The frame of one record: mostly small numbers, so that many fit what runs.
Event event_of(const std::uint8_t* record, ScriptedTransport& transport, const std::byte* payload) {
  ScriptedLink& link = transport.links[record[0] % transport.links.size()];
  Frame frame;
  frame.communicator = record[1] & 0x80 ? record[1] : 5;
  frame.kind = static_cast<FrameKind>(record[2] % 12);
  frame.uncredited = (record[3] & 1) != 0;
  frame.point_to_point = (record[3] & 2) != 0;
  frame.to_sender = (record[3] & 4) != 0;
  frame.number = record[4] & 0x80 ? record[4] * 0x01010101u : record[4];
  frame.lane = record[5] & 0x80 ? record[5] : 0;
  frame.source = static_cast<Rank>(record[6] % 5) - 1;
  frame.target = record[7] & 0x80 ? -7 : 0;
  frame.message = record[8] & 0x80 ? record[8] * 0x01010101u : record[8];
  frame.segment = record[9] & 0x80 ? record[9] * 0x01010101u : record[9];
  frame.signature.kind = static_cast<CallKind>(record[10] % 20);
  frame.signature.type = static_cast<DataType>(record[11] % 16);
  frame.signature.op = static_cast<ReduceOp>(record[12] % 16);
  frame.signature.root = static_cast<Rank>(record[13] % 4);
  frame.signature.count = record[14];
  Event event;
  event.kind = EventKind::delivery;
  event.link = &link;
  event.header = frame.pack();
  event.bytes = std::size_t{record[15]} * (record[3] & 0x80 ? 64 : 4);
  event.transient = (record[3] & 8) != 0;
  event.in_place = (record[3] & 16) != 0;
  event.data = (record[3] & 32) != 0 || event.bytes == 0 ? nullptr : payload;
  event.token = link.hold(event.bytes);
  return event;
}

OperationRequest request_of(CallKind kind, std::vector<std::int32_t>& input, std::vector<std::int32_t>& output) {
  OperationRequest request;
  request.kind = kind;
  request.type = DataType::int32;
  request.count = 64;
  request.root = kind == CallKind::all_reduce ? 0 : 1;
  request.input = reinterpret_cast<const std::byte*>(input.data());
  request.output = reinterpret_cast<std::byte*>(output.data());
  request.timeout = std::chrono::seconds(1);
  return request;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kRecord = 16;
  static const std::vector<std::byte> payload(255 * 64, std::byte{3});
  auto owned = std::make_unique<ScriptedTransport>();
  ScriptedTransport& transport = *owned;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::move(owned));
  const std::unique_ptr<Recorder> recorder = Recorder::none();
  EngineOptions options;
  options.process.low = 99;
  options.host_name = "host";
  options.algorithms = all_algorithms();
  Engine engine(options, std::move(transports), *recorder);
  Instant now{};
  for (ScriptedLink& link : transport.links) {
    Event event;
    event.kind = EventKind::connected;
    event.link = &link;
    transport.events.push_back(event);
  }
  CommunicatorSpec spec;
  spec.id = 5;
  spec.name = "fuzzed";
  spec.segment_bytes = 64;
  spec.eager_bytes = 128;
  spec.elastic = size > 0 && (data[size - 1] & 1) != 0;
  spec.members = {{engine.address(), kNoBoard}, {address_of(1), kNoBoard}, {address_of(2), kNoBoard}};
  Communicator* const communicator = *engine.create(spec, now);
  std::vector<std::int32_t> input(3 * 64, 1);
  std::vector<std::int32_t> output(3 * 64, 0);
  std::vector<Operation*> operations;
  const CallKind kinds[] = {CallKind::all_reduce, CallKind::broadcast, CallKind::all_reduce, CallKind::reduce};
  for (std::size_t at = 0; at + kRecord <= size; at += kRecord) {
    if (data[at] == 0xff && operations.size() < 40) {  // the next call, in between
      const auto started = engine.start(communicator, request_of(kinds[data[at + 1] % 4], input, output), now);
      if (started) operations.push_back(*started);
    } else {
      transport.events.push_back(event_of(data + at, transport, payload.data()));
    }
    if (data[at] & 0x40) now += std::chrono::milliseconds(data[at + 1]);
    engine.progress(now);
  }
  for (int i = 0; i < 400; ++i) {  // as often as a process looks: silence counts while it does
    now += std::chrono::milliseconds(50);
    engine.progress(now);
  }
  for (const Operation* operation : operations) FUZZ_CHECK(operation->is_complete());
  engine.destroy(communicator, now);
  now += std::chrono::seconds(200);  // what was kept for communicators that never came goes too
  for (int i = 0; i < 3; ++i) engine.progress(now += std::chrono::seconds(1));
  for (const ScriptedLink& link : transport.links) FUZZ_CHECK(link.held() == 0);
  return 0;
}
