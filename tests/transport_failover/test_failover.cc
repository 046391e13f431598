// Fail-over over the simulated network: lanes that lose their paths at any moment and in any order, some of them seen
// much later by one side, while all forms of frames are under way. What arrives must be what was sent, once and in
// order (the Party holds every event to the contract). A failure prints its seed: TUTTI_TEST_SEED=<seed>.
#include "transports/failover/failover.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>

#include "tests/simulation/seeds.h"
#include "tests/transport_failover/sides.h"
#include "transports/failover/control.h"

namespace tutti {
namespace {

using conformance::Line;
using conformance::Party;
using conformance::stream_header;
using conformance::stream_payload;
using conformance::Take;
using std::chrono::milliseconds;

// Two processes with some lanes between them.
class Pair : public Sides {
 public:
  Pair(std::uint64_t seed, const SimOptions& options) : Sides(seed, options) {
    for (int number = 0; number < 2; ++number) add_side({});
    for (std::uint32_t lane = 0; lane < options.lanes_max; ++lane) {
      const bool from_a = random_.chance(0.5);
      side(from_a ? 0 : 1).connect(side(from_a ? 1 : 0), kNever, lane);
    }
    run([&] {
      for (std::uint32_t lane = 0; lane < options.lanes_max; ++lane) {
        if (line(0, lane) == nullptr || line(1, lane) == nullptr) return false;
      }
      return true;
    });
    sent_.resize(2 * options.lanes_max);
  }

  Line* line(int which, std::uint32_t lane) { return side(which).open_line(side(1 - which).id(), lane); }
  std::vector<std::string> warned() const { return texts(LogLevel::warn); }
  std::vector<std::string> healed() const { return texts(LogLevel::info); }

  // A frame of the stream that belongs to this side's lane, if there is room.
  bool send(int which, std::uint32_t lane, std::size_t bytes) {
    Line* const from = line(which, lane);
    if (from == nullptr) return false;
    auto& sizes = sent_[2 * lane + static_cast<std::size_t>(which)];
    const std::uint64_t stream = 1 + 2 * lane + static_cast<std::uint64_t>(which);
    const SendState state = side(which).send(*from, stream_header(stream, sizes.size(), bytes),
                                             stream_payload(stream, sizes.size(), bytes));
    if (state != SendState::copied && state != SendState::pending) return false;
    sizes.push_back(bytes);
    return true;
  }

  // Gives each lane's path a rate of its own.
  void make_unlike() {
    for (std::uint32_t lane = 0; lane < network_.options().lanes_max; ++lane) {
      const SimPath path{milliseconds(1), 1e7 * static_cast<double>(1 + random_.below(100))};
      for (const int from : {0, 1}) network_.set_lane_path(side(from).id(), side(1 - from).id(), lane, path);
    }
  }

  void cut(std::uint32_t lane) { network_.cut_lane(side(0).id(), side(1).id(), lane, milliseconds(3)); }

  bool is_all_there() {
    for (std::size_t stream = 0; stream < sent_.size(); ++stream) {
      const int from = static_cast<int>(stream % 2);
      const Line* const to = line(1 - from, static_cast<std::uint32_t>(stream / 2));
      const Line* const of = line(from, static_cast<std::uint32_t>(stream / 2));
      if (to == nullptr || of == nullptr || to->received.size() < sent_[stream].size() || !to->owes_nothing() ||
          !of->pending.empty())
        return false;
    }
    return true;
  }

  void check() {
    for (std::size_t stream = 0; stream < sent_.size(); ++stream) {
      const Line* const to = line(1 - static_cast<int>(stream % 2), static_cast<std::uint32_t>(stream / 2));
      ASSERT_NE(to, nullptr) << "a lane has ended though another lived";
      ASSERT_EQ(to->received.size(), sent_[stream].size());
      for (std::size_t k = 0; k < sent_[stream].size(); ++k) {
        const auto& frame = to->received[k];
        ASSERT_EQ(frame.header, stream_header(stream + 1, k, sent_[stream][k])) << "frame " << k;
        ASSERT_TRUE(frame.complete && frame.payload == stream_payload(stream + 1, k, sent_[stream][k]))
            << "payload of frame " << k;
      }
    }
  }

 private:
  std::vector<std::string> texts(LogLevel level) const {
    std::vector<std::string> found;
    for (const Said& each : said()) {
      if (each.level == level) found.push_back(each.text);
    }
    return found;
  }

  std::vector<std::vector<std::size_t>> sent_;  // by stream: sizes
};

SimOptions random_options(std::uint64_t seed) {
  Random random(seed ^ 0xfa110);
  SimOptions options;
  options.lanes_max = 2 + static_cast<std::uint32_t>(random.below(3));
  options.again_probability = random.chance(0.3) ? 0.1 : 0;
  if (random.chance(0.3)) options.queue_frames = 3;
  if (random.chance(0.3)) options.narrow_ways = 1 + static_cast<std::uint32_t>(random.below(2));
  return options;
}

std::size_t random_size(Random& random) {
  const std::size_t most[] = {0, 40, 300, 5'000, 60'000, 900'000};
  return random.below(most[random.below(std::size(most))] + 1);
}

TEST(Failover, FramesComeOnceAndInOrderWhateverPathsEndAsLongAsOneLives) {
  for_seeds(20, 4'000, [](std::uint64_t seed) {
    const SimOptions options = random_options(seed);
    Pair pair(seed, options);
    Random& random = pair.random();
    for (int which = 0; which < 2; ++which) {
      pair.side(which).taste = [&random](const Line& line, const Event&) {
        if (line.held.size() + line.unfetched.size() > 4) return Take::copy;
        const std::uint64_t choice = random.below(10);
        return choice < 7 ? Take::copy : choice < 9 ? Take::hold : Take::fetch_later;
      };
    }
    const auto let_go = [&](Line& line, Party& party) {
      if (!line.held.empty()) party.release_held(line, random.below(line.held.size()));
      if (!line.unfetched.empty()) party.fetch_now(line, random.below(line.unfetched.size()));
    };
    for (int phase = 0; phase < 3; ++phase) {
      const auto safe = static_cast<std::uint32_t>(random.below(options.lanes_max));
      if (random.chance(0.5)) pair.make_unlike();
      for (int step = 0; step < 400; ++step) {
        const int which = static_cast<int>(random.below(2));
        const auto lane = static_cast<std::uint32_t>(random.below(options.lanes_max));
        const std::uint64_t choice = random.below(100);
        if (choice < 45) {
          for (std::uint64_t burst = 1 + random.below(4); burst > 0 && pair.send(which, lane, random_size(random));)
            --burst;
        } else if (choice < 49) {
          if (lane != safe) pair.cut(lane);
        } else if (choice < 60) {
          if (Line* const line = pair.line(which, lane)) let_go(*line, pair.side(which));
        } else if (choice < 62) {
          pair.run_for(milliseconds(random.below(150)));
        } else {
          pair.pump();
        }
      }
      // A quiet time, in which everything arrives and all paths are connected again.
      ASSERT_TRUE(pair.run([&] {
        for (int which = 0; which < 2; ++which) {
          for (std::uint32_t lane = 0; lane < options.lanes_max; ++lane) {
            if (Line* const line = pair.line(which, lane)) let_go(*line, pair.side(which));
          }
        }
        return pair.is_all_there();
      })) << "something never comes";
      pair.run_for(std::chrono::seconds(12));
    }
    pair.check();
    EXPECT_EQ(pair.side(0).lines().size(), std::size_t{options.lanes_max});
  });
}

TEST(Failover, ALaneThatIsCutIsToldAndTakenBack) {
  SimOptions options;
  options.lanes_max = 2;
  Pair pair(3, options);

  for (int k = 0; k < 20; ++k) pair.send(0, 1, 100'000);
  pair.cut(1);
  ASSERT_TRUE(pair.run([&] { return pair.is_all_there(); }));
  ASSERT_TRUE(pair.run([&] { return pair.warned().size() >= 2; })) << "not told on both sides";
  EXPECT_NE(pair.warned()[0].find("lane 1"), std::string::npos) << pair.warned()[0];
  const std::string both = pair.warned()[0] + pair.warned()[1];  // one may have heard of it before it noticed
  EXPECT_NE(both.find("ECONNRESET"), std::string::npos) << both;
  EXPECT_NE(pair.warned()[0].find("over its 1 other lane until"), std::string::npos) << pair.warned()[0];

  ASSERT_TRUE(pair.run([&] { return pair.healed().size() >= 2; })) << "never connected again";
  EXPECT_NE(pair.healed()[0].find("is back after"), std::string::npos) << pair.healed()[0];
  for (int which = 0; which < 2; ++which) {
    const auto& news = pair.line(which, 1)->rerouted;
    ASSERT_EQ(news.size(), 2u);
    EXPECT_TRUE(news[0].first);
    EXPECT_NE(news[0].second.find("over its 1 other lane until"), std::string::npos) << news[0].second;
    EXPECT_FALSE(news[1].first);
    EXPECT_NE(news[1].second.find("is back after"), std::string::npos) << news[1].second;
    EXPECT_TRUE(pair.line(which, 0)->rerouted.empty());
  }
  pair.cut(0);  // what goes over the lane that was lost now carries both
  for (int k = 0; k < 20; ++k) pair.send(1, 0, 100'000);
  ASSERT_TRUE(pair.run([&] { return pair.is_all_there(); }));
  pair.check();
}

TEST(Failover, TheLastPathEndsAllLanesAfterEverythingThatCame) {
  SimOptions options;
  options.lanes_max = 3;
  Pair pair(4, options);
  for (std::uint32_t lane = 0; lane < 3; ++lane) pair.send(0, lane, 200);
  ASSERT_TRUE(pair.run([&] { return pair.is_all_there(); }));
  pair.check();

  pair.network().crash(pair.side(0).id());
  ASSERT_TRUE(pair.run([&] {
    const auto& lines = pair.side(1).lines();
    return std::all_of(lines.begin(), lines.end(), [](const auto& line) { return line->closed; });
  }));

  for (const auto& line : pair.side(1).lines()) {
    EXPECT_EQ(line->why.code(), Code::peer_lost);
    EXPECT_NE(line->why.text().find("crashed"), std::string::npos) << line->why.text();
  }
  EXPECT_TRUE(pair.warned().empty()) << "a process that ends is no lost lane: " << pair.warned()[0];
}

TEST(Failover, ALaneThatCannotBeConnectedIsTriedLessAndLessOften) {
  SimOptions options;
  options.lanes_max = 2;
  Pair pair(5, options);
  pair.network().refuse_connects(pair.side(0).id(), true);
  pair.network().refuse_connects(pair.side(1).id(), true);
  pair.cut(1);
  pair.run_for(std::chrono::seconds(60));
  const std::uint64_t happened = pair.network().happenings();
  pair.run_for(std::chrono::seconds(60));
  EXPECT_LE(pair.network().happenings() - happened, 200u) << "asks far too often";
  EXPECT_TRUE(pair.healed().empty());

  pair.network().refuse_connects(pair.side(0).id(), false);
  pair.network().refuse_connects(pair.side(1).id(), false);
  EXPECT_TRUE(pair.run([&] { return pair.healed().size() >= 2; }, std::chrono::seconds(20)));
}

// A process that is let in and then says what no correct one does, over a path of its own making.
class Rogue {
 public:
  Rogue() {
    ProcessId good;
    good.high = good.low = 1;
    ProcessId bad;
    bad.high = bad.low = 2;
    FailoverOptions options;
    options.process = good;
    options.log = Log(LogLevel::warn, [this](LogLevel, std::string_view, std::string_view text) { said_ += text; });
    party_ = std::make_unique<Party>(good, make_failover_transport(network_.attach(good), options));
    raw_ = network_.attach(bad);
    link_ = *raw_->connect(good, party_->address(), 0, kNever);
    run();
    say({failover::ControlKind::hello, 0, 0, {77, bundle_, 1, 4}});
  }

  void say(const failover::Control& control) {
    link_->send(control.pack(), nullptr, 0, 0);
    run();
  }
  void send(std::size_t bytes) {
    payload_.resize(bytes);
    while (link_->send({}, payload_.data(), bytes, 0) == SendState::again) run();
    run();
  }
  Party& party() { return *party_; }
  const std::string& said() const { return said_; }

 private:
  void run() {
    for (int turn = 0; turn < 50; ++turn) {
      party_->poll(network_.now());
      Event events[16];
      const std::size_t count = raw_->poll(events, network_.now());
      for (std::size_t i = 0; i < count; ++i) {
        if (events[i].kind != EventKind::delivery) continue;
        if (bundle_ == 0) bundle_ = events[i].header.words[0];
        link_->release(events[i].token);
      }
      network_.advance_to(network_.now() + milliseconds(1));
    }
  }

  SimNetwork network_{1};
  std::unique_ptr<Party> party_;
  std::unique_ptr<SimTransport> raw_;
  Link* link_ = nullptr;
  std::uint64_t bundle_ = 0;
  std::vector<std::byte> payload_;
  std::string said_;
};

TEST(Failover, APeerThatConfirmsWhatItWasNotSentIsCutOff) {
  Rogue rogue;
  ASSERT_EQ(rogue.party().lines().size(), 1u);
  ASSERT_TRUE(rogue.party().lines()[0]->open());
  rogue.say({failover::ControlKind::counts, 0, 1, {5}});
  EXPECT_TRUE(rogue.party().lines()[0]->closed);
  EXPECT_NE(rogue.said().find("confirmed frame 5 of lane 0, which it was not sent"), std::string::npos)
      << rogue.said();
}

TEST(Failover, APeerThatSendsTooMuchTooEarlyIsCutOffBeforeItCostsMemory) {
  Rogue rogue;
  for (std::uint64_t number = 1; number < 20 && rogue.said().empty(); ++number) {
    rogue.say({failover::ControlKind::label, 0, 0, {number}});
    rogue.send(900'000);
  }
  ASSERT_EQ(rogue.party().lines().size(), 1u);
  EXPECT_TRUE(rogue.party().lines()[0]->closed);
  EXPECT_TRUE(rogue.party().lines()[0]->received.empty());
  EXPECT_NE(rogue.said().find("where 0 is due"), std::string::npos) << rogue.said();
}

}  // namespace
}  // namespace tutti
