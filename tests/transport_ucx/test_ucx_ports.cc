// Ports over UCX whose processes have had others before.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/transport_fabric/node.h"
#include "transports/ucx/wire.h"

namespace tutti::ucx {
namespace {

using fabric::meet;
using fabric::say;
using fabric::until;

// Between the messages that UCX sends whole and those that it sends from where they are.
constexpr std::size_t kInParts = 12'000;

struct Node : fabric::Node {
  Node() : fabric::Node(make_wire()) {}

  static std::unique_ptr<UcxWire> make_wire() {
    const auto api = load_api();
    EXPECT_TRUE(api.is_ok()) << api.status().text();
    auto worker = Worker::take(**api, "tcp");
    EXPECT_TRUE(worker.is_ok()) << worker.status().text();
    return std::make_unique<UcxWire>(*std::move(worker));
  }
};

// UCX pairs the n-th endpoint that a process makes for another one with the n-th of the other. Where they have made
// different numbers, because a link ended before both had connected, one of them gets an endpoint whose other side is
// long gone: small messages get through, larger ones do not, and after twenty seconds UCX ends it.
TEST(UcxPorts, TalkAlthoughOneHasConnectedMoreOftenThanTheOther) {
  for (const int in_vain : {1, 3}) {
    Node a;
    Node b;
    const auto come_to_rest = [&] {
      const Instant end = monotonic_now() + std::chrono::seconds(1);
      static_cast<void>(until({&a, &b}, [&] { return monotonic_now() > end; }));
    };
    for (int i = 0; i < in_vain; ++i) {
      ASSERT_TRUE(a.port->connect(b.port->address()).is_ok());
      come_to_rest();
      a.port->close();
      come_to_rest();
      a.open();
      b.open();
    }
    const Status met = meet(a, b);
    ASSERT_TRUE(met.is_ok()) << met.text();
    ASSERT_TRUE(say(a, std::string(kInParts, 'a')));
    ASSERT_TRUE(say(b, std::string(kInParts, 'b')));
    EXPECT_TRUE(until({&a, &b}, [&] { return a.small.size() == 1 && b.small.size() == 1; }))
        << a.small.size() << " and " << b.small.size() << " came, after " << in_vain << " in vain";
    EXPECT_EQ(a.failure + b.failure, "");
    const auto of_a = a.port->counts();
    const auto of_b = b.port->counts();
    EXPECT_GE(of_a->heard, of_b->said) << "of the " << of_b->said << " that b has said";
    EXPECT_GE(of_b->heard, of_a->said) << "of the " << of_a->said << " that a has said";
  }
}

}  // namespace
}  // namespace tutti::ucx
