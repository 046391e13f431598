// How relayed links begin and end: what the three processes tell each other. See relays.h.
#include <algorithm>

#include "src/base/format.h"
#include "transports/failover/bundle.h"
#include "transports/failover/relays.h"
#include "transports/failover/transport.h"

namespace tutti::failover {

namespace {

constexpr std::size_t kAddressBytesMax = 4096;  // transport.h

std::string explain(RelayEnd why) {
  switch (why) {
    case RelayEnd::closed:
      return "the other end has closed it";
    case RelayEnd::no_path:
      return "there is no connection from there";
    case RelayEnd::full:
      return format("it is relaying for {} pairs of processes already", kRelayedMax);
    case RelayEnd::lost:
      return "the connection from there was lost";
    case RelayEnd::dead:
      return "the process has ended its connections";
  }
  return "no reason was given";
}

}  // namespace

Stream& Relays::add_stream(Path& path, std::uint32_t id) {
  Stream& stream = *streams_.emplace_back(std::make_unique<Stream>());
  stream.path = &path;
  stream.id = id;
  path.streams.push_back(&stream);
  return stream;
}

Stream* Relays::find(const Path& path, std::uint32_t id) {
  const auto found =
      std::find_if(path.streams.begin(), path.streams.end(), [&](const Stream* each) { return each->id == id; });
  return found == path.streams.end() ? nullptr : *found;
}

// Even on one side, odd on the other.
std::uint32_t Relays::new_id(Path& path) { return path.next_stream += 2; }

// Words come after each other, and before any frame of a stream that is sent later.
void Relays::say(Path& path, const Control& word) {
  path.words.push_back(word);
  if (!say_words(path) && std::find(talking_.begin(), talking_.end(), &path) == talking_.end())
    talking_.push_back(&path);
}

bool Relays::say_words(Path& path) {
  if (path.words.empty()) return true;
  if (path.bundle == nullptr || !path.bundle->flush(path)) return false;  // the greeting, first of all
  while (!path.words.empty()) {
    if (path.link->send(path.words.front().pack(), nullptr, 0, 0) != SendState::copied) return false;
    path.words.pop_front();
  }
  return true;
}

void Relays::say_address(Path& path, std::uint32_t stream, std::span<const std::byte> address) {
  Control part{ControlKind::relay_address, stream, kAddressPartBytes, {}};
  while (part.count == kAddressPartBytes) {
    part.count = static_cast<std::uint32_t>(std::min(address.size(), kAddressPartBytes));
    std::copy_n(address.data(), part.count, reinterpret_cast<std::byte*>(part.values.data()));
    address = address.subspan(part.count);
    say(path, part);
  }
}

RelayLink* Relays::open(Path& path, const ProcessId& peer, std::uint32_t lane, std::span<const std::byte> address) {
  Stream& stream = add_stream(path, new_id(path));
  auto made = std::make_unique<RelayLink>(transport_, stream, peer, lane);
  stream.link = made.get();
  links_[stream.link] = std::move(made);
  say_address(path, stream.id, address);
  say(path, {ControlKind::relay_open, stream.id, 0, {peer.high, peer.low}});
  return stream.link;
}

void Relays::on_word(Path& path, const Control& word) {
  if (word.kind == ControlKind::relay_label) {
    path.receive_stream = word.lane;
    return;
  }
  if (word.kind == ControlKind::relay_address) return on_address(path, word);
  if (word.kind == ControlKind::relay_open) return on_open(path, word);
  if (word.kind == ControlKind::relay_offer) return on_offer(path, word);
  Stream* const stream = find(path, word.lane);
  if (stream == nullptr) return;  // it has ended here while that was under way
  switch (word.kind) {
    case ControlKind::relay_accept:
      return on_accept(path, *stream);
    case ControlKind::relay_credit:
      if (word.values[0] > stream->under_way)
        return path.bundle->refuse(format("it let go of {} that were relayed to it, of {}",
                                          format_bytes(word.values[0]), format_bytes(stream->under_way)));
      stream->under_way -= word.values[0];
      return pump(*stream);
    default:
      return on_end(*stream, static_cast<RelayEnd>(word.values[0]));
  }
}

bool Relays::is_new(const Path& path, std::uint32_t id) {
  const bool is_theirs = (id & 1) != (path.next_stream & 1);
  return id > 1 && is_theirs && find(path, id) == nullptr;
}

void Relays::on_address(Path& path, const Control& word) {
  if (word.count > kAddressPartBytes || path.relay_address.size() + word.count > kAddressBytesMax)
    return path.bundle->refuse("it tells of an address that is none");
  const std::byte* const part = reinterpret_cast<const std::byte*>(word.values.data());
  path.relay_address.insert(path.relay_address.end(), part, part + word.count);
  if (word.lane > 0 || word.count == kAddressPartBytes) return;
  const std::vector<std::byte> address = std::exchange(path.relay_address, {});
  if (path.bundle->address().empty()) path.bundle->address() = address;
}

// We are the third.
void Relays::on_open(Path& path, const Control& word) {
  const std::vector<std::byte> address = std::exchange(path.relay_address, {});
  const ProcessId from = path.bundle->peer();
  const ProcessId to{{word.values[0], word.values[1]}};
  if (!is_new(path, word.lane) || to == from || to == transport_.options().process)
    return path.bundle->refuse("it opens a relay where there can be none");
  for (const auto& each : streams_) {  // it has lost the one that it had
    if ((each->is_waiting() || (each->path != nullptr && each->other != nullptr)) && each->from == from &&
        each->to == to) {
      on_end(*each, RelayEnd::closed);
      break;
    }
  }
  const auto refuse = [&](RelayEnd why) {
    say(path, {ControlKind::relay_end, word.lane, 0, {static_cast<std::uint64_t>(why)}});
  };
  Path* const on = transport_.direct_path(to);
  if (on != nullptr && !on->may_relay) return refuse(RelayEnd::no_path);
  std::size_t carried = 0;
  for (const auto& each : streams_) carried += each->is_waiting() ? 2 : each->path != nullptr && each->is_carried;
  if (carried >= 2 * kRelayedMax) return refuse(RelayEnd::full);
  if (on == nullptr && !transport_.reach(to, address)) return refuse(RelayEnd::no_path);
  Stream& near = add_stream(path, word.lane);
  near.is_carried = true;
  near.from = from;
  near.to = to;
  if (on != nullptr) go_on(near, *on);
}

void Relays::go_on(Stream& near, Path& path) {
  Stream& far = add_stream(path, new_id(path));
  far.is_carried = true;
  far.from = near.from;
  far.to = near.to;
  near.other = &far;
  far.other = &near;
  say(path, {ControlKind::relay_offer, far.id, 0, {near.from.high, near.from.low}});
}

void Relays::on_reached(Path& path) {
  const ProcessId to = path.bundle->peer();
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    Stream& stream = *streams_[i];
    if (!stream.is_waiting() || stream.to != to) continue;
    if (path.may_relay) {
      go_on(stream, path);
    } else {
      end(stream, RelayEnd::no_path);
    }
  }
}

void Relays::on_unreachable(const ProcessId& peer) {
  for (const auto& stream : streams_) {
    if (stream->is_waiting() && stream->to == peer) end(*stream, RelayEnd::no_path);
  }
}

// We are the target.
void Relays::on_offer(Path& path, const Control& word) {
  const ProcessId from{{word.values[0], word.values[1]}};
  const ProcessId self = transport_.options().process;
  if (!is_new(path, word.lane) || from == self || from == path.bundle->peer())
    return path.bundle->refuse("it offers a relay where there can be none");
  if (links_.size() >= kRelayEndsMax)
    return say(path, {ControlKind::relay_end, word.lane, 0, {static_cast<std::uint64_t>(RelayEnd::full)}});
  Stream& stream = add_stream(path, word.lane);
  stream.is_accepted = true;
  auto made = std::make_unique<RelayLink>(transport_, stream, from, relay_lane(from, self));
  stream.link = made.get();
  links_[stream.link] = std::move(made);
  say(path, {ControlKind::relay_accept, stream.id, 0, {}});
  report(EventKind::connected, *stream.link);
}

void Relays::on_accept(Path& path, Stream& stream) {
  const bool is_ours = (stream.id & 1) == (path.next_stream & 1);
  if (!is_ours || stream.is_accepted) return path.bundle->refuse("it accepts a relay that it was not offered");
  stream.is_accepted = true;
  if (stream.link != nullptr) return report(EventKind::connected, *stream.link);
  if (stream.other == nullptr) return;
  stream.other->is_accepted = true;
  transport_.options().log.write(LogLevel::info, "failover", "{} and {}: these two processes are relayed here",
                                 stream.other->path->link->describe(), path.link->describe());
  say(*stream.other->path, {ControlKind::relay_accept, stream.other->id, 0, {}});
}

void Relays::on_end(Stream& stream, RelayEnd why) {
  if (why < RelayEnd::closed || why > RelayEnd::dead) why = RelayEnd::lost;
  if (RelayLink* const link = stream.link) {
    link->finish(Status(Code::peer_lost, format("{} is closed: {}", link->describe(), explain(why))),
                 why != RelayEnd::dead);
  }
  if (Stream* const other = stream.other) {
    other->ends = why;
    drop(stream);
    return pump(*other);
  }
  drop(stream);
}

void Relays::end(Stream& stream, RelayEnd why) {
  say(*stream.path, {ControlKind::relay_end, stream.id, 0, {static_cast<std::uint64_t>(why)}});
  drop(stream);
}

void Relays::drop(Stream& stream) {
  std::erase(stream.path->streams, &stream);
  stream.path = nullptr;
  if (stream.other != nullptr) stream.other->other = nullptr;
  stream.other = nullptr;
  stream.queue.clear();
  for (auto& [cookie, sending] : sending_) {
    if (sending.stream == &stream) sending.stream = nullptr;
  }
  for (Fetching& fetching : fetching_) {
    if (fetching.to == &stream) fetching.to = nullptr;
  }
}

void Relays::on_path_ended(Path& path, bool by_peer) {
  std::erase(talking_, &path);
  path.words.clear();
  std::erase_if(sending_, [&](const auto& each) { return each.second.path == &path; });
  std::erase_if(fetching_, [&](const Fetching& each) {
    if (each.path != &path) return false;
    transport_.release(path, each.token);
    if (each.to != nullptr) std::erase_if(each.to->queue, [](const Stream::Frame& frame) { return !frame.is_whole; });
    return true;
  });
  // While another connection to the process lives, it does.
  const bool is_dead = by_peer && !path.link->is_cut_off() && transport_.direct_path(path.link->peer()) == nullptr;
  for (Stream* const stream : std::vector<Stream*>(path.streams)) {
    if (RelayLink* const link = stream->link) {
      link->finish(path.link->status(), true);
      drop(*stream);
    } else {
      on_end(*stream, is_dead ? RelayEnd::dead : RelayEnd::lost);
    }
  }
}

}  // namespace tutti::failover
