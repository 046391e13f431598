#include "tests/conformance/conformance.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "src/base/ids.h"

namespace tutti::conformance {

namespace {

// How long nothing must happen until settle() believes that nothing will.
constexpr int kQuietTurns = 300;
constexpr std::uint64_t kTurnsMax = 3'000'000;
constexpr auto kRealTimeMax = std::chrono::seconds(30);

}  // namespace

void World::rest() { std::this_thread::sleep_for(std::chrono::microseconds(20)); }

bool World::names(const std::string& text, const ProcessId& id) const {
  const auto has = [&](const std::string& word) { return text.find(word) != std::string::npos; };
  return has(host_name()) || has(std::to_string(getpid())) || has(to_string(id).substr(0, 8));
}

std::uint64_t test_seed() {
  const char* const text = std::getenv("TUTTI_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 0) : 20261101;
}

bool test_long() {
  const char* const text = std::getenv("TUTTI_TEST_LONG");
  return text != nullptr && std::strcmp(text, "1") == 0;
}

void Conformance::SetUp() { world_ = GetParam().make(); }

void Conformance::TearDown() {
  parties_.clear();
  world_.reset();
}

Party& Conformance::add() {
  const auto id = new_process_id();
  parties_.push_back(std::make_unique<Party>(*id, world_->make(*id)));
  return *parties_.back();
}

void Conformance::destroy(Party& party) {
  std::erase_if(parties_, [&](const auto& p) { return p.get() == &party; });
}

std::size_t Conformance::pump() {
  std::size_t events = 0;
  for (const auto& party : parties_) events += party->poll(world_->now());
  if (events == 0) world_->rest();
  return events;
}

bool Conformance::until(const std::function<bool()>& condition, const std::string& what) {
  const auto give_up = std::chrono::steady_clock::now() + kRealTimeMax;
  for (std::uint64_t turn = 0; !condition(); ++turn) {
    const bool too_long = world_->has_virtual_clock() ? turn > kTurnsMax : std::chrono::steady_clock::now() > give_up;
    if (too_long) {
      ADD_FAILURE() << "waited in vain: " << what;
      return false;
    }
    pump();
  }
  return true;
}

void Conformance::settle() {
  for (int quiet = 0; quiet < kQuietTurns;) quiet = pump() == 0 ? quiet + 1 : 0;
}

std::pair<Line*, Line*> Conformance::join(Party& a, Party& b, std::uint32_t lane) {
  Status error;
  Line* const at_a = a.connect(b, soon(), lane, &error);
  if (at_a == nullptr) {
    ADD_FAILURE() << "connect: " << error.text();
    return {nullptr, nullptr};
  }
  const bool came = until([&] { return at_a->closed || (at_a->connected && b.open_line(a.id(), lane) != nullptr); },
                          "a link between two processes");
  if (!came || at_a->closed) {
    ADD_FAILURE() << "no link: " << at_a->why.text();
    return {nullptr, nullptr};
  }
  return {at_a, b.open_line(a.id(), lane)};
}

bool Conformance::send_frame(Party& from, Line& line, std::uint64_t stream, std::uint64_t index, std::size_t bytes,
                             std::size_t skew) {
  const auto payload = stream_payload(stream, index, bytes);
  SendState state = SendState::again;
  const bool ended = until(
      [&] {
        state = from.send(line, stream_header(stream, index, bytes), payload, skew);
        return state != SendState::again;
      },
      "room for a frame of " + std::to_string(bytes) + " B");
  return ended && state != SendState::closed;
}

bool Conformance::send_from(Line& line, std::uint64_t stream, std::uint64_t index, const std::byte* memory,
                            std::size_t bytes) {
  return until(
      [&] {
        const std::uint64_t cookie = line.next_cookie;
        const SendState state = line.link->send(stream_header(stream, index, bytes), memory, bytes, cookie);
        if (state != SendState::pending && state != SendState::copied) return false;
        ++line.next_cookie;
        ++line.frames_sent;
        if (state == SendState::pending) line.pending[cookie];
        return true;
      },
      "room for a frame");
}

void Conformance::expect_frame(const Line& line, std::size_t k, std::uint64_t stream, std::uint64_t index,
                               std::size_t bytes) {
  ASSERT_LT(k, line.received.size());
  const Frame& frame = line.received[k];
  ASSERT_EQ(frame.stream(), stream) << "at " << k;
  ASSERT_EQ(frame.index(), index) << "at " << k;
  EXPECT_EQ(frame.header, stream_header(stream, index, bytes)) << "at " << k;
  ASSERT_TRUE(frame.complete) << "at " << k;
  ASSERT_EQ(frame.payload.size(), bytes) << "at " << k;
  EXPECT_TRUE(frame.payload == stream_payload(stream, index, bytes))
      << "payload of frame " << index << ", " << bytes << " B";
}

void Conformance::expect_talks(Party& a, Line& at_a, Party& b, Line& at_b, std::size_t bytes) {
  const std::uint64_t there = next_stream_++;
  const std::uint64_t back = next_stream_++;
  const std::size_t b_had = at_b.received.size();
  const std::size_t a_had = at_a.received.size();
  ASSERT_TRUE(send_frame(a, at_a, there, 0, bytes));
  ASSERT_TRUE(send_frame(b, at_b, back, 0, bytes));
  ASSERT_TRUE(until(
      [&] {
        return at_b.received.size() > b_had && at_b.received[b_had].complete && at_a.received.size() > a_had &&
               at_a.received[a_had].complete && at_a.pending.empty() && at_b.pending.empty();
      },
      "one frame in each direction"));
  expect_frame(at_b, b_had, there, 0, bytes);
  expect_frame(at_a, a_had, back, 0, bytes);
}

std::size_t Conformance::frame_bytes_max() {
  return std::min(kFrameBytesMax, parties_.front()->transport().capabilities().frame_bytes_max);
}

}  // namespace tutti::conformance
