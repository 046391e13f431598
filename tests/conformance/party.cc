#include "tests/conformance/party.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace tutti::conformance {

namespace {

constexpr std::byte kScribble{0xEE};
constexpr std::byte kCanary{0x5A};
constexpr std::size_t kSpare = 16;  // canary bytes on each side of a fetch target; odd on the left

}  // namespace

Header stream_header(std::uint64_t stream, std::uint64_t index, std::size_t bytes) {
  return Header{{stream, index, bytes, stream * 31 + index, ~index, 0x7475747469ull}};
}

std::vector<std::byte> stream_payload(std::uint64_t stream, std::uint64_t index, std::size_t bytes) {
  Random random(stream * 0x9e3779b97f4a7c15ull + index);
  std::vector<std::byte> payload(bytes);
  std::size_t at = 0;
  while (at < bytes) {
    const std::uint64_t word = random.next();
    const std::size_t take = std::min(sizeof word, bytes - at);
    std::memcpy(payload.data() + at, &word, take);
    at += take;
  }
  return payload;
}

Party::Party(const ProcessId& id, std::unique_ptr<Transport> transport) : id_(id), transport_(std::move(transport)) {}

// First the transport, which may still read payloads and write to targets.
Party::~Party() { transport_.reset(); }

std::vector<std::byte> Party::address() const {
  const auto span = transport_->address();
  return {span.begin(), span.end()};
}

Line* Party::line_of(Link* link) {
  // Newest first: the one asked for is nearly always recent.
  for (auto line = lines_.rbegin(); line != lines_.rend(); ++line) {
    if ((*line)->link == link) return line->get();
  }
  return nullptr;
}

Line* Party::open_line(const ProcessId& peer, std::uint32_t lane) {
  for (auto line = lines_.rbegin(); line != lines_.rend(); ++line) {
    if ((*line)->peer == peer && (*line)->lane == lane && (*line)->open()) return line->get();
  }
  return nullptr;
}

std::size_t Party::count_lines(const ProcessId& peer, bool connected_only) const {
  return static_cast<std::size_t>(std::count_if(lines_.begin(), lines_.end(), [&](const auto& line) {
    return line->peer == peer && (line->connected || !connected_only);
  }));
}

std::size_t Party::poll(Instant now) {
  std::vector<Event> events(batch);
  const std::size_t count = transport_->poll(events, now);
  EXPECT_LE(count, batch) << "poll reported more events than there was room for";
  for (std::size_t i = 0; i < std::min(count, batch); ++i) {
    const Event& event = events[i];
    if (event.link == nullptr) {
      ADD_FAILURE() << "an event without a link, kind " << int(event.kind);
      continue;
    }
    if (event.kind == EventKind::connected) {
      on_connected(event);
      continue;
    }
    Line* const line = line_of(event.link);
    if (line == nullptr) {
      ADD_FAILURE() << "an event of kind " << int(event.kind) << " on a link that was never reported";
      continue;
    }
    EXPECT_FALSE(line->closed) << "an event of kind " << int(event.kind) << " after closed, on "
                               << event.link->describe();
    switch (event.kind) {
      case EventKind::connected:
        break;
      case EventKind::delivery:
        EXPECT_TRUE(line->connected) << "a delivery before connected";
        on_delivery(*line, event);
        break;
      case EventKind::fetched:
        finish_fetch(*line, event.token);
        break;
      case EventKind::sent: {
        const auto pending = line->pending.find(event.token);
        if (pending == line->pending.end()) {
          ADD_FAILURE() << "a sent event for cookie " << event.token << ", which is not pending";
          break;
        }
        std::fill(pending->second.begin(), pending->second.end(), kScribble);
        line->pending.erase(pending);
        ++line->sends_ended;
        break;
      }
      case EventKind::closed:
        on_closed(*line);
        break;
      case EventKind::rerouted:
        EXPECT_TRUE(line->connected) << "a link was rerouted before connected";
        EXPECT_LE(event.token, 1u);
        line->rerouted.emplace_back(event.token == 1, event.link->news());
        break;
    }
  }
  return count;
}

void Party::on_connected(const Event& event) {
  Line* line = line_of(event.link);
  if (line == nullptr) {
    lines_.push_back(std::make_unique<Line>());
    line = lines_.back().get();
    line->link = event.link;
    line->peer = event.link->peer();
    line->lane = event.link->lane();
  }
  EXPECT_FALSE(line->connected) << "connected twice";
  EXPECT_FALSE(line->closed) << "connected after closed";
  EXPECT_EQ(line->peer, event.link->peer());
  EXPECT_EQ(line->lane, event.link->lane());
  EXPECT_FALSE(event.link->describe().empty());
  line->connected = true;
}

void Party::on_delivery(Line& line, const Event& event) {
  const std::size_t at = line.received.size();
  line.received.push_back(Frame{event.header, {}, false, event.data != nullptr, event.transient});
  Frame& frame = line.received.back();
  if (event.transient && event.bytes > 0) {
    EXPECT_NE(event.data, nullptr) << "a transient delivery without data";
  }

  const Take take = taste ? taste(line, event) : Take::copy;
  if (take == Take::drop) {
    event.link->release(event.token);
    return;
  }
  if (event.data != nullptr || event.bytes == 0) {
    frame.payload.assign(event.data, event.data + event.bytes);
    frame.complete = true;
    if (take == Take::hold && !event.transient) {
      line.held.push_back({event, at});
    } else {
      event.link->release(event.token);
    }
    return;
  }
  if (take == Take::fetch_later) {
    line.unfetched.push_back({event, at});
  } else {
    start_fetch(line, event, at);
  }
}

void Party::start_fetch(Line& line, const Event& event, std::size_t frame) {
  Line::Fetching fetching;
  fetching.target.assign(event.bytes + 2 * kSpare, kCanary);
  fetching.frame = frame;
  fetching.bytes = event.bytes;
  std::byte* const target = fetching.target.data() + kSpare - 1;
  const bool is_new = line.fetching.emplace(event.token, std::move(fetching)).second;
  EXPECT_TRUE(is_new) << "two deliveries with token " << event.token << " at the same time";
  switch (event.link->fetch(event.token, target)) {
    case FetchState::done:
      finish_fetch(line, event.token);
      break;
    case FetchState::pending:
      break;
    case FetchState::closed:
      EXPECT_FALSE(event.link->is_open()) << "fetch says closed on a link that is open";
      line.fetching.erase(event.token);
      event.link->release(event.token);
      break;
  }
}

void Party::finish_fetch(Line& line, std::uint64_t token) {
  const auto found = line.fetching.find(token);
  if (found == line.fetching.end()) {
    ADD_FAILURE() << "a fetched event for token " << token << ", which no fetch waits for";
    return;
  }
  const Line::Fetching& fetching = found->second;
  const auto begin = fetching.target.begin() + kSpare - 1;
  const auto end = begin + static_cast<std::ptrdiff_t>(fetching.bytes);
  const auto is_canary = [](std::byte b) { return b == kCanary; };
  EXPECT_TRUE(std::all_of(fetching.target.begin(), begin, is_canary)) << "a fetch wrote before its target";
  EXPECT_TRUE(std::all_of(end, fetching.target.end(), is_canary)) << "a fetch wrote behind its target";
  Frame& frame = line.received[fetching.frame];
  frame.payload.assign(begin, end);
  frame.complete = true;
  line.fetching.erase(found);
  line.link->release(token);
}

void Party::on_closed(Line& line) {
  line.closed = true;
  line.why = line.link->status();
  EXPECT_FALSE(line.link->is_open());
  EXPECT_FALSE(line.why.is_ok()) << "a closed link whose status is ok";
  EXPECT_FALSE(line.why.text().empty()) << "a closed link without a sentence";
  // The transport reads these no longer, so they may go; the fetches that were under way never end.
  for (auto& [cookie, payload] : line.pending) std::fill(payload.begin(), payload.end(), kScribble);
  line.pending.clear();
  for (const auto& [token, fetching] : line.fetching) line.link->release(token);
  line.fetching.clear();
}

Line* Party::connect(Party& peer, Instant deadline, std::uint32_t lane, Status* error) {
  return connect(peer.id(), peer.address(), lane, deadline, error);
}

Line* Party::connect(const ProcessId& peer, std::span<const std::byte> address, std::uint32_t lane, Instant deadline,
                     Status* error) {
  const Result<Link*> link = transport_->connect(peer, address, lane, deadline);
  if (!link) {
    EXPECT_FALSE(link.status().text().empty()) << "connect was refused without a sentence";
    if (error != nullptr) *error = link.status();
    return nullptr;
  }
  if (Line* const line = line_of(*link)) {
    EXPECT_FALSE(line->closed) << "connect returned a link that has reported closed";
    return line;
  }
  lines_.push_back(std::make_unique<Line>());
  Line& line = *lines_.back();
  line.link = *link;
  line.peer = peer;
  line.lane = lane;
  EXPECT_EQ((*link)->peer(), peer);
  EXPECT_EQ((*link)->lane(), lane);
  return &line;
}

SendState Party::send(Line& line, const Header& header, const std::vector<std::byte>& payload, std::size_t skew) {
  std::vector<std::byte> buffer(payload.size() + skew, kScribble);
  std::copy(payload.begin(), payload.end(), buffer.begin() + static_cast<std::ptrdiff_t>(skew));
  const std::uint64_t cookie = line.next_cookie++;
  const SendState state = line.link->send(header, buffer.data() + skew, payload.size(), cookie);
  switch (state) {
    case SendState::copied:
      ++line.frames_sent;
      std::fill(buffer.begin(), buffer.end(), kScribble);
      break;
    case SendState::pending:
      ++line.frames_sent;
      EXPECT_GT(payload.size(), transport_->capabilities().copied_bytes_max)
          << "pending, though payloads of this size are always copied";
      line.pending.emplace(cookie, std::move(buffer));
      break;
    case SendState::again:
      break;
    case SendState::closed:  // at the latest once the link is closed; already when the peer is known to be gone
      break;
  }
  return state;
}

void Party::release_held(Line& line, std::size_t index, bool intact) {
  const Line::Held held = line.held[index];
  line.held.erase(line.held.begin() + static_cast<std::ptrdiff_t>(index));
  const std::vector<std::byte>& expected = line.received[held.frame].payload;
  const std::vector<std::byte> now(held.event.data, held.event.data + held.event.bytes);
  if (intact) {
    EXPECT_TRUE(now == expected) << "the data of a held delivery of " << now.size() << " B changed";
  }
  line.link->release(held.event.token);
}

void Party::fetch_now(Line& line, std::size_t index) {
  const Line::Held waiting = line.unfetched[index];
  line.unfetched.erase(line.unfetched.begin() + static_cast<std::ptrdiff_t>(index));
  start_fetch(line, waiting.event, waiting.frame);
}

void Party::release_all(Line& line, bool intact) {
  while (!line.held.empty()) release_held(line, line.held.size() - 1, intact);
  while (!line.unfetched.empty()) {
    line.link->release(line.unfetched.back().event.token);
    line.unfetched.pop_back();
  }
}

void Party::forget(Line& line) {
  ASSERT_TRUE(line.closed) << "only a closed link may be forgotten";
  release_all(line, false);
  ASSERT_TRUE(line.owes_nothing());
  transport_->forget(line.link);
  line.link = nullptr;
}

}  // namespace tutti::conformance
