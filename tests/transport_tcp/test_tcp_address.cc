// The values of the tcp transport: addresses, routes, the filter of interfaces, greetings, and the plan of a dial.
#include <gtest/gtest.h>

#include "src/base/random.h"
#include "transports/tcp/address.h"
#include "transports/tcp/dial.h"
#include "transports/tcp/greeting.h"
#include "transports/tcp/routes.h"

namespace tutti::tcp {
namespace {

IpAddress v4(unsigned a, unsigned b, unsigned c, unsigned d) {
  IpAddress ip;
  ip.bytes = {std::byte(a), std::byte(b), std::byte(c), std::byte(d)};
  return ip;
}

Interface nic(const std::string& name, const IpAddress& ip, std::uint8_t bits) { return {name, 10000, {{ip, bits}}}; }

Address make_address(std::uint64_t host, std::vector<Interface> interfaces) {
  Address address;
  address.process = ProcessId{{host, 2}};
  address.host = HostId{{host, 4}};
  address.pid = 1234;
  address.port = 41200;
  address.host_name = "node07";
  address.interfaces = std::move(interfaces);
  return address;
}

TEST(TcpAddress, IsWhatItWasAfterEncodingAndParsing) {
  Interface both = nic("eth0", v4(10, 0, 1, 1), 24);
  both.addresses.push_back({IpAddress::loopback(true), 128});
  const Address address = make_address(1, {both, nic("eth1", v4(10, 0, 2, 1), 16)});

  const auto bytes = encode(address);
  const auto parsed = parse_address(bytes);

  ASSERT_TRUE(parsed.is_ok()) << parsed.status().text();
  EXPECT_EQ(*parsed, address);
  EXPECT_LE(bytes.size(), 4096u);
}

TEST(TcpAddress, StaysBelowFourKibibytesHoweverManyInterfacesThereAre) {
  Interface big = nic("an_interface_16c", v4(10, 0, 1, 1), 24);
  for (int i = 0; i < 20; ++i) big.addresses.push_back({IpAddress::loopback(true), 128});
  Address address = make_address(1, std::vector<Interface>(40, big));
  address.host_name = std::string(300, 'h');

  const auto bytes = encode(address);
  const auto parsed = parse_address(bytes);

  EXPECT_LE(bytes.size(), 4096u);
  ASSERT_TRUE(parsed.is_ok()) << parsed.status().text();
  EXPECT_EQ(parsed->interfaces.size(), kInterfacesMax);
}

TEST(TcpAddress, RefusesEveryShorterAndLongerVersionOfItself) {
  const auto bytes = encode(make_address(1, {nic("eth0", v4(10, 0, 1, 1), 24)}));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(parse_address(std::span(bytes).first(length)).is_ok()) << length;
  }
  auto longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(parse_address(longer).is_ok());
}

TEST(TcpAddress, AnyChangeOfBytesIsParsedWithinTheLimits) {
  const auto bytes = encode(make_address(1, {nic("eth0", v4(10, 0, 1, 1), 24), nic("eth1", v4(10, 0, 2, 1), 24)}));
  Random random(7);
  for (int i = 0; i < 20000; ++i) {
    auto damaged = bytes;
    for (int k = 0; k < 3; ++k) damaged[random.below(damaged.size())] = static_cast<std::byte>(random.next());
    const auto parsed = parse_address(damaged);
    if (!parsed) continue;
    EXPECT_LE(parsed->interfaces.size(), kInterfacesMax);
    for (const char c : parsed->host_name) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
    EXPECT_EQ(encode(*parsed).size(), damaged.size());
  }
}

TEST(TcpRoutes, LanesSpreadOverTheInterfacesThatShareASubnet) {
  const Address local = make_address(
      1, {nic("mgmt", v4(192, 168, 0, 1), 24), nic("eth1", v4(10, 0, 1, 1), 24), nic("eth2", v4(10, 0, 2, 1), 24)});
  const Address peer = make_address(2, {nic("eth1", v4(10, 0, 1, 2), 24), nic("eth2", v4(10, 0, 2, 2), 24)});

  for (std::uint32_t lane = 0; lane < 4; ++lane) {
    const auto routes = plan_routes(local, peer, lane);
    ASSERT_FALSE(routes.empty());
    const unsigned expected = 1 + lane % 2;
    EXPECT_EQ(routes[0].source, v4(10, 0, expected, 1)) << lane;
    EXPECT_EQ(routes[0].destination.ip, v4(10, 0, expected, 2)) << lane;
    EXPECT_EQ(routes.back().interface, "mgmt") << lane;
  }
}

TEST(TcpRoutes, WithoutACommonSubnetTheInterfacesArePairedByTheirPlaces) {
  const Address local = make_address(1, {nic("a", v4(10, 1, 1, 1), 24), nic("b", v4(10, 1, 2, 1), 24)});
  const Address peer = make_address(2, {nic("c", v4(10, 2, 1, 1), 24), nic("d", v4(10, 2, 2, 1), 24)});

  const auto lane0 = plan_routes(local, peer, 0);
  const auto lane1 = plan_routes(local, peer, 1);

  ASSERT_EQ(lane0.size(), 4u);
  EXPECT_EQ(lane0[0].source, v4(10, 1, 1, 1));
  EXPECT_EQ(lane0[0].destination.ip, v4(10, 2, 1, 1));
  EXPECT_EQ(lane1[0].source, v4(10, 1, 2, 1));
  EXPECT_EQ(lane1[0].destination.ip, v4(10, 2, 2, 1));
}

TEST(TcpRoutes, SameHostGoesOverLoopbackAndAnotherWithoutACommonFamilyNotAtAll) {
  const Address a = make_address(1, {nic("eth0", v4(10, 1, 1, 1), 24)});
  Address v6_only = make_address(2, {nic("eth0", IpAddress{.is_v6 = true}, 64)});
  v6_only.has_ipv6 = true;

  ASSERT_FALSE(plan_routes(a, a, 0).empty());
  EXPECT_TRUE(plan_routes(a, a, 0)[0].destination.ip.is_loopback());
  EXPECT_TRUE(plan_routes(a, v6_only, 0).empty());
}

TEST(TcpRoutes, LoopbackDoesNotLeadToAnotherHost) {
  const Address a = make_address(1, {nic("lo", v4(127, 0, 0, 1), 8)});
  const Address b = make_address(2, {nic("lo", v4(127, 0, 0, 1), 8)});
  EXPECT_TRUE(plan_routes(a, b, 0).empty());
}

TEST(TcpInterfaces, TheFilterAdmitsByNameAndExcludesWithACaret) {
  const std::vector<std::string> none;
  const std::vector<std::string> named = {"eth0", "eth1"};
  const std::vector<std::string> excluded = {"^docker0"};
  const std::vector<std::string> both = {"eth0", "^eth0"};

  EXPECT_TRUE(admits(none, "eth0"));
  EXPECT_TRUE(admits(named, "eth1"));
  EXPECT_FALSE(admits(named, "eth10"));
  EXPECT_FALSE(admits(excluded, "docker0"));
  EXPECT_TRUE(admits(excluded, "eth0"));
  EXPECT_FALSE(admits(both, "eth0"));
}

TEST(TcpInterfaces, AFilterThatLeavesNothingIsAnErrorThatNamesWhatThereIs) {
  const std::vector<std::string> filter = {"nosuch0"};
  const auto found = find_interfaces(filter);
  ASSERT_FALSE(found.is_ok());
  EXPECT_EQ(found.status().code(), Code::invalid);
  EXPECT_NE(found.status().text().find("nosuch0"), std::string::npos) << found.status().text();
  EXPECT_NE(found.status().text().find("lo"), std::string::npos) << found.status().text();
}

TEST(TcpIp, SubnetsAgreeBitByBit) {
  EXPECT_TRUE(same_subnet(v4(10, 0, 0, 1), v4(10, 0, 3, 255), 22));
  EXPECT_FALSE(same_subnet(v4(10, 0, 0, 1), v4(10, 0, 4, 1), 22));
  EXPECT_TRUE(same_subnet(v4(1, 2, 3, 4), v4(9, 9, 9, 9), 0));
  EXPECT_FALSE(same_subnet(v4(0, 0, 0, 0), IpAddress{.is_v6 = true}, 0));
}

TEST(TcpGreeting, IsWhatItWasAndNothingElseIsOne) {
  Greeting greeting;
  greeting.kind = Greeting::Kind::refuse;
  greeting.reason = Greeting::Reason::not_now;
  greeting.from = ProcessId{{1, 2}};
  greeting.to = ProcessId{{3, 4}};
  greeting.lane = 5;
  greeting.generation = 6;
  greeting.host_name = "node07";

  auto bytes = encode(greeting);
  ASSERT_EQ(bytes.size(), kGreetingBytes);
  const auto parsed = parse_greeting(bytes, "node08");
  ASSERT_TRUE(parsed.is_ok());
  EXPECT_EQ(*parsed, greeting);

  for (const std::size_t at : {0u, 4u, 6u, 11u}) {  // magic, version, kind, reason
    auto wrong = bytes;
    wrong[at] ^= std::byte{0x40};
    const auto refused = parse_greeting(wrong, "node08");
    ASSERT_FALSE(refused.is_ok()) << at;
    EXPECT_NE(refused.status().text().find("node08"), std::string::npos);
  }
}

class TcpDial : public ::testing::Test {
 protected:
  Instant at(int ms) { return began_ + std::chrono::milliseconds(ms); }
  const Instant began_{std::chrono::seconds(100)};
  const std::vector<Route> routes_ = {{"eth0", v4(10, 0, 1, 1), {v4(10, 0, 1, 2), 41200}},
                                      {"eth1", v4(10, 0, 2, 1), {v4(10, 0, 2, 2), 41200}}};
};

TEST_F(TcpDial, TriesTheRoutesInTurnAndRestsLongerAfterEachRound) {
  Dial dial(routes_, "node08", began_, at(60000));
  Nanoseconds last{0};
  for (int round = 0; round < 5; ++round) {
    const Instant now = dial.next_try();
    EXPECT_EQ(dial.route(), routes_[0]);
    dial.begin_try(1);
    dial.fail_try("Connection refused (ECONNREFUSED, 111)", false, now);
    EXPECT_EQ(dial.route(), routes_[1]);
    EXPECT_EQ(dial.next_try(), now);
    dial.begin_try(2);
    dial.fail_try("No route to host (EHOSTUNREACH, 113)", false, now);
    EXPECT_GT(dial.next_try() - now, last);
    last = dial.next_try() - now;
  }

  const Status why = dial.explain("", at(8200));
  EXPECT_EQ(why.code(), Code::timeout);
  for (const char* part : {"node08", "eth0", "10.0.1.1", "10.0.2.2:41200", "ECONNREFUSED, 111", "EHOSTUNREACH, 113",
                           "10 tries", "8.2"}) {
    EXPECT_NE(why.text().find(part), std::string::npos) << part << " in: " << why.text();
  }
}

TEST_F(TcpDial, IsHopelessOnceEveryRouteOfARoundWasRefusedForGood) {
  Dial dial(routes_, "node08", began_, at(60000));
  dial.fail_try("another secret", true, began_);
  EXPECT_FALSE(dial.is_hopeless());
  dial.fail_try("Connection refused", false, began_);
  EXPECT_FALSE(dial.is_hopeless());
  dial.fail_try("another secret", true, began_);
  dial.fail_try("another secret", true, began_);
  EXPECT_TRUE(dial.is_hopeless());
  EXPECT_EQ(dial.explain("", began_).code(), Code::invalid);
}

}  // namespace
}  // namespace tutti::tcp
