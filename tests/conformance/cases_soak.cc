// The soak: random sends, polls, holds, late fetches, closes, reconnects and deaths among a few processes. Whatever
// happens, each side of each link must have seen a prefix of what was sent on it, in order, once, whole; and once the
// storm is over, everybody must be able to talk to everybody. A failure prints the seed: TUTTI_TEST_SEED replays it.
#include <algorithm>
#include <unordered_map>

#include "tests/conformance/conformance.h"
#include "tests/sanitized.h"

namespace tutti::conformance {

namespace {

struct Outgoing {
  std::uint64_t stream = 0;
  std::uint64_t next = 0;
};

std::size_t random_size(Random& random, std::size_t most) {
  const std::uint64_t kind = random.below(100);
  const std::size_t bytes = kind < 60   ? random.below(300)
                            : kind < 90 ? random.below(10'000)
                            : kind < 99 ? random.below(100'000)
                                        : random.below(700'000);
  return std::min(bytes, most);
}

// Every frame that came on the line: one stream, from its beginning, in order, whole unless it was dropped or lost.
void check_line(const Line& line, const std::unordered_map<std::uint64_t, std::uint64_t>& sent_of_stream) {
  std::uint64_t index = 0;
  for (const Frame& frame : line.received) {
    ASSERT_EQ(frame.stream(), line.received.front().stream());
    ASSERT_EQ(frame.index(), index);
    const std::size_t bytes = frame.header.words[2];
    ASSERT_EQ(frame.header, stream_header(frame.stream(), index, bytes));
    if (frame.complete) {
      ASSERT_EQ(frame.payload.size(), bytes);
      ASSERT_TRUE(frame.payload == stream_payload(frame.stream(), index, bytes))
          << "frame " << index << ", " << bytes << " B";
    }
    ++index;
  }
  if (!line.received.empty()) {
    ASSERT_TRUE(sent_of_stream.contains(line.received.front().stream()));
    ASSERT_LE(index, sent_of_stream.at(line.received.front().stream())) << "more frames than were sent";
  }
}

}  // namespace

TEST_P(Conformance, SurvivesRandomTraffic) {
  const std::uint64_t seeds = (test_long() ? 30 : 1) * (world_->has_virtual_clock() ? 4 : 1);
  const int steps = (world_->has_virtual_clock() ? 20'000 : 8'000) / (kIsSanitized && !test_long() ? 3 : 1);
  for (std::uint64_t seed = test_seed(); seed < test_seed() + seeds && !HasFailure(); ++seed) {
    SCOPED_TRACE("TUTTI_TEST_SEED=" + std::to_string(seed));
    Random random(seed);
    parties_.clear();
    for (std::uint64_t count = 3 + random.below(2); count > 0; --count) add();
    const std::uint32_t lanes = std::min(2u, parties_[0]->transport().capabilities().lanes_max);
    const std::size_t most = frame_bytes_max();
    std::unordered_map<const Line*, Outgoing> outgoing;
    std::unordered_map<std::uint64_t, std::uint64_t> sent_of_stream;
    const auto set_taste = [&](Party& party) {
      party.taste = [&random](const Line& line, const Event&) {
        if (line.held.size() + line.unfetched.size() > 6) return Take::copy;
        const std::uint64_t choice = random.below(20);
        return choice < 12 ? Take::copy : choice < 16 ? Take::hold : choice < 19 ? Take::fetch_later : Take::drop;
      };
    };
    for (const auto& party : parties_) set_taste(*party);
    const auto send_one = [&](Party& from, Line& line) {
      Outgoing& out = outgoing[&line];
      if (out.stream == 0) out.stream = next_stream_++;
      const std::size_t bytes = random_size(random, most);
      const SendState state = from.send(line, stream_header(out.stream, out.next, bytes),
                                        stream_payload(out.stream, out.next, bytes), random.below(9));
      if (state != SendState::copied && state != SendState::pending) return false;
      sent_of_stream[out.stream] = ++out.next;
      return true;
    };
    const auto let_go = [&](Party& party, Line& line) {
      if (line.link == nullptr) return;
      if (!line.held.empty()) party.release_held(line, random.below(line.held.size()), !line.closed);
      if (!line.unfetched.empty()) party.fetch_now(line, random.below(line.unfetched.size()));
    };
    const auto bury = [&](Party& party, Line& line) {
      if (line.link == nullptr || !line.closed) return;
      party.forget(line);
      check_line(line, sent_of_stream);
      line.received.clear();
    };

    for (int step = 0; step < steps && !HasFailure(); ++step) {
      Party& party = *parties_[random.below(parties_.size())];
      Party& other = *parties_[random.below(parties_.size())];
      const auto lane = static_cast<std::uint32_t>(random.below(lanes));
      Line* const line = party.open_line(other.id(), lane);
      const std::uint64_t choice = random.below(1000);
      if (choice < 400) {
        for (std::uint64_t burst = random.below(6); line != nullptr && burst > 0 && send_one(party, *line);) --burst;
      } else if (choice < 500) {
        if (&party != &other) (void)party.connect(other, soon(), lane);
      } else if (choice < 506) {
        if (line != nullptr) line->link->close(Status(Code::aborted, "the soak closes a link"));
      } else if (choice < 507) {
        for (const auto& l : party.lines()) {
          check_line(*l, sent_of_stream);
          outgoing.erase(l.get());
        }
        destroy(party);
        set_taste(add());
      } else if (choice < 600) {
        for (const auto& l : party.lines()) let_go(party, *l);
      } else if (choice < 620) {
        for (const auto& l : party.lines()) bury(party, *l);
      } else if (choice < 900) {
        party.batch = 1 + random.below(20);
        party.poll(world_->now());
      } else {
        pump();
      }
    }

    // After the storm: let go of everything, link everybody, and everything that was sent on an open link must come.
    for (const auto& party : parties_) {
      party->taste = nullptr;
      party->batch = 16;
      for (const auto& line : party->lines()) {
        while (line->link != nullptr && !line->unfetched.empty()) party->fetch_now(*line, 0);
        if (line->link != nullptr) party->release_all(*line, !line->closed);
      }
    }
    settle();
    const auto for_each_pair = [&](const auto& act) {
      for (const auto& a : parties_) {
        for (const auto& b : parties_) {
          for (std::uint32_t lane = 0; a != b && lane < lanes; ++lane) act(*a, *b, lane);
        }
      }
    };
    for_each_pair([&](Party& a, Party& b, std::uint32_t lane) { ASSERT_NE(a.connect(b, soon(), lane), nullptr); });
    ASSERT_TRUE(until(
        [&] {
          bool all = true;
          for_each_pair(
              [&](Party& a, Party& b, std::uint32_t lane) { all = all && a.open_line(b.id(), lane) != nullptr; });
          return all;
        },
        "links between all after the storm"));
    settle();
    for_each_pair([&](Party& a, Party& b, std::uint32_t lane) {
      std::string open_links;
      int open_count = 0;
      for (const auto& line : a.lines()) {
        if (!line->open() || line->peer != b.id() || line->lane != lane) continue;
        open_links += line->link->describe() + (line->link->is_open() ? ", " : " (no longer open), ");
        ++open_count;
      }
      ASSERT_EQ(open_count, 1) << open_links;
      ASSERT_TRUE(until([&] { return send_one(a, *a.open_line(b.id(), lane)); }, "room after the storm"));
    });
    std::string ended;  // though nobody has closed it
    const auto all_there = [&] {
      bool all = true;
      for_each_pair([&](Party& a, Party& b, std::uint32_t lane) {
        const Line* const from = a.open_line(b.id(), lane);
        const Line* const to = b.open_line(a.id(), lane);
        if (from == nullptr || to == nullptr) {
          Party& whose = from == nullptr ? a : b;
          const ProcessId& peer = from == nullptr ? b.id() : a.id();
          for (const auto& line : whose.lines()) {
            if (line->closed && line->peer == peer && line->lane == lane) ended = line->why.text();
          }
          return;
        }
        all = all && from->pending.empty() && to->owes_nothing() && to->received.size() == outgoing[from].next;
      });
      return all || !ended.empty();
    };
    ASSERT_TRUE(until(all_there, "everything that was sent on the open links"));
    ASSERT_EQ(ended, "");
    for (const auto& party : parties_) {
      for (const auto& line : party->lines()) {
        if (line->closed) {
          EXPECT_TRUE(line->pending.empty());
        }
        check_line(*line, sent_of_stream);
      }
    }
  }
}

}  // namespace tutti::conformance
