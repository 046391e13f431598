// What the engine does with frames that come in. Every field is checked before it is used. See engine.h.
#include <algorithm>
#include <cstring>

#include "src/base/format.h"
#include "src/engine/engine.h"

namespace tutti {

namespace {

constexpr std::uint32_t kFramesForNobodyMax = 16'384;  // per channel; well above what the window lets through
constexpr std::size_t kFailureBytesMax = 1024;
constexpr std::size_t kCouncilBytesMax = kAgreementValueBytes + 4096;

bool is_call_kind(CallKind kind) { return kind <= CallKind::agree; }

}  // namespace

void Engine::on_delivery(Channel& channel, const Event& event, Instant now) {
  const Frame frame = Frame::unpack(event.header);
  Arrival* const arrival = wire_.new_arrival();
  arrival->channel = &channel;
  arrival->token = event.token;
  arrival->data = event.data;
  arrival->bytes = static_cast<std::uint32_t>(event.bytes);
  arrival->segment = frame.segment;
  arrival->uncredited = frame.kind == FrameKind::data && frame.uncredited;
  arrival->holds = true;
  arrival->in_place = event.in_place;
  arrival->transient = event.transient;
  if (event.data != nullptr && !event.in_place && !event.transient) {
    arrival->counted = true;
    channel.held_bytes += event.bytes;
    ++channel.held_frames;
  }
  if (event.bytes == 0) wire_.let_go(arrival);  // it may wait long here, and a transport holds only so many
  if (arrival->uncredited) {
    channel.uncredited_received += arrival->bytes + kFrameCost;
    if (channel.uncredited_received - channel.consumed > kWindowBytes && channel.open) {
      const Status why(Code::internal,
                       format("{} sent more than it may before this process has used what came; closed the link",
                              channel.link->describe()));
      options_.log.write(LogLevel::warn, "engine", "{}", why.text());
      channel.link->close(why);
      channel.open = false;
    }
  }
  // Frames other than data are small: their payload, if any, is brought here before they are looked at.
  if (frame.kind != FrameKind::data && arrival->data == nullptr && arrival->bytes > 0) {
    const std::size_t most = frame.kind == FrameKind::council ? kCouncilBytesMax : kFailureBytesMax;
    if (arrival->bytes > most) return drop(arrival);
    keep(arrival);
    if (arrival->state == Arrival::State::fetching) {
      channel.fetches.back().redispatch = true;
      channel.fetches.back().header = event.header;
      return;
    }
  }
  dispatch(channel, frame, arrival, now);
}

void Engine::dispatch(Channel& channel, const Frame& frame, Arrival* arrival, Instant now) {
  if (frame.kind == FrameKind::none) return drop(arrival);
  if (frame.kind == FrameKind::window) {
    const std::uint64_t returned = static_cast<std::uint64_t>(frame.number) << 32 | frame.message;
    if (returned > channel.uncredited_returned && returned <= channel.uncredited_sent)
      channel.uncredited_returned = returned;
    drop(arrival);
    return retry(channel.window_waiters, now);
  }
  if (frame.kind == FrameKind::shut_out) {
    channel.peer->goes_on = true;
    return drop(arrival);
  }
  const CommunicatorKey key{frame.communicator, frame.target};
  if (const auto found = communicators_.find(key); found != communicators_.end()) {
    return to_communicator(*found->second, channel, frame, arrival, now);
  }
  if (frame.kind == FrameKind::goodbye) {
    for (const auto& leaving : leaving_) {
      if (leaving->id_ == key.id && leaving->rank_ == key.rank)
        return to_communicator(*leaving, channel, frame, arrival, now);
    }
  }
  if (const auto ended = ended_.find(frame.communicator); ended != ended_.end()) {
    // Whoever was not connected when the goodbyes went asks in the end.
    if (frame.kind == FrameKind::probe || frame.kind == FrameKind::council)
      say_goodbye(channel, frame, ended->second);
    return drop(arrival);
  }
  if (channel.frames_for_nobody >= kFramesForNobodyMax) return drop(arrival);
  ++channel.frames_for_nobody;
  Orphans& orphans = orphans_[key];
  if (orphans.frames.empty()) orphans.since = now;
  if (frame.kind == FrameKind::data || frame.kind == FrameKind::failure || frame.kind == FrameKind::council) {
    keep(arrival);
    orphans.frames.push_back({frame, arrival, &channel});
  } else {
    drop(arrival);
    orphans.frames.push_back({frame, nullptr, &channel});
  }
}

// The frame has to wait for something here: its payload is put where it can wait without holding up the channel.
void Engine::keep(Arrival* arrival) {
  Channel& channel = *arrival->channel;
  if (arrival->owned || arrival->bytes == 0 || arrival->state != Arrival::State::readable) return;
  if (arrival->data != nullptr) {
    if (arrival->in_place || (!arrival->transient && !channel.holds_too_much())) return;
    auto owned = wire_.take_buffer(arrival->bytes);
    std::memcpy(owned.get(), arrival->data, arrival->bytes);
    wire_.keep_copy(arrival, std::move(owned));
    return;
  }
  arrival->owned = wire_.take_buffer(arrival->bytes);
  arrival->data = arrival->owned.get();
  const FetchState fetch = channel.link->fetch(arrival->token, arrival->owned.get());
  if (fetch == FetchState::closed) arrival->state = Arrival::State::lost;
  if (fetch == FetchState::done) wire_.let_go(arrival);
  if (fetch != FetchState::pending) return;
  arrival->state = Arrival::State::fetching;
  channel.fetches.push_back({arrival->token, arrival, {}, false, {}});
}

void Engine::drop(Arrival* arrival) {
  if (arrival == nullptr) return;
  if (arrival->state == Arrival::State::fetching) {
    for (Channel::Fetch& fetch : arrival->channel->fetches) {
      if (fetch.arrival == arrival)
        fetch.redispatch = true;  // comes back with a header of no kind, and is dropped then
    }
    return;
  }
  // A transport may stop receiving until a payload without data is fetched; keep() does, also for what nobody wants.
  if (arrival->data == nullptr && arrival->bytes > 0) {
    keep(arrival);
    if (arrival->state == Arrival::State::fetching) {
      arrival->channel->fetches.back().redispatch = true;
      return;
    }
  }
  wire_.consume(arrival);
}

void Engine::to_communicator(Communicator& communicator, Channel& channel, const Frame& frame, Arrival* arrival,
                             Instant now) {
  const bool known_source = frame.source >= 0 && frame.source < communicator.size() &&
                            communicator.members_[static_cast<std::size_t>(frame.source)].peer == channel.peer;
  if (!known_source || !is_call_kind(frame.signature.kind)) {
    options_.log.write(LogLevel::warn, "engine", "{}: a frame from {} claims to come from rank {}; dropped",
                       communicator.name_, channel.peer->address.describe(), frame.source);
    return drop(arrival);
  }
  switch (frame.kind) {
    case FrameKind::failure:
      return on_failure(communicator, channel, frame, arrival, now);
    case FrameKind::probe:
      drop(arrival);
      return on_probe(communicator, channel, frame, now);
    case FrameKind::position:
      drop(arrival);
      return on_position(communicator, frame, now);
    case FrameKind::goodbye:
      drop(arrival);
      return on_goodbye(communicator, frame, now);
    case FrameKind::reached:
      drop(arrival);
      return on_reached(communicator, frame, now);
    case FrameKind::council:
      return on_council(communicator, frame, arrival, now);
    case FrameKind::data:
    case FrameKind::credit:
    case FrameKind::ask:
      break;
    default:
      return drop(arrival);
  }
  if (!communicator.failure_.is_ok()) return drop(arrival);
  Operation* operation = nullptr;
  bool over = false;
  const bool sends_here = frame.to_sender;
  if (frame.point_to_point) {
    const auto found = communicator.points_.find(Communicator::point_key(frame.source, sends_here, frame.number));
    operation = found == communicator.points_.end() ? nullptr : found->second;
    const auto& numbers = sends_here ? communicator.sends_to_ : communicator.receives_from_;
    over = operation == nullptr &&
           static_cast<std::int32_t>(frame.number - numbers[static_cast<std::size_t>(frame.source)]) < 0;
  } else {
    operation = communicator.find(frame.number);
    over = operation == nullptr && static_cast<std::int32_t>(frame.number - communicator.next_number_) < 0;
  }
  if (over) {
    const Signature& mine = communicator.history_[frame.number % Communicator::kHistory];
    const bool remembered =
        !frame.point_to_point && communicator.next_number_ - frame.number <= Communicator::kHistory;
    const bool fits = frame.signature.per_message() ? frame.signature.kind == mine.kind : frame.signature == mine;
    drop(arrival);
    if (frame.kind == FrameKind::data && remembered && !fits)
      mismatch(communicator, mine, frame.source, frame.signature, frame.number, now);
    return;
  }
  if (operation != nullptr && operation->state_ != Operation::State::connecting) {
    return to_operation(*operation, frame, arrival, now);
  }
  EarlyFrame early{frame, nullptr, &channel};
  if (frame.kind == FrameKind::data) {
    keep(arrival);
    early.arrival = arrival;
  } else {
    drop(arrival);
  }
  if (frame.point_to_point) {
    communicator.early_points_[Communicator::point_key(frame.source, sends_here, frame.number)].push_back(early);
  } else {
    communicator.early_[frame.number].push_back(early);
  }
}

void Engine::to_operation(Operation& operation, const Frame& frame, Arrival* arrival, Instant now) {
  Communicator& communicator = *operation.communicator_;
  if (!operation.is_under_way()) return drop(arrival);
  Signature expected = operation.signature_;
  if (expected.per_message() && frame.signature.kind == expected.kind) expected.count = frame.signature.count;
  if (frame.signature != expected) {
    drop(arrival);
    return mismatch(communicator, operation.signature_, frame.source, frame.signature, frame.number, now);
  }
  if (operation.on_board_ || frame.lane >= operation.plan_->lanes.size()) {
    drop(arrival);
    return fail(
        operation,
        Status(
            Code::internal,
            format("{}: a frame of lane {} from {} does not fit the plan here; do both ranks have the same settings?",
                   title(operation), frame.lane, communicator.describe(frame.source))),
        now);
  }
  LaneRun& run = *operation.runs_[frame.lane];
  const int peer = operation.plan_->lanes[frame.lane].find_peer(frame.source);
  Status status;
  if (peer < 0) {
    drop(arrival);
    status = Status(Code::internal, "a frame from a rank that the plan does not know");
  } else if (frame.kind == FrameKind::data) {
    if (!run.message_matches(static_cast<std::uint32_t>(peer), frame)) {
      drop(arrival);
      Signature mine = operation.signature_;
      mine.count = run.expected_elements(static_cast<std::uint32_t>(peer), frame.message);
      return mismatch(communicator, mine, frame.source, frame.signature, frame.number, now);
    }
    status = run.deliver(wire_, arrival, static_cast<std::uint32_t>(peer), frame.message, now);
  } else {
    drop(arrival);
    status = frame.kind == FrameKind::credit
                 ? run.credit(wire_, static_cast<std::uint32_t>(peer), frame.message, frame.segment, now)
                 : run.ask(wire_, static_cast<std::uint32_t>(peer), frame.message, now);
  }
  if (!status)
    return fail(operation,
                status.prefixed(format("{}, from {}", title(operation), communicator.describe(frame.source))), now);
  settle(operation, now);
}

void Engine::mismatch(Communicator& communicator, const Signature& mine, Rank other, const Signature& theirs,
                      std::uint32_t number, Instant now) {
  fail_communicator(
      communicator,
      Status(Code::invalid, format("{}: operation {} does not match: {} called {}, {} called {}. The communicator "
                                   "cannot go on; make the calls "
                                   "the same on all ranks, in the same order",
                                   communicator.name_, number, communicator.describe(communicator.rank_),
                                   mine.describe(), communicator.describe(other), theirs.describe())),
      now);
}

// payload: code (1 byte), culprit (4 bytes, little-endian), text
void Engine::on_failure(Communicator& communicator, Channel&, const Frame&, Arrival* arrival, Instant now) {
  Status why(Code::internal, format("{}: another rank failed and did not say why", communicator.name_));
  if (arrival->state == Arrival::State::readable && arrival->data != nullptr && arrival->bytes >= 5) {
    const auto code = std::to_integer<std::uint8_t>(arrival->data[0]);
    std::int32_t culprit = 0;
    std::memcpy(&culprit, arrival->data + 1, 4);
    const std::string text(reinterpret_cast<const char*>(arrival->data) + 5, arrival->bytes - 5);
    if (code >= 2 && code <= 8) why = Status(static_cast<Code>(code), text, culprit);
  }
  drop(arrival);
  fail_communicator(communicator, why, now);
}

void Engine::tell_failure(Communicator& communicator) {
  if (communicator.failure_told_) return;
  communicator.failure_told_ = true;
  const Status& why = communicator.failure_;
  std::vector<std::byte> payload(5);
  payload[0] = static_cast<std::byte>(why.code());
  const std::int32_t culprit = why.culprit();
  std::memcpy(payload.data() + 1, &culprit, 4);
  const std::string text = why.text().substr(0, kFailureBytesMax - 5);
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  payload.insert(payload.end(), begin, begin + text.size());
  Frame frame;
  frame.communicator = communicator.id_;
  frame.kind = FrameKind::failure;
  frame.source = communicator.rank_;
  for (Rank rank = 0; rank < communicator.size(); ++rank) {
    Peer& peer = *communicator.members_[static_cast<std::size_t>(rank)].peer;
    frame.target = rank;
    if (rank != communicator.rank_ && !peer.channels.empty() && peer.channels[0])
      wire_.send_control(*peer.channels[0], frame, payload);
  }
}

void Engine::say_goodbye(Channel& channel, const Frame& asked, const Ended& ended) {
  Frame frame;
  frame.communicator = asked.communicator;
  frame.kind = FrameKind::goodbye;
  frame.source = asked.target;
  frame.target = asked.source;
  frame.number = ended.number;
  frame.segment = ended.how;
  wire_.send_control(channel, frame);
}

void Engine::on_goodbye(Communicator& communicator, const Frame& frame, Instant now) {
  Member& member = communicator.members_[static_cast<std::size_t>(frame.source)];
  if (++member.goodbyes < frame.message) return;  // what it sent on other lanes is still to come
  communicator.gone_ += member.gone ? 0 : 1;
  member.gone = true;
  if (communicator.council_) return miss_member(communicator, frame, now);
  const Peer& peer = *communicator.members_[static_cast<std::size_t>(frame.source)].peer;
  for (Operation* operation : std::vector<Operation*>(operations_)) {
    if (operation->communicator_ != &communicator || !operation->is_under_way()) continue;
    const Rank rank = needs_peer(*operation, peer, frame.source);
    if (rank < 0) continue;
    miss_departed(*operation, departure(communicator, frame.source).prefixed(title(*operation)), now);
  }
}

}  // namespace tutti
