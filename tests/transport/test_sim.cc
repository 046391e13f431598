// The simulated network beyond the contract: determinism, the clock, and the faults that a test may ask for.
#include <gtest/gtest.h>

#include <vector>

#include "transports/sim/sim_network.h"
#include "transports/sim/sim_transport.h"

namespace tutti {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

ProcessId id_of(std::uint64_t number) { return ProcessId{{0xabc0 + number, number}}; }

// Two processes, or more, that copy every delivery and remember what happened.
class Cluster {
 public:
  Cluster(std::uint64_t seed, std::uint64_t processes, const SimOptions& options = {}) : network(seed, options) {
    for (std::uint64_t i = 0; i < processes; ++i) transports.push_back(network.attach(id_of(i)));
    links.resize(processes, std::vector<Link*>(processes));
    events.resize(processes);
  }

  Link* connect(std::size_t from, std::size_t to, Nanoseconds within = seconds(10)) {
    const auto link =
        transports[from]->connect(id_of(to), transports[to]->address(), 0, deadline_after(network.now(), within));
    return links[from][to] = *link;
  }
  // Polls everybody; deliveries are released at once.
  void poll() {
    for (std::size_t i = 0; i < transports.size(); ++i) {
      Event batch[32];
      if (transports[i] == nullptr) continue;
      for (std::size_t count = transports[i]->poll(batch, network.now()); count > 0;
           count = transports[i]->poll(batch, network.now())) {
        for (std::size_t e = 0; e < count; ++e) take(i, batch[e]);
      }
    }
  }
  void run_until(Instant when) {
    while (network.next_time() <= when) {
      network.advance();
      poll();
    }
    network.advance_to(when);
    poll();
  }
  void run_for(Nanoseconds duration) { run_until(network.now() + duration); }

  std::size_t count(std::size_t process, EventKind kind) const {
    std::size_t found = 0;
    for (const Event& event : events[process]) found += event.kind == kind ? 1 : 0;
    return found;
  }

  SimNetwork network;
  std::vector<std::unique_ptr<SimTransport>> transports;
  std::vector<std::vector<Link*>> links;  // [from][to]
  std::vector<std::vector<Event>> events;

 private:
  void take(std::size_t i, const Event& event) {
    events[i].push_back(event);
    if (event.kind == EventKind::delivery) event.link->release(event.token);
    if (event.kind != EventKind::connected) return;
    for (std::size_t j = 0; j < transports.size(); ++j) {
      if (event.link->peer() == id_of(j)) links[i][j] = event.link;
    }
  }
};

std::uint64_t trace_of(std::uint64_t seed) {
  Cluster cluster(seed, 3);
  cluster.connect(0, 1);
  cluster.connect(1, 0);
  cluster.connect(2, 0);
  cluster.run_for(milliseconds(10));
  Random random(5);
  std::vector<std::byte> payload(10'000);
  for (int step = 0; step < 500; ++step) {
    Link* const link = cluster.links[0][1 + random.below(2)];
    (void)link->send(Header{{static_cast<std::uint64_t>(step)}}, payload.data(), random.below(10'000), 0);
    cluster.run_for(Nanoseconds(static_cast<std::int64_t>(random.below(20'000))));
  }
  cluster.network.crash(id_of(1));
  cluster.run_for(seconds(1));
  return cluster.network.trace_hash();
}

TEST(SimNetwork, TheSameSeedGivesTheSameTrace) {
  const std::uint64_t first = trace_of(42);
  const std::uint64_t again = trace_of(42);
  const std::uint64_t other = trace_of(43);

  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
}

TEST(SimNetwork, AFrameTakesItsPathsLatencyAndTime) {
  SimOptions options;
  options.jitter_max = Nanoseconds(0);
  options.pending_probability = 0;
  options.no_data_probability = 0;
  Cluster cluster(1, 2, options);
  cluster.network.set_path(id_of(0), id_of(1), {milliseconds(3), 1e9});
  Link* const link = cluster.connect(0, 1);
  cluster.run_for(seconds(1));
  const std::vector<std::byte> payload(1'000'000);
  const Instant start = cluster.network.now();

  ASSERT_EQ(link->send(Header{}, payload.data(), payload.size(), 0), SendState::copied);
  while (cluster.count(1, EventKind::delivery) == 0 && cluster.network.advance()) cluster.poll();

  const Nanoseconds took = cluster.network.now() - start;
  EXPECT_EQ(took, milliseconds(3) + Nanoseconds(1'000'000 + static_cast<std::int64_t>(sizeof(Header))));
}

TEST(SimNetwork, AllFormsOfDeliveryAndSendOccur) {
  Cluster cluster(7, 2);
  Link* const link = cluster.connect(0, 1);
  cluster.run_for(milliseconds(10));
  const std::vector<std::byte> payload(5000);
  int copied = 0;
  int pending = 0;

  for (int k = 0; k < 400; ++k) {
    const SendState state = link->send(Header{}, payload.data(), payload.size(), 0);
    copied += state == SendState::copied ? 1 : 0;
    pending += state == SendState::pending ? 1 : 0;
    cluster.run_for(milliseconds(1));
  }

  int transient = 0;
  int in_place = 0;
  int without_data = 0;
  int plain = 0;
  for (const Event& event : cluster.events[1]) {
    if (event.kind != EventKind::delivery) continue;
    if (event.data == nullptr) {
      ++without_data;
    } else if (event.transient) {
      ++transient;
    } else if (event.in_place) {
      ++in_place;
    } else {
      ++plain;
    }
  }
  EXPECT_GT(copied, 50);
  EXPECT_GT(pending, 50);
  EXPECT_GT(transient, 20);
  EXPECT_GT(in_place, 20);
  EXPECT_GT(without_data, 20);
  EXPECT_GT(plain, 20);
  EXPECT_EQ(cluster.count(0, EventKind::sent), static_cast<std::size_t>(pending));
}

TEST(SimNetwork, ACrashClosesThePeersLinksAfterADelayAndSaysNothingItself) {
  Cluster cluster(3, 3);
  cluster.connect(0, 1);
  cluster.connect(0, 2);
  cluster.connect(1, 2);
  cluster.run_for(seconds(1));
  const std::size_t said = cluster.events[0].size();
  const Instant death = cluster.network.now();

  cluster.network.crash(id_of(0));
  cluster.poll();
  EXPECT_EQ(cluster.count(1, EventKind::closed), 0u) << "noticed at once";
  cluster.run_until(death + cluster.network.options().crash_notice_max + milliseconds(1));

  EXPECT_EQ(cluster.count(1, EventKind::closed), 1u);
  EXPECT_EQ(cluster.count(2, EventKind::closed), 1u);
  EXPECT_EQ(cluster.events[0].size(), said);
  EXPECT_NE(cluster.links[1][0]->status().text().find("sim process 0"), std::string::npos)
      << cluster.links[1][0]->status().text();
  EXPECT_TRUE(cluster.links[1][2]->is_open());
  EXPECT_EQ(cluster.links[0][1]->send(Header{}, nullptr, 0, 0), SendState::closed);
}

TEST(SimNetwork, APartitionHoldsFramesBackAndHealingLetsThemThrough) {
  Cluster cluster(4, 2);
  Link* const link = cluster.connect(0, 1);
  cluster.run_for(seconds(1));
  cluster.network.partition(id_of(0), id_of(1));

  for (std::uint64_t k = 0; k < 10; ++k) ASSERT_EQ(link->send(Header{{k}}, nullptr, 0, 0), SendState::copied);
  ASSERT_EQ(cluster.links[1][0]->send(Header{{99}}, nullptr, 0, 0), SendState::copied);
  cluster.run_for(seconds(10));
  EXPECT_EQ(cluster.count(1, EventKind::delivery), 0u) << "through the partition";
  EXPECT_EQ(cluster.count(0, EventKind::delivery), 1u) << "the other way is open";
  EXPECT_TRUE(link->is_open()) << "nobody is told of a partition";

  cluster.network.heal(id_of(0), id_of(1));
  for (std::uint64_t k = 10; k < 20; ++k) ASSERT_EQ(link->send(Header{{k}}, nullptr, 0, 0), SendState::copied);
  cluster.run_for(seconds(1));
  ASSERT_EQ(cluster.count(1, EventKind::delivery), 20u);
  std::uint64_t next = 0;
  for (const Event& event : cluster.events[1]) {
    if (event.kind != EventKind::delivery) continue;
    EXPECT_EQ(event.header.words[0], next++);
  }
}

TEST(SimNetwork, AConnectIntoAPartitionIsClosedByItsDeadline) {
  Cluster cluster(5, 2);
  cluster.network.partition_both_ways(id_of(0), id_of(1));
  const Instant deadline = cluster.network.now() + milliseconds(500);
  Link* const link = cluster.connect(0, 1, milliseconds(500));

  cluster.run_until(deadline - Nanoseconds(1));
  EXPECT_EQ(cluster.events[0].size(), 0u);
  cluster.run_until(deadline);
  ASSERT_EQ(cluster.count(0, EventKind::closed), 1u);
  EXPECT_EQ(link->status().code(), Code::timeout);

  // Healed, the late request finds nobody who still asks.
  cluster.network.heal_all();
  cluster.run_for(seconds(1));
  EXPECT_EQ(cluster.events[1].size(), 0u);
  cluster.connect(0, 1);
  cluster.run_for(seconds(1));
  EXPECT_EQ(cluster.count(0, EventKind::connected), 1u);
  EXPECT_EQ(cluster.count(1, EventKind::connected), 1u);
}

TEST(SimNetwork, ARefusedConnectIsClosedWithTheReason) {
  Cluster cluster(6, 2);
  cluster.network.refuse_connects(id_of(1), true);
  Link* const refused = cluster.connect(0, 1);
  cluster.run_for(seconds(1));
  ASSERT_EQ(cluster.count(0, EventKind::closed), 1u);
  EXPECT_NE(refused->status().text().find("ECONNREFUSED"), std::string::npos) << refused->status().text();

  cluster.network.refuse_connects(id_of(1), false);
  cluster.connect(0, 1);
  cluster.run_for(seconds(1));
  EXPECT_EQ(cluster.count(0, EventKind::connected), 1u);
}

TEST(SimNetwork, ACutClosesBothEndsAndTheyMayConnectAgain) {
  Cluster cluster(8, 3);
  cluster.connect(0, 1);
  cluster.connect(1, 2);
  cluster.run_for(seconds(1));

  cluster.network.cut(id_of(0), id_of(1));
  cluster.run_for(seconds(1));

  EXPECT_EQ(cluster.count(0, EventKind::closed), 1u);
  EXPECT_EQ(cluster.count(1, EventKind::closed), 1u);
  EXPECT_TRUE(cluster.links[1][2]->is_open());
  cluster.connect(1, 0);
  cluster.run_for(seconds(1));
  EXPECT_TRUE(cluster.links[0][1]->is_open());
}

TEST(SimNetwork, AddressesOfAnotherNetworkAreNotReachable) {
  Cluster cluster(9, 1);
  Cluster elsewhere(10, 1);

  EXPECT_TRUE(cluster.transports[0]->reaches(cluster.transports[0]->address()));
  EXPECT_FALSE(cluster.transports[0]->reaches(elsewhere.transports[0]->address()));
}

TEST(SimNetwork, TheClockStandsStillWhereNothingIsDue) {
  Cluster cluster(11, 2);
  EXPECT_FALSE(cluster.network.advance());
  cluster.connect(0, 1, seconds(1000));
  while (cluster.network.advance()) cluster.poll();

  // The deadline of a connect that came about does not make the clock jump.
  EXPECT_LT(cluster.network.now().time_since_epoch(), seconds(1));
  EXPECT_EQ(cluster.network.next_time(), kNever);
}

}  // namespace
}  // namespace tutti
