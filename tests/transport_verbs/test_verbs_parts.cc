// The parts of the verbs transport that touch no device: which GID is taken, who reaches whom, what the ring's two
// sides agree on, what is told over the control link, and how much memory links pin.
#include <gtest/gtest.h>

#include <deque>

#include "src/base/random.h"
#include "transports/verbs/gid.h"
#include "transports/verbs/greeting.h"
#include "transports/verbs/port.h"
#include "transports/verbs/ring.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {
namespace {

Gid ipv4(unsigned a, unsigned b, unsigned c, unsigned d) {
  Gid gid;
  gid.bytes[10] = gid.bytes[11] = std::byte{255};
  const unsigned parts[] = {a, b, c, d};
  for (std::size_t i = 0; i < 4; ++i) gid.bytes[12 + i] = static_cast<std::byte>(parts[i]);
  return gid;
}

Gid ipv6(unsigned first, unsigned last) {
  Gid gid;
  gid.bytes[0] = static_cast<std::byte>(first >> 8);
  gid.bytes[1] = static_cast<std::byte>(first);
  gid.bytes[15] = static_cast<std::byte>(last);
  return gid;
}

GidEntry entry(int index, GidType type, const Gid& gid) { return {index, type, gid, "eth0"}; }

int chosen(std::vector<GidEntry> entries, LinkLayer layer, int wanted = -1) {
  const auto choice = choose_gid(entries, layer, wanted, "verbs: fake0 port 1");
  return choice ? choice->entry.index : -1;
}

PortFacts facts(const std::string& name, const Gid& gid, GidType type = GidType::roce_v2) {
  return {name, type == GidType::infiniband ? LinkLayer::infiniband : LinkLayer::ethernet, type, gid};
}

}  // namespace

TEST(VerbsGid, TheSecondVersionOfRoceAndIpv4AreTakenFirst) {
  const GidEntry old_local = entry(0, GidType::roce_v1, ipv6(0xfe80, 1));
  const GidEntry new_local = entry(1, GidType::roce_v2, ipv6(0xfe80, 1));
  const GidEntry old_ipv4 = entry(2, GidType::roce_v1, ipv4(10, 0, 0, 1));
  const GidEntry new_global = entry(3, GidType::roce_v2, ipv6(0xfd00, 1));
  const GidEntry new_ipv4 = entry(4, GidType::roce_v2, ipv4(10, 0, 0, 1));

  EXPECT_EQ(chosen({old_local, new_local, old_ipv4, new_global, new_ipv4}, LinkLayer::ethernet), 4);
  EXPECT_EQ(chosen({old_local, new_local, old_ipv4, new_global}, LinkLayer::ethernet), 3);
  EXPECT_EQ(chosen({old_local, new_local, old_ipv4}, LinkLayer::ethernet), 1);
  EXPECT_EQ(chosen({old_local, old_ipv4}, LinkLayer::ethernet), 2);
  EXPECT_EQ(chosen({old_local}, LinkLayer::ethernet), 0);
}

TEST(VerbsGid, InfinibandTakesThePortsOwn) {
  const Gid gid = ipv6(0xfe80, 9);
  EXPECT_EQ(chosen({entry(0, GidType::infiniband, gid), entry(1, GidType::infiniband, gid)}, LinkLayer::infiniband),
            0);
}

TEST(VerbsGid, AnIndexThatIsAskedForIsTakenOrRefusedWithWhatThereIs) {
  const std::vector<GidEntry> entries{entry(0, GidType::roce_v2, ipv6(0xfe80, 1)),
                                      entry(1, GidType::roce_v2, ipv4(10, 0, 0, 1)), entry(2, GidType::roce_v2, {})};

  EXPECT_EQ(chosen(entries, LinkLayer::ethernet, 0), 0);
  const auto refused = choose_gid(entries, LinkLayer::ethernet, 2, "verbs: fake0 port 1");
  EXPECT_EQ(refused.status().code(), Code::invalid);
  EXPECT_EQ(refused.status().text(),
            "verbs: fake0 port 1 has no GID at index 2 (TUTTI_VERBS_GID_INDEX); there are 0, 1");
  const auto none = choose_gid({}, LinkLayer::ethernet, -1, "verbs: fake0 port 1");
  EXPECT_EQ(none.status().code(), Code::unsupported);
  EXPECT_EQ(none.status().text(),
            "verbs: fake0 port 1 has no GID: its network interface has no address; give it one");
}

TEST(VerbsGid, TheChoiceSaysWhy) {
  const std::vector<GidEntry> entries{entry(0, GidType::roce_v2, ipv6(0xfe80, 1)),
                                      entry(1, GidType::roce_v2, ipv4(10, 0, 0, 1))};
  EXPECT_EQ(choose_gid(entries, LinkLayer::ethernet, -1, "p")->why,
            "GID index 1 (10.0.0.1, RoCE v2, IPv4): the best of 2, as RoCE v2 goes before v1 and IPv4 before global "
            "before link-local addresses");
}

TEST(VerbsGid, WhoIsOfAnotherKindOrSubnetIsNotReached) {
  const auto reach = [](const PortFacts& a, const PortFacts& b) {
    return may_reach(entry(0, a.type, a.gid), a.layer, entry(0, b.type, b.gid), b.layer);
  };
  const PortFacts loopback = facts("a", ipv4(127, 0, 0, 1));
  EXPECT_TRUE(reach(loopback, facts("b", ipv4(127, 0, 0, 2))));
  EXPECT_FALSE(reach(loopback, facts("b", ipv4(127, 0, 0, 2), GidType::roce_v1)));
  EXPECT_FALSE(reach(loopback, facts("b", ipv6(0xfd00, 2))));
  EXPECT_FALSE(reach(loopback, facts("b", ipv6(0xfe80, 2), GidType::infiniband)));
  // No packet leaves this host from its loopback, nor from an address that it does not have.
  EXPECT_FALSE(reach(loopback, facts("b", ipv4(192, 0, 2, 7))));
  EXPECT_FALSE(reach(facts("a", ipv4(192, 0, 2, 8)), facts("b", ipv4(192, 0, 2, 7))));
  const PortFacts infiniband = facts("a", ipv6(0xfe80, 1), GidType::infiniband);
  EXPECT_TRUE(reach(infiniband, facts("b", ipv6(0xfe80, 2), GidType::infiniband)));
  EXPECT_FALSE(reach(infiniband, facts("b", ipv6(0xfe81, 2), GidType::infiniband)));
}

TEST(VerbsPorts, EntriesNameDevicesPortsAndExceptions) {
  EXPECT_TRUE(admits({}, "mlx5_0", 1));
  EXPECT_TRUE(admits({"mlx5_0"}, "mlx5_0", 2));
  EXPECT_FALSE(admits({"mlx5_0"}, "mlx5_1", 1));
  EXPECT_TRUE(admits({"mlx5_0:2"}, "mlx5_0", 2));
  EXPECT_FALSE(admits({"mlx5_0:2"}, "mlx5_0", 1));
  EXPECT_FALSE(admits({"^mlx5_0"}, "mlx5_0", 1));
  EXPECT_TRUE(admits({"^mlx5_0:1"}, "mlx5_0", 2));
  EXPECT_FALSE(admits({"mlx5_0", "^mlx5_0:1"}, "mlx5_0", 1));
}

TEST(VerbsPorts, LanesTakeThePortsInTurnAndOnlyThoseThatCanTalk) {
  const std::vector<PortFacts> two{facts("a0", ipv4(10, 0, 0, 1)), facts("a1", ipv4(10, 0, 0, 2))};
  const std::vector<PortFacts> three{facts("b0", ipv6(0xfe80, 1), GidType::infiniband),
                                     facts("b1", ipv4(10, 0, 0, 3)), facts("b2", ipv4(10, 0, 0, 4))};

  EXPECT_EQ(pair_ports(two, two, 0), (std::pair<std::size_t, std::size_t>(0, 0)));
  EXPECT_EQ(pair_ports(two, two, 1), (std::pair<std::size_t, std::size_t>(1, 1)));
  EXPECT_EQ(pair_ports(two, two, 2), (std::pair<std::size_t, std::size_t>(0, 1)));
  for (std::uint32_t lane = 0; lane < 10; ++lane) EXPECT_NE(pair_ports(two, three, lane)->second, 0u);
  EXPECT_FALSE(pair_ports(two, std::vector<PortFacts>{three[0]}, 0).has_value());
}

TEST(VerbsRing, BothSidesAgreeOnEveryPlaceAndNothingIsOverwrittenUnread) {
  Random random(7);
  RingWriter writer;
  RingOwner owner;
  std::deque<std::pair<std::uint32_t, std::uint32_t>> under_way;  // place, units
  std::uint64_t moved = 0;
  std::uint64_t refusals = 0;
  for (int step = 0; step < 200'000; ++step) {
    const auto units = static_cast<std::uint32_t>(1 + random.below(kFrameUnitsMax));
    if (random.chance(0.6)) {
      const auto at = writer.place(units);
      if (!at) {
        ++refusals;
        continue;
      }
      ASSERT_LE(*at + units, kRingUnits);
      for (const auto& [place, size] : under_way) ASSERT_TRUE(*at + units <= place || place + size <= *at);
      under_way.emplace_back(*at, units);
    } else if (!under_way.empty()) {
      const auto at = owner.locate(under_way.front().second);
      ASSERT_TRUE(at.has_value());
      ASSERT_EQ(*at, under_way.front().first);
      under_way.pop_front();
      ++moved;
      owner.consume();
      ASSERT_TRUE(!owner.owes_report() || writer.take_report(owner.report()));
    }
  }
  EXPECT_GT(moved, 50'000u);
  EXPECT_GT(refusals, 100u);
}

TEST(VerbsRing, AWriterThatWaitsForTheLargestFrameGetsItOnceAllIsConsumed) {
  for (std::uint32_t first = 1; first <= kFrameUnitsMax; ++first) {
    RingWriter writer;
    RingOwner owner;
    std::deque<std::uint32_t> under_way;
    for (int round = 0; round < 200; ++round) {
      const std::uint32_t units = round % 2 == 0 ? first : kFrameUnitsMax;
      while (!writer.place(units)) {
        ASSERT_FALSE(under_way.empty()) << "the writer waits for ever";
        ASSERT_TRUE(owner.locate(under_way.front()).has_value());
        under_way.pop_front();
        owner.consume();
        ASSERT_TRUE(!owner.owes_report() || writer.take_report(owner.report()));
      }
      under_way.push_back(units);
    }
  }
}

TEST(VerbsRing, WhatNoCorrectPeerSaysIsRefused) {
  RingWriter writer;
  ASSERT_TRUE(writer.place(4).has_value());
  EXPECT_FALSE(writer.take_report(5));
  EXPECT_TRUE(writer.take_report(4));
  EXPECT_FALSE(writer.take_report(3));
  RingOwner owner;
  EXPECT_FALSE(owner.locate(0).has_value());
  EXPECT_FALSE(owner.locate(kFrameUnitsMax + 1).has_value());
  for (int frame = 0; frame < 4; ++frame) EXPECT_TRUE(owner.locate(kFrameUnitsMax).has_value());
  EXPECT_FALSE(owner.locate(1).has_value());
}

TEST(VerbsFrame, AHeadIsReadBackAndOneOfAnotherNumberIsNot) {
  const Head head{FrameKind::grant, 77, 12, Header{{1, 2, 3, 4, 5, 6}}};
  std::array<std::byte, kHeadBytes> bytes;
  encode_head(bytes.data(), head);
  EXPECT_EQ(decode_head(bytes.data(), 12), head);
  EXPECT_FALSE(decode_head(bytes.data(), 13).has_value());
  bytes[0] = std::byte{9};  // no such kind
  EXPECT_FALSE(decode_head(bytes.data(), 12).has_value());
}

TEST(VerbsGreeting, EveryMessageIsReadBackAndNoShorterOne) {
  Offer offer;
  offer.queue_pair = 17;
  offer.first_number = 0xabcdef;
  offer.lid = 3;
  offer.mtu = 5;
  offer.ring_address = 0x7f0000001000;
  offer.ring_key = 0xfeed;
  offer.ring_unit_bytes = 256;
  offer.listener = 18515;
  offer.key = 0x123456789abcdef0;
  const std::vector<Message> messages{Hello{12, "node07", 4u << 20, {facts("mlx5_0 port 1", ipv4(10, 0, 0, 1))}},
                                      offer, Ready{}, Farewell{true, "the cable is gone"}};
  for (const Message& message : messages) {
    const auto bytes = encode(message);
    EXPECT_LE(bytes.size(), kControlBytesMax);
    const auto again = parse_message(bytes);
    ASSERT_TRUE(again.has_value()) << message.index();
    EXPECT_EQ(*again, message);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(parse_message(std::span(bytes).first(size)).has_value());
    }
  }
}

TEST(VerbsGreeting, AnAddressTooLargeForTheRendezvousSaysWhatToDo) {
  Address address{{facts("mlx5_0 port 1", ipv4(10, 0, 0, 1))}, std::vector<std::byte>(300)};
  EXPECT_EQ(*parse_address(*encode(address)), address);
  address.control.resize(4090);
  EXPECT_EQ(encode(address).status().code(), Code::unsupported);
}

TEST(VerbsMemory, AThousandPeersPinLessThan64MiB) {
  VerbsOptions options;
  // Beside it the driver has its queues: 48 requests of 320 B, 76 of 16 B and 124 completions of 64 B for each link.
  const std::size_t queues = 1024 * (48 * 320 + 76 * 16 + 124 * 64);
  EXPECT_EQ(verbs_pinned_bytes(options, 1, 1024), (16u << 20) + (1u << 20) + (16u << 20));
  EXPECT_LT(verbs_pinned_bytes(options, 1, 1024) + queues, std::size_t{64} << 20);
}

}  // namespace tutti::verbs
