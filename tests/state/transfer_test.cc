// The transfer plan and the exchange, played together without moving a byte: whatever ranks lack, and in whatever
// order transfers end, everybody gets exactly what it lacks, nobody sends what it has not got, and it ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "src/base/random.h"
#include "src/state/exchange.h"
#include "src/state/transfer_plan.h"

namespace tutti {
namespace {

struct Scene {
  std::vector<std::uint64_t> chunk_bytes;
  std::vector<std::uint32_t> hosts;
  std::vector<std::uint32_t> holders;
  std::vector<std::vector<bool>> is_missing;

  TransferQuery query() const { return {chunk_bytes, hosts, holders, is_missing}; }
  std::uint32_t ranks() const { return static_cast<std::uint32_t>(hosts.size()); }
  std::uint32_t chunks() const { return static_cast<std::uint32_t>(chunk_bytes.size()); }
  bool lacks(std::uint32_t rank, std::uint32_t chunk) const {
    return !is_missing[rank].empty() && is_missing[rank][chunk];
  }
};

std::vector<Transfer> plan_of(const Scene& scene) {
  std::vector<Transfer> all;
  plan_transfers(scene.query(), [&](const Transfer& transfer) { all.push_back(transfer); });
  return all;
}

// Every rank gets each chunk that it lacks once, from who has it by then; a chunk enters a host at most once.
void check_plan(const Scene& scene, const std::vector<Transfer>& plan) {
  std::vector<std::vector<bool>> has(scene.ranks(), std::vector<bool>(scene.chunks(), false));
  for (const std::uint32_t holder : scene.holders) has[holder].assign(scene.chunks(), true);
  std::map<std::pair<std::uint32_t, std::uint32_t>, int> entered;  // by chunk and host
  std::uint32_t chunk = 0;
  for (const Transfer& transfer : plan) {
    ASSERT_GE(transfer.chunk, chunk);
    chunk = transfer.chunk;
    ASSERT_TRUE(has[transfer.from][chunk]);
    ASSERT_TRUE(scene.lacks(transfer.to, chunk));
    ASSERT_FALSE(has[transfer.to][chunk]);
    has[transfer.to][chunk] = true;
    const std::uint32_t host = scene.hosts[transfer.to];
    if (scene.hosts[transfer.from] == host) continue;
    ASSERT_EQ(++entered[std::pair(chunk, host)], 1);
    for (const std::uint32_t holder : scene.holders) ASSERT_NE(scene.hosts[holder], host);
  }
  for (std::uint32_t rank = 0; rank < scene.ranks(); ++rank) {
    for (std::uint32_t c = 0; c < scene.chunks(); ++c) ASSERT_TRUE(has[rank][c] || !scene.lacks(rank, c));
  }
}

// Plays every rank's exchange; a message moves when both ends have begun it, each end sees that when chance wants.
void play(const Scene& scene, const std::vector<Transfer>& plan, Random& random) {
  std::vector<Exchange> exchanges;
  for (std::uint32_t rank = 0; rank < scene.ranks(); ++rank) {
    exchanges.emplace_back(rank, scene.chunks());
    for (const Transfer& transfer : plan) {
      if (transfer.from == rank || transfer.to == rank) exchanges.back().add(transfer);
    }
  }
  struct Pair {
    std::vector<Transfer> sent;
    std::vector<Transfer> received;
    std::size_t moved = 0;
  };
  std::map<std::pair<std::uint32_t, std::uint32_t>, Pair> pairs;
  std::vector<std::pair<std::uint32_t, Transfer>> ending;  // who is still to hear that it is over
  std::size_t ended = 0;
  while (ended < 2 * plan.size()) {
    for (std::uint32_t rank = 0; rank < scene.ranks(); ++rank) {
      while (const auto transfer = exchanges[rank].next()) {
        Pair& pair = pairs[{transfer->from, transfer->to}];
        (transfer->from == rank ? pair.sent : pair.received).push_back(*transfer);
      }
    }
    for (auto& [who, pair] : pairs) {
      for (; pair.moved < std::min(pair.sent.size(), pair.received.size()); ++pair.moved) {
        ASSERT_EQ(pair.sent[pair.moved], pair.received[pair.moved]);  // the n-th matches the n-th
        ending.emplace_back(who.first, pair.sent[pair.moved]);
        ending.emplace_back(who.second, pair.sent[pair.moved]);
      }
      ASSERT_LE(pair.sent.size() - pair.moved, 8u);
      ASSERT_LE(pair.received.size() - pair.moved, 8u);
    }
    ASSERT_FALSE(ending.empty()) << "nobody can go on";
    const std::size_t chosen = random.below(ending.size());
    exchanges[ending[chosen].first].ended(ending[chosen].second);
    ending[chosen] = ending.back();
    ending.pop_back();
    ++ended;
  }
}

TEST(StateTransfers, EveryCaseOfUpToFiveRanksAndTwoChunksEndsWithWhatWasMissing) {
  Random random(1);
  for (std::uint32_t ranks = 2; ranks <= 5; ++ranks) {
    const std::uint32_t ways = 5;  // holds all; lacks none, chunk 0, chunk 1, both
    std::uint32_t cases = 1;
    for (std::uint32_t rank = 0; rank < ranks; ++rank) cases *= ways;
    for (std::uint32_t number = 0; number < cases; ++number) {
      for (std::uint32_t hosts = 1; hosts <= ranks; hosts += ranks - 1) {
        Scene scene;
        scene.chunk_bytes = {100, 7};
        std::uint32_t rest = number;
        for (std::uint32_t rank = 0; rank < ranks; ++rank, rest /= ways) {
          const std::uint32_t way = rest % ways;
          scene.hosts.push_back(rank % hosts);
          if (way == 0) scene.holders.push_back(rank);
          scene.is_missing.emplace_back();
          if (way > 1) scene.is_missing.back() = {way != 3, way != 2};
        }
        if (scene.holders.empty()) continue;
        const std::vector<Transfer> plan = plan_of(scene);
        check_plan(scene, plan);
        if (!HasFatalFailure()) play(scene, plan, random);
        if (HasFatalFailure()) FAIL() << ranks << " ranks, case " << number << ", " << hosts << " hosts";
      }
    }
  }
}

TEST(StateTransfers, RandomClustersEndWithWhatWasMissing) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    Scene scene;
    const auto ranks = static_cast<std::uint32_t>(2 + random.below(15));
    const std::uint64_t hosts = 1 + random.below(ranks);
    const std::uint64_t chunks = random.below(60);
    for (std::uint64_t chunk = 0; chunk < chunks; ++chunk) scene.chunk_bytes.push_back(1 + random.below(1000));
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      scene.hosts.push_back(static_cast<std::uint32_t>(random.below(hosts)));
      scene.is_missing.emplace_back();
      if (rank == 0 || random.below(3) == 0) {
        scene.holders.push_back(rank);
      } else if (random.below(4) > 0) {
        const std::uint64_t share = 1 + random.below(4);
        for (std::uint64_t chunk = 0; chunk < chunks; ++chunk)
          scene.is_missing.back().push_back(random.below(4) < share);
      }
    }
    const std::vector<Transfer> plan = plan_of(scene);
    check_plan(scene, plan);
    if (!HasFatalFailure()) play(scene, plan, random);
    if (HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

// What each host sends to others, over what every host that lacks it has to receive.
TEST(StateTransfers, NoHostSendsMoreThanEverybodyHasToReceive) {
  for (std::uint32_t holders = 1; holders <= 8; ++holders) {
    for (std::uint32_t receivers = 1; receivers <= 8; ++receivers) {
      Scene scene;
      scene.chunk_bytes.assign(256, 1000);
      for (std::uint32_t rank = 0; rank < holders + receivers; ++rank) {
        scene.hosts.push_back(rank);
        if (rank < holders) scene.holders.push_back(rank);
        scene.is_missing.emplace_back();
        if (rank >= holders) scene.is_missing.back().assign(256, true);
      }
      std::vector<std::uint64_t> sent(scene.hosts.size());
      std::vector<std::uint64_t> senders(scene.hosts.size());  // bits
      for (const Transfer& transfer : plan_of(scene)) {
        sent[transfer.from] += 1000;
        senders[transfer.to] |= 1u << transfer.from;
      }
      EXPECT_LE(*std::max_element(sent.begin(), sent.end()), 256'000u + 3000) << holders << " to " << receivers;
      for (std::uint32_t rank = holders; rank < holders + receivers; ++rank) {
        const int others = __builtin_popcountll(senders[rank] & ((1u << holders) - 1));
        EXPECT_EQ(others, static_cast<int>(holders)) << holders << " to " << receivers;
      }
    }
  }
}

}  // namespace
}  // namespace tutti
