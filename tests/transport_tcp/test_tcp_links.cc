// Links between whole transports over loopback: what the conformance suite cannot know, because it is about TCP.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>

#include "tests/transport_tcp/cluster.h"
#include "transports/tcp/address.h"
#include "transports/tcp/socket.h"

namespace tutti::tcp {
namespace {

using std::chrono::milliseconds;

void expect_transfer(Node& from, Link& link, Node& to, std::size_t bytes) {
  const auto payload = pattern(bytes, static_cast<unsigned>(bytes));
  const std::size_t had = to.frames;
  const std::size_t sent = from.sent;
  const SendState state = link.send({}, payload.data(), payload.size(), 1);
  ASSERT_TRUE(
      poll_until({&from, &to}, [&] { return to.frames > had && (state == SendState::copied || from.sent > sent); }));
  EXPECT_EQ(to.received, payload);
}

TEST(TcpLinks, WorkOverIpVersion6) {
  Node a(test_options());
  Node b(test_options());
  auto address = parse_address(b.address());
  ASSERT_TRUE(address.is_ok());
  if (!address->has_ipv6) GTEST_SKIP() << "this host has no IPv6";
  // Another host, so that loopback is out, with nothing but IPv6.
  address->host = HostId{{1, 1}};
  std::erase_if(address->interfaces, [](Interface& interface) {
    std::erase_if(interface.addresses, [](const auto& one) { return !one.ip.is_v6 || one.ip.is_loopback(); });
    return interface.addresses.empty();
  });
  if (address->interfaces.empty()) GTEST_SKIP() << "no network interface of this host has an IPv6 address";

  const auto link = a.transport->connect(b.id, encode(*address), 0, monotonic_now() + std::chrono::seconds(10));
  ASSERT_TRUE(link.is_ok()) << link.status().text();
  ASSERT_TRUE(poll_until({&a, &b}, [&] { return (*link)->is_open() && !b.connected.empty(); }));

  EXPECT_NE((*link)->describe().find('['), std::string::npos) << (*link)->describe();
  expect_transfer(a, **link, b, 100);
  expect_transfer(b, *b.connected[0], a, 1'000'000);
}

TEST(TcpLinks, CarryFramesThroughSmallSocketBuffers) {
  TcpOptions small = test_options();
  small.buffer_bytes = 32 << 10;  // with less TCP itself stalls: a segment of loopback has 64 KiB
  TcpOptions other = small;
  other.process = *new_process_id();
  Node a(small);
  Node b(other);
  const auto [at_a, at_b] = join(a, b);
  ASSERT_NE(at_b, nullptr);
  for (const std::size_t bytes : {0u, 1u, 5000u, 70'000u, 2'000'000u}) {
    expect_transfer(a, *at_a, b, bytes);
    expect_transfer(b, *at_b, a, bytes);
  }
}

TEST(TcpLinks, AnUnreachablePortIsExplainedAtTheDeadline) {
  Node a(test_options());
  auto b = std::make_unique<Node>(test_options());
  const auto address = b->address();
  const ProcessId dead = b->id;
  b.reset();

  const auto link = a.transport->connect(dead, address, 0, monotonic_now() + milliseconds(100));
  ASSERT_TRUE(link.is_ok()) << link.status().text();
  ASSERT_TRUE(poll_until({&a}, [&] { return !a.closed.empty(); }));

  for (const char* part :
       {"no connection to", "127.0.0.1:", "Connection refused (ECONNREFUSED, 111)", " tries in "}) {
    EXPECT_NE(a.closed[0].find(part), std::string::npos) << part << " in: " << a.closed[0];
  }
  EXPECT_EQ((*link)->status().code(), Code::timeout);
}

TEST(TcpLinks, ThePeersEndIsExplainedWithBothAddresses) {
  Node a(test_options());
  auto b = std::make_unique<Node>(test_options());
  const auto [at_a, at_b] = join(a, *b);
  const auto payload = pattern(16 << 20, 1);
  b->fetches = false;
  for (int i = 0; i < 4; ++i) at_a->send({}, payload.data() + i * (4 << 20), 4 << 20, 1);
  poll_for({&a, b.get()}, milliseconds(20));

  b.reset();
  ASSERT_TRUE(poll_until({&a}, [&] { return !a.closed.empty(); }));

  EXPECT_EQ(at_a->status().code(), Code::peer_lost);
  for (const char* part : {"127.0.0.1:", "lane 0", "(ECONNRESET, 104)", "MiB not sent", "(pid "}) {
    EXPECT_NE(a.closed[0].find(part), std::string::npos) << part << " in: " << a.closed[0];
  }
}

TEST(TcpLinks, APeerThatLivesButDoesNotReadIsNotLost) {
  TcpOptions options = test_options();
  options.silence_limit = milliseconds(300);
  Node a(options);
  Node b(test_options());
  const auto [at_a, at_b] = join(a, b);
  ASSERT_NE(at_b, nullptr);
  const auto payload = pattern(4 << 20, 1);
  std::size_t pending = 0;
  while (at_a->send({}, payload.data(), payload.size(), pending) != SendState::again) ++pending;

  EXPECT_GT(at_a->under_way().value_or(0), payload.size());

  poll_for({&a}, milliseconds(1500));  // only a: its probes are answered by b's kernel

  EXPECT_TRUE(a.closed.empty()) << a.closed[0];
  EXPECT_TRUE(poll_until({&a, &b}, [&] { return b.frames == pending && a.sent <= pending; }));
  EXPECT_TRUE(poll_until({&a, &b}, [&] { return at_a->is_drained(); }));
  EXPECT_EQ(at_a->under_way(), 0u);
}

TEST(TcpLinks, ALostLinkIsReplacedAtOnceEvenIfThePeerHasNotNoticed) {
  Node a(test_options());
  Node b(test_options());
  // Each side in turn gives up its end while the other does not poll, and dials again.
  for (int round = 0; round < 4; ++round) {
    Node& first = round % 2 == 0 ? a : b;
    Node& second = round % 2 == 0 ? b : a;
    const auto [at_first, at_second] = join(first, second);
    ASSERT_NE(at_second, nullptr);
    at_first->close(Status(Code::aborted, "the test gives it up"));
    Link* const again = first.connect(second);
    ASSERT_NE(again, at_first);

    ASSERT_TRUE(poll_until({&a, &b}, [&] {
      return again->is_open() && !second.connected.empty() && !at_second->is_open() &&
             second.connected.back()->is_open();
    }));

    ASSERT_EQ(second.connected.size(), 1u);
    expect_transfer(first, *again, second, 1000);
    second.connected[0]->close(Status(Code::aborted, "round over"));
    ASSERT_TRUE(poll_until({&a, &b}, [&] { return a.connected.empty() && b.connected.empty(); }));
  }
}

TEST(TcpLinks, ADescriptorShortageIsNamedWaitedOutAndPasses) {
  Node a(test_options());
  Node b(test_options());
  const auto [lane0, at_b] = join(a, b);
  ASSERT_NE(at_b, nullptr);
  // One connection that b cannot accept, made before the limit; then a dial that finds no descriptor.
  Descriptor early = open_socket(false);
  const auto address = parse_address(b.address());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  (void)start_connect(early.get(), IpAddress::loopback(false), {IpAddress::loopback(false), address->port});
  const auto refused = a.transport->connect(b.id, b.transport->address(), 1, monotonic_now() + milliseconds(500));
  const bool was_logged = poll_until({&a, &b}, [&] { return b.has_logged("EMFILE"); });
  for (int i = 0; i < 20; ++i) expect_transfer(a, *lane0, b, 100'000);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);

  EXPECT_TRUE(was_logged);
  ASSERT_FALSE(refused.is_ok());
  for (const char* part : {"Too many open files (EMFILE, 24)", "may open 3 files", "no connection to"}) {
    EXPECT_NE(refused.status().text().find(part), std::string::npos) << part << " in: " << refused.status().text();
  }
  EXPECT_LT(b.log.size(), 5u) << "a line each time it tried";
  const auto [lane1, at_b1] = join(a, b, 1);
  EXPECT_NE(at_b1, nullptr);
}

TEST(TcpLinks, TwoHundredTransportsInOneProcessEachTalkToTheirNeighbours) {
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<Node*> all;
  for (int i = 0; i < 200; ++i) {
    nodes.push_back(std::make_unique<Node>(test_options()));
    all.push_back(nodes.back().get());
  }
  // Every process dials the next three, and the next one dials back at the same time.
  for (std::size_t i = 0; i < 200; ++i) {
    for (std::size_t k = 1; k <= 3; ++k) all[i]->connect(*all[(i + k) % 200]);
    all[i]->connect(*all[(i + 199) % 200]);
  }
  ASSERT_TRUE(poll_until(all, [&] {
    return std::all_of(all.begin(), all.end(), [](Node* node) { return node->connected.size() == 6; });
  }));
  const auto payload = pattern(40'000, 9);
  for (Node* node : all) {
    for (Link* link : node->connected) EXPECT_NE(link->send({}, payload.data(), payload.size(), 0), SendState::again);
  }
  EXPECT_TRUE(
      poll_until(all, [&] { return std::all_of(all.begin(), all.end(), [](Node* n) { return n->frames == 6; }); }));
  for (Node* node : all) {
    EXPECT_TRUE(node->closed.empty());
    EXPECT_TRUE(node->log.empty()) << node->log[0];
    EXPECT_EQ(node->received, payload);
  }
}

TEST(TcpLinks, ThePortIsTakenFromTheRange) {
  TcpOptions options = test_options();
  options.port_first = 42610;
  options.port_last = 42619;
  const auto first = make_tcp_transport(options);
  const auto second = make_tcp_transport(options);
  ASSERT_TRUE(first.is_ok()) << first.status().text();
  ASSERT_TRUE(second.is_ok()) << second.status().text();
  const auto port = [](const auto& transport) { return parse_address((*transport)->address())->port; };
  EXPECT_GE(port(first), 42610);
  EXPECT_LE(port(second), 42619);
  EXPECT_NE(port(first), port(second));

  options.port_last = port(second);
  options.port_first = port(second);
  const auto none = make_tcp_transport(options);
  ASSERT_FALSE(none.is_ok());
  EXPECT_NE(none.status().text().find("EADDRINUSE"), std::string::npos) << none.status().text();
}

}  // namespace
}  // namespace tutti::tcp
