// Connected endpoints of libfabric's: who is let in, what a port says when its connection ends, and that a closed
// port has let go of the caller's memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "src/base/bytes.h"
#include "tests/transport_ofi/node.h"

namespace tutti::ofi {
namespace {

using namespace std::chrono_literals;
using fabric::Head;
using fabric::Port;

constexpr std::size_t kLarge = 4 << 20;

TEST(OfiDomains, AreTakenByNameAndInTheOrderOfTheNames) {
  const auto api = load_api();
  ASSERT_TRUE(api.is_ok()) << api.status().text();
  const auto all = choose(**api, "tcp", {"all"});
  ASSERT_TRUE(all.is_ok()) << all.status().text();
  std::vector<std::string> names;
  for (const Info& each : *all) names.insert(names.begin(), each->domain_attr->name);
  EXPECT_NE(std::find(names.begin(), names.end(), "lo"), names.end());
  const auto turned = choose(**api, "tcp", names);
  ASSERT_TRUE(turned.is_ok()) << turned.status().text();
  ASSERT_EQ(turned->size(), names.size());
  for (std::size_t i = 0; i < names.size(); ++i) EXPECT_EQ(turned->at(i)->domain_attr->name, names[i]);
  EXPECT_EQ(choose(**api, "tcp", {})->size(), 1u);
  const auto none = choose(**api, "tcp", {"lo", "eth77"});
  EXPECT_NE(none.status().text().find("has no domain eth77 (TUTTI_OFI_DOMAINS); there are "), std::string::npos);
  EXPECT_EQ(choose(**api, "tcp", {"lo", "lo"}).status().text(),
            "domain lo is named twice (TUTTI_OFI_DOMAINS); give each once");
}

class OfiConnections : public ::testing::TestWithParam<const char*> {};

TEST_P(OfiConnections, WhoeverHasNoKeyOfAWaitingPortIsRejected) {
  Node a(GetParam());
  Node stranger(GetParam());
  ASSERT_NE(a.wire->limits().kind.find("connected"), std::string::npos) << a.wire->limits().kind;
  std::vector<std::byte> address(a.port->address().begin(), a.port->address().end());
  store_little_endian(address.data(), std::uint64_t{1});  // and less than the stranger's, so that it connects
  ASSERT_TRUE(stranger.port->connect(address).is_ok());
  ASSERT_TRUE(until({&a, &stranger}, [&] { return !stranger.failure.empty(); }));
  EXPECT_NE(stranger.failure.find("Connection refused"), std::string::npos) << stranger.failure;

  Node b(GetParam());
  const Status met = meet(a, b);
  ASSERT_TRUE(met.is_ok()) << met.text();
  // The right key, but the port has its connection.
  std::copy(a.port->address().begin(), a.port->address().end(), address.begin());
  do {
    stranger.open();
  } while (stranger.key() < a.key());  // who has the greater one connects
  ASSERT_TRUE(stranger.port->connect(address).is_ok());
  ASSERT_TRUE(until({&a, &b, &stranger}, [&] { return !stranger.failure.empty(); }));
  ASSERT_TRUE(say(b, "still there"));
  ASSERT_TRUE(until({&a, &b}, [&] { return !a.small.empty(); }));
  EXPECT_EQ(a.small.front(), "still there");
  EXPECT_EQ(a.failure + b.failure, "");
}

// The one with the greater key connects; to connect to it instead breaks the protocol, and hurts it no more than
// that.
TEST_P(OfiConnections, WhoConnectsOutOfTurnIsRefused) {
  Node a(GetParam());
  Node b(GetParam());
  Node hasty(GetParam());
  while (a.key() < b.key()) a.open();
  while (hasty.key() < a.key()) hasty.open();
  const auto end = [&] { return until({&a, &hasty}, [&] { return !hasty.failure.empty(); }); };
  ASSERT_TRUE(hasty.port->connect(a.port->address()).is_ok());
  const Instant enough = monotonic_now() + 200ms;
  ASSERT_TRUE(until({&a, &hasty}, [&] { return monotonic_now() > enough; }));
  const Status connected = a.port->connect(b.port->address());
  EXPECT_NE(connected.text().find("its peer has connected"), std::string::npos) << connected.text();
  a.open();  // the port before is gone, its connection too
  EXPECT_TRUE(end());
  const Status met = meet(a, b);
  EXPECT_TRUE(met.is_ok()) << met.text();
}

TEST_P(OfiConnections, ThePeersEndIsToldAfterAllThatItHasSent) {
  Node a(GetParam());
  Node b(GetParam());
  const Status met = meet(a, b);
  ASSERT_TRUE(met.is_ok()) << met.text();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(until({&a}, [&] { return say(a, "number " + std::to_string(i)); }));
  }
  a.port->close();
  EXPECT_TRUE(a.port->is_closed());
  EXPECT_EQ(a.port->unreleased(), "");
  std::size_t told_at = 0;
  ASSERT_TRUE(until({&b}, [&] {
    told_at = b.small.size();
    return !b.failure.empty();
  }));
  EXPECT_EQ(told_at, 100u);
  EXPECT_NE(b.failure.find("FI_SHUTDOWN"), std::string::npos) << b.failure;
}

// The memory is gone when close() has returned, on either side and at any point of the transfer.
TEST_P(OfiConnections, AClosedPortHasLetGoOfTheCallersMemory) {
  for (int turn = 0; turn < 40; ++turn) {
    Node a(GetParam());
    Node b(GetParam());
    const Status met = meet(a, b);
    ASSERT_TRUE(met.is_ok()) << met.text();
    auto body = std::make_unique<std::vector<std::byte>>(kLarge, std::byte{7});
    const Head head{.bytes = kLarge};
    ASSERT_TRUE(a.port->send_large(head, body->data(), kLarge, 1));
    for (int i = 0; i < turn; ++i) {
      b.wire->progress();
      a.wire->progress();
    }
    Node& first = turn % 2 == 0 ? a : b;
    first.port->close();
    ASSERT_TRUE(first.port->is_closed());
    EXPECT_EQ(first.port->unreleased(), "");
    if (&first == &a) body.reset();
    if (&first == &b) b.fetched = {};
    Node& other = turn % 2 == 0 ? b : a;
    ASSERT_TRUE(until({&a, &b}, [&] { return !other.failure.empty(); })) << turn;
    other.port->close();
    ASSERT_TRUE(other.port->is_closed());
    EXPECT_TRUE(b.fetches == 0 || b.fetched.empty() || b.fetched == std::vector<std::byte>(kLarge, std::byte{7}));
  }
}

INSTANTIATE_TEST_SUITE_P(Of, OfiConnections, ::testing::Values("tcp", "net"));

}  // namespace
}  // namespace tutti::ofi
