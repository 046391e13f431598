// Relays over the simulated network: what two processes that cannot reach each other have for each other goes through
// a third one, whatever is cut when, and comes once and in order (the Party holds every event to the contract). A
// failure prints its seed: TUTTI_TEST_SEED=<seed>.
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "src/base/format.h"
#include "tests/simulation/seeds.h"
#include "tests/transport_failover/sides.h"
#include "transports/failover/control.h"
#include "transports/failover/relays.h"

namespace tutti {
namespace {

using conformance::Line;
using conformance::Party;
using conformance::stream_header;
using conformance::stream_payload;
using conformance::Take;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Nanoseconds kRelayLimit = milliseconds(400);

SimOptions with_lanes(std::uint32_t lanes) {
  SimOptions options;
  options.lanes_max = lanes;
  return options;
}

// Some processes, all connected to each other.
class Mesh : public Sides {
 public:
  Mesh(std::uint64_t seed, int size, const SimOptions& options, bool relays = true)
      : Sides(seed, options), lanes_(options.lanes_max) {
    for (int number = 0; number < size; ++number) {
      FailoverOptions failover;
      failover.relays = relays;
      failover.relay_limit = kRelayLimit;
      failover.relay_after = milliseconds(500);
      add_side(std::move(failover));
    }
  }
  void connect(int a, int b) {
    for (std::uint32_t lane = 0; lane < lanes_; ++lane) side(a).connect(side(b), network_.now() + seconds(8), lane);
  }
  void connect_all() {
    for (int a = 0; a < size(); ++a) {
      for (int b = 0; b < a; ++b) connect(a, b);
    }
    ASSERT_TRUE(run([&] {
      for (int a = 0; a < size(); ++a) {
        for (int b = 0; b < a; ++b) {
          if (!is_connected(a, b)) return false;
        }
      }
      return true;
    }));
  }
  void connect_ring() {
    for (int a = 0; a < size(); ++a) connect(a, (a + 1) % size());
    ASSERT_TRUE(run([&] {
      for (int a = 0; a < size(); ++a) {
        if (!is_connected(a, (a + 1) % size())) return false;
      }
      return true;
    }));
  }
  bool is_connected(int a, int b) {
    for (std::uint32_t lane = 0; lane < lanes_; ++lane) {
      if (line(a, b, lane) == nullptr || line(b, a, lane) == nullptr) return false;
    }
    return true;
  }

  std::uint32_t lanes() const { return lanes_; }
  Line* line(int from, int to, std::uint32_t lane) { return side(from).open_line(side(to).id(), lane); }
  std::string warned(int which) const { return texts(which, LogLevel::warn); }
  std::string told(int which) const { return texts(which, LogLevel::info); }

  bool send(int from, int to, std::uint32_t lane, std::size_t bytes) {
    Line* const by = line(from, to, lane);
    if (by == nullptr) return false;
    Stream& stream = sent_[{from, to, lane}];
    const std::uint64_t number = number_of(from, to, lane);
    const SendState state = side(from).send(*by, stream_header(number, stream.size(), bytes),
                                            stream_payload(number, stream.size(), bytes));
    if (state != SendState::copied && state != SendState::pending) return false;
    stream.push_back(bytes);
    return true;
  }
  void send_some(int from, int to, std::size_t bytes, int count) {
    for (int k = 0; k < count;) {
      if (send(from, to, static_cast<std::uint32_t>(k) % lanes_, bytes)) {
        ++k;
      } else {
        pump();
      }
    }
  }
  void sever(int a, int b) { network_.sever(side(a).id(), side(b).id(), milliseconds(30)); }
  void heal(int a, int b) {
    network_.heal(side(a).id(), side(b).id());
    network_.heal(side(b).id(), side(a).id());
  }

  bool is_all_there() {
    for (const auto& [key, sizes] : sent_) {
      const auto [from, to, lane] = key;
      const Line* const at = line(to, from, lane);
      const Line* const of = line(from, to, lane);
      if (at == nullptr || of == nullptr || at->received.size() < sizes.size() || !at->owes_nothing() ||
          !of->pending.empty())
        return false;
    }
    return true;
  }
  std::string missing() {
    std::string text;
    for (const auto& [key, sizes] : sent_) {
      const auto [from, to, lane] = key;
      const Line* const at = line(to, from, lane);
      const Line* const of = line(from, to, lane);
      text += format("{} -> {} lane {}: {} of {} have come, {} wait for their payload, {} held, {} sends pending\n",
                     from, to, lane, at == nullptr ? 0 : at->received.size(), sizes.size(),
                     at == nullptr ? 0 : at->fetching.size(), at == nullptr ? 0 : at->held.size(),
                     of == nullptr ? 0 : of->pending.size());
    }
    for (const auto& each : sides_) {
      for (const auto& line : each->lines()) {
        if (line->closed) text += line->why.text() + "\n";
      }
    }
    return text;
  }
  void check() {
    for (const auto& [key, sizes] : sent_) {
      const auto [from, to, lane] = key;
      const Line* const at = line(to, from, lane);
      ASSERT_NE(at, nullptr) << from << " -> " << to << ": a lane has ended";
      ASSERT_EQ(at->received.size(), sizes.size());
      for (std::size_t k = 0; k < sizes.size(); ++k) {
        const std::uint64_t number = number_of(from, to, lane);
        ASSERT_EQ(at->received[k].header, stream_header(number, k, sizes[k])) << "frame " << k;
        ASSERT_TRUE(at->received[k].complete && at->received[k].payload == stream_payload(number, k, sizes[k]))
            << "payload of frame " << k;
      }
    }
  }
  // All lines that there ever were.
  std::size_t closed(int which) {
    const auto& lines = side(which).lines();
    return static_cast<std::size_t>(
        std::count_if(lines.begin(), lines.end(), [](const auto& line) { return line->closed; }));
  }

 private:
  using Stream = std::vector<std::size_t>;  // sizes
  std::uint64_t number_of(int from, int to, std::uint32_t lane) const {
    return 1 + static_cast<std::uint64_t>((from * size() + to)) * lanes_ + lane;
  }

  std::string texts(int which, LogLevel level) const {
    std::string all;
    for (const Said& each : said()) {
      if (each.side == which && each.level == level) all += each.text + "\n";
    }
    return all;
  }

  const std::uint32_t lanes_;
  std::map<std::tuple<int, int, std::uint32_t>, Stream> sent_;
};

TEST(Relays, TwoThatAreCutOffFromEachOtherGoOnThroughAThirdAndDirectlyAgainWhenThatWorks) {
  for (const std::uint32_t lanes : {1u, 2u}) {
    Mesh mesh(lanes, 3, with_lanes(lanes));
    mesh.connect_all();
    mesh.send_some(0, 1, 100'000, 10);
    mesh.sever(0, 1);
    mesh.send_some(0, 1, 100'000, 60);
    mesh.send_some(1, 0, 300, 60);
    ASSERT_TRUE(mesh.run([&] { return mesh.is_all_there(); })) << mesh.warned(0) << mesh.warned(1);
    mesh.check();
    const std::string both = mesh.warned(0) + mesh.warned(1);  // one may have heard of it before it noticed
    EXPECT_NE(both.find("EHOSTUNREACH"), std::string::npos) << both;
    EXPECT_NE(mesh.warned(0).find("goes relayed to process"), std::string::npos) << mesh.warned(0);
    EXPECT_NE(mesh.warned(1).find("goes relayed to process"), std::string::npos) << mesh.warned(1);
    EXPECT_NE(mesh.told(2).find("are relayed here"), std::string::npos) << mesh.told(2);

    mesh.heal(0, 1);
    ASSERT_TRUE(mesh.run([&] { return mesh.told(0).find("nothing goes relayed") != std::string::npos; }))
        << mesh.told(0);
    mesh.run_for(seconds(3));
    mesh.network().crash(mesh.side(2).id());  // nobody needs it any more
    mesh.send_some(1, 0, 100'000, 30);
    ASSERT_TRUE(mesh.run([&] { return mesh.is_all_there(); }));
    mesh.check();
    mesh.run_for(seconds(3));
    EXPECT_EQ(mesh.closed(0), lanes) << "those to the third";
  }
}

TEST(Relays, AFirstConnectWithoutAnAnswerIsRelayed) {
  Mesh mesh(5, 3, with_lanes(2));
  mesh.network().partition_both_ways(mesh.side(0).id(), mesh.side(1).id());
  mesh.connect(0, 2);
  mesh.connect(1, 2);
  ASSERT_TRUE(mesh.run([&] { return mesh.is_connected(0, 2) && mesh.is_connected(1, 2); }));
  mesh.connect(0, 1);
  mesh.connect(1, 0);
  ASSERT_TRUE(mesh.run([&] { return mesh.is_connected(0, 1); }, seconds(4))) << mesh.warned(0);
  mesh.send_some(0, 1, 5'000, 20);
  ASSERT_TRUE(mesh.run([&] { return mesh.is_all_there(); }));
  EXPECT_NE(mesh.warned(0).find("has no answer"), std::string::npos) << mesh.warned(0);
  mesh.heal(0, 1);
  ASSERT_TRUE(mesh.run([&] { return mesh.told(0).find("nothing goes relayed") != std::string::npos; }));
  mesh.send_some(1, 0, 5'000, 20);
  ASSERT_TRUE(mesh.run([&] { return mesh.is_all_there(); }));
  mesh.check();
}

TEST(Relays, WhoIsAskedToRelayConnectsToTheOtherWhereItIsNotConnectedYet) {
  for (const std::uint32_t lanes : {1u, 2u}) {
    Mesh mesh(15, 4, with_lanes(lanes));
    mesh.connect_ring();
    mesh.send_some(0, 1, 100'000, 10);
    mesh.sever(0, 1);
    mesh.send_some(0, 1, 100'000, 60);
    mesh.send_some(1, 0, 300, 60);
    ASSERT_TRUE(mesh.run([&] { return mesh.is_all_there(); })) << mesh.missing() << mesh.warned(0) << mesh.warned(1);
    mesh.check();
    EXPECT_NE((mesh.told(2) + mesh.told(3)).find("are relayed here"), std::string::npos);
    EXPECT_EQ(mesh.closed(0) + mesh.closed(1) + mesh.closed(2) + mesh.closed(3), 0u);
  }
}

TEST(Relays, WhoHasLostAProcessDoesNotConnectToItAgainForTheSakeOfAnother) {
  Mesh mesh(16, 3, with_lanes(1));
  mesh.connect_ring();
  mesh.sever(0, 1);
  mesh.network().crash(mesh.side(1).id());  // which the third notices at once
  const Instant begin = mesh.network().now();
  ASSERT_TRUE(mesh.run([&] { return mesh.closed(0) == 1; }));
  EXPECT_LT(mesh.network().now() - begin, kRelayLimit);
  EXPECT_EQ(mesh.closed(2), 1u);
}

TEST(Relays, WhoRelaysMayDieAndAnotherTakesItsPlace) {
  Mesh mesh(6, 4, with_lanes(1));
  mesh.connect_all();
  mesh.sever(0, 1);
  mesh.send_some(0, 1, 100'000, 40);
  const int first = mesh.told(2).find("are relayed here") != std::string::npos ? 2 : 3;
  mesh.network().crash(mesh.side(first).id());
  mesh.send_some(0, 1, 100'000, 40);
  mesh.send_some(1, 0, 700'000, 10);
  ASSERT_TRUE(mesh.run([&] { return mesh.is_all_there(); })) << mesh.warned(0);
  mesh.check();
  EXPECT_NE(mesh.told(5 - first).find("are relayed here"), std::string::npos);

  const Instant died = mesh.network().now();
  mesh.network().crash(mesh.side(5 - first).id());
  ASSERT_TRUE(mesh.run([&] { return mesh.closed(0) == 3 && mesh.closed(1) == 3; })) << "nobody is left to relay";
  EXPECT_LT(mesh.network().now() - died, 2 * kRelayLimit);
}

TEST(Relays, WhereNobodyCanRelayTheLossIsReportedInBoundedTime) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Mesh mesh(seed, 4, with_lanes(1 + seed % 2));
    mesh.connect_all();
    const Instant cut = mesh.network().now();
    for (const int other : {1, 2, 3}) mesh.sever(0, other);  // its host is gone; some notice before others
    ASSERT_TRUE(mesh.run([&] {
      return mesh.closed(0) == 3 * mesh.lanes() && mesh.closed(1) == mesh.lanes() && mesh.closed(2) == mesh.lanes() &&
             mesh.closed(3) == mesh.lanes();
    }));
    EXPECT_LE(mesh.network().now() - cut, milliseconds(30) + kRelayLimit + milliseconds(50));
    for (const auto& line : mesh.side(1).lines()) {
      if (!line->closed) continue;
      EXPECT_EQ(line->why.code(), Code::peer_lost);
      EXPECT_NE(line->why.text().find("EHOSTUNREACH"), std::string::npos) << line->why.text();
    }
  }
}

TEST(Relays, AProcessThatEndsIsNoticedAtOnceAlsoWhereItIsRelayed) {
  Mesh mesh(8, 4, with_lanes(2));
  mesh.connect_all();
  mesh.sever(0, 1);
  mesh.send_some(0, 1, 1'000, 40);
  ASSERT_TRUE(mesh.run([&] { return mesh.is_all_there(); }));
  const Instant died = mesh.network().now();
  mesh.network().crash(mesh.side(1).id());
  for (const int other : {0, 2, 3})
    ASSERT_TRUE(mesh.run([&] { return mesh.closed(other) == mesh.lanes(); })) << other;
  EXPECT_LT(mesh.network().now() - died, milliseconds(100));

  Mesh direct(8, 3, with_lanes(2));
  direct.connect_all();
  direct.network().crash(direct.side(1).id());
  ASSERT_TRUE(direct.run([&] { return direct.closed(0) == 2; }));
  EXPECT_EQ(direct.told(2).find("relayed"), std::string::npos) << "who has died is not asked for";
}

TEST(Relays, WithoutTheSettingALossIsALoss) {
  Mesh mesh(9, 3, with_lanes(2), false);
  mesh.connect_all();
  mesh.sever(0, 1);
  ASSERT_TRUE(mesh.run([&] { return mesh.closed(0) == 2 && mesh.closed(1) == 2; }, milliseconds(100)));
}

// The target takes nothing: what is on its way stays within the windows, and the third's own frames go on.
TEST(Relays, WhatTheTargetDoesNotTakeWaitsWithTheSender) {
  Mesh mesh(10, 3, with_lanes(1));
  mesh.connect_all();
  mesh.sever(0, 1);
  mesh.send_some(0, 1, 100, 1);
  ASSERT_TRUE(mesh.run([&] { return mesh.is_all_there(); }));
  mesh.side(1).taste = [&](const Line& line, const Event&) {
    return line.peer == mesh.side(0).id() ? Take::hold : Take::copy;
  };
  std::uint64_t taken = 0;
  for (int turn = 0; turn < 3'000; ++turn) {
    if (mesh.send(0, 1, 0, 250'000)) taken += 250'000;
    mesh.pump();
  }
  EXPECT_LE(taken, 16 * 250'000 + 4 * failover::kRelayWindowBytes) << "nothing holds the sender back";
  mesh.side(1).taste = {};
  ASSERT_TRUE(mesh.run([&] {
    Line* const line = mesh.line(1, 0, 0);
    if (line != nullptr && !line->held.empty()) mesh.side(1).release_held(*line, 0);
    return mesh.is_all_there();
  }));
  mesh.check();
}

TEST(Relays, FramesComeOnceAndInOrderWhateverIsCutAsLongAsAThirdIsThere) {
  for_seeds(30, 2'000, [](std::uint64_t seed) {
    Random chance(seed ^ 0x7e1a);
    SimOptions options = with_lanes(1 + static_cast<std::uint32_t>(chance.below(3)));
    options.again_probability = chance.chance(0.3) ? 0.1 : 0;
    if (chance.chance(0.3)) options.queue_frames = 3;
    Mesh mesh(seed, 3 + static_cast<int>(chance.below(2)), options);
    mesh.connect_all();
    Random& random = mesh.random();
    for (int which = 0; which < mesh.size(); ++which) {
      mesh.side(which).taste = [&random](const Line& line, const Event&) {
        if (line.held.size() + line.unfetched.size() > 4) return Take::copy;
        const std::uint64_t choice = random.below(10);
        return choice < 7 ? Take::copy : choice < 9 ? Take::hold : Take::fetch_later;
      };
    }
    const auto let_go = [&] {
      for (int which = 0; which < mesh.size(); ++which) {
        for (const auto& line : mesh.side(which).lines()) {
          if (!line->held.empty()) mesh.side(which).release_held(*line, random.below(line->held.size()));
          if (!line->unfetched.empty()) mesh.side(which).fetch_now(*line, random.below(line->unfetched.size()));
        }
      }
    };
    for (int phase = 0; phase < 4; ++phase) {
      const int a = static_cast<int>(random.below(static_cast<std::uint64_t>(mesh.size())));
      const int b =
          (a + 1 + static_cast<int>(random.below(static_cast<std::uint64_t>(mesh.size() - 1)))) % mesh.size();
      bool is_cut = false;
      for (int step = 0; step < 400; ++step) {
        const int from = static_cast<int>(random.below(static_cast<std::uint64_t>(mesh.size())));
        const int to =
            (from + 1 + static_cast<int>(random.below(static_cast<std::uint64_t>(mesh.size() - 1)))) % mesh.size();
        const std::uint64_t choice = random.below(100);
        if (choice < 45) {
          const std::size_t most[] = {0, 40, 300, 5'000, 60'000, 900'000};
          const auto lane = static_cast<std::uint32_t>(random.below(mesh.lanes()));
          mesh.send(from, to, lane, random.below(most[random.below(std::size(most))] + 1));
        } else if (choice < 47) {
          is_cut ? mesh.heal(a, b) : mesh.sever(a, b);
          is_cut = !is_cut;
        } else if (choice < 60) {
          let_go();
        } else if (choice < 64) {
          mesh.run_for(milliseconds(random.below(400)));
        } else {
          mesh.pump();
        }
      }
      ASSERT_TRUE(mesh.run([&] {
        let_go();
        return mesh.is_all_there();
      })) << "something never comes\n"
          << mesh.missing();
      mesh.heal(a, b);
      mesh.run_for(seconds(12));  // all are connected directly again
    }
    mesh.check();
    for (int which = 0; which < mesh.size(); ++which) EXPECT_EQ(mesh.closed(which), 0u);
  });
}

}  // namespace
}  // namespace tutti
