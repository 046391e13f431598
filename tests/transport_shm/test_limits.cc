// Limits and refusals: options out of range, no descriptors left, many links, other keys, users and sizes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/transport_shm/node.h"

namespace tutti::shm_test {
namespace {

// Lowers the limit on open files so that `spare` more can be opened, while it lives.
class FewDescriptors {
 public:
  explicit FewDescriptors(int spare) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // the lowest free number
    ::close(next);
    rlimit low = before_;
    low.rlim_cur = static_cast<rlim_t>(next + spare);
    setrlimit(RLIMIT_NOFILE, &low);
    text = format("open files limit {} (RLIMIT_NOFILE) reached", low.rlim_cur);
  }
  ~FewDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }
  std::string text;

 private:
  rlimit before_{};
};

TEST(ShmLimits, OptionsOutOfRangeAreNamed) {
  auto options = options_for(1);
  options.staging_bytes = 100;
  auto made = make_shm_transport(options);
  ASSERT_FALSE(made.is_ok());
  EXPECT_EQ(made.status().code(), Code::invalid);
  EXPECT_NE(made.status().text().find("expected 2 MiB to 1 GiB"), std::string::npos) << made.status().text();

  options = options_for(1);
  options.segment_bytes = 10;
  made = make_shm_transport(options);
  ASSERT_FALSE(made.is_ok());
  EXPECT_EQ(made.status().code(), Code::invalid);
}

TEST(ShmLimits, ATransportThatCannotStartNamesTheLimitAndLeavesNothing) {
  for (int spare = 0; spare < 5; ++spare) {
    const FewDescriptors few(spare);
    const auto made = make_shm_transport(options_for(1));
    ASSERT_FALSE(made.is_ok()) << spare;
    EXPECT_NE(made.status().text().find(few.text), std::string::npos) << made.status().text();
  }
  EXPECT_TRUE(make_shm_transport(options_for(1)).is_ok());
}

TEST(ShmLimits, AConnectWithoutDescriptorsFailsAtOnceAndWorksLater) {
  Node a(1);
  Node b(2);
  for (int spare = 0; spare < 2; ++spare) {
    const FewDescriptors few(spare);
    const auto link = a.transport->connect(b.id, b.transport->address(), 0, kNever);
    ASSERT_FALSE(link.is_ok());
    EXPECT_NE(link.status().text().find(few.text), std::string::npos) << link.status().text();
  }
  a.join(b);
}

TEST(ShmLimits, APeerWithoutDescriptorsRefusesWithASentenceForBoth) {
  // With few descriptors left the acceptor fails at different steps; each must end with one closed event and a
  // reason. (One process plays both sides, so the connector's own descriptors count as well.)
  int refused = 0;
  for (int spare = 2; spare < 12; ++spare) {
    Node a(1);
    Node b(2);
    Link* link = nullptr;
    {
      const FewDescriptors few(spare);
      const auto connected =
          a.transport->connect(b.id, b.transport->address(), 0, monotonic_now() + std::chrono::seconds(10));
      if (!connected) continue;
      link = *connected;
      ASSERT_TRUE(a.until([&] {
        b.poll();
        return link->is_open() || !a.closed.empty();
      }));
      if (!a.closed.empty()) {
        ++refused;
        EXPECT_NE(link->status().text().find(few.text), std::string::npos) << link->status().text();
      }
    }
    if (a.closed.empty()) continue;
    EXPECT_EQ(a.closed.size(), 1u);
    a.transport->forget(link);
    a.join(b);  // there are descriptors again
  }
  EXPECT_GT(refused, 0);
}

TEST(ShmLimits, ThirtyTwoTransportsLinkWithEachOther) {
  std::vector<std::unique_ptr<Node>> nodes;
  for (std::uint64_t i = 0; i < 32; ++i) nodes.push_back(std::make_unique<Node>(100 + i));
  const auto pump = [&](const std::function<bool()>& condition) {
    return nodes[0]->until([&] {
      for (const auto& node : nodes) node->poll();
      return condition();
    });
  };
  // Everybody connects to everybody, so half of the attempts cross.
  std::vector<std::vector<Link*>> links(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (const auto& other : nodes) {
      if (other != nodes[i]) links[i].push_back(nodes[i]->connect(other->id, other->transport->address()));
    }
  }
  ASSERT_TRUE(pump([&] {
    for (const auto& node : nodes) {
      if (node->connected.size() < 31) return false;
    }
    return true;
  }));
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    EXPECT_EQ(nodes[i]->connected.size(), 31u);
    EXPECT_TRUE(nodes[i]->closed.empty());
    for (Link* const link : links[i]) ASSERT_EQ(link->send(header_of(i), nullptr, 0, 0), SendState::copied);
  }
  EXPECT_TRUE(pump([&] {
    for (const auto& node : nodes) {
      if (node->delivered < 31) return false;
    }
    return true;
  }));
}

TEST(ShmLimits, StrangersAreRefusedAndLoggedWithoutAnEvent) {
  const auto refuse = [](const std::function<void(ShmOptions&)>& change, const std::string& expected) {
    Node a(1);
    auto options = options_for(2);
    change(options);
    Node b(std::move(options));
    Link* const link = a.connect(b.id, b.transport->address());
    ASSERT_NE(link, nullptr);
    ASSERT_TRUE(a.until([&] {
      b.poll();
      return a.closed.size() == 1;
    }));
    for (int i = 0; i < 1000; ++i) b.poll();
    EXPECT_NE(link->status().text().find(expected), std::string::npos) << link->status().text();
    EXPECT_TRUE(b.connected.empty());
    EXPECT_TRUE(b.closed.empty());
    EXPECT_TRUE(b.has_logged("a connection was refused"));
  };
  refuse([](ShmOptions& options) { options.key.fill(std::byte{8}); }, "secret");
  refuse([](ShmOptions& options) { options.segment_bytes = 1 << 20; }, "has a segment of 64 MiB");
}

TEST(ShmLimits, AKeyOfItsOwnGoesOutWithTheAddress) {
  auto first = options_for(1);
  first.key.fill(std::byte{1});
  first.publish_key = true;
  auto second = options_for(2);
  second.key.fill(std::byte{2});
  second.publish_key = true;
  Node a(std::move(first));
  Node b(std::move(second));
  Link* const link = a.connect(b.id, b.transport->address());
  ASSERT_NE(link, nullptr);
  EXPECT_TRUE(a.until([&] {
    b.poll();
    return link->is_open();
  }));
}

TEST(ShmLimits, OnlyItsOwnHostIsReachable) {
  Node a(1);
  auto options = options_for(2);
  options.host = HostId{{9, 9}};
  Node elsewhere(std::move(options));
  EXPECT_FALSE(a.transport->reaches(elsewhere.transport->address()));
  EXPECT_FALSE(a.transport->reaches(a.transport->address()));
  const auto link = a.transport->connect(elsewhere.id, elsewhere.transport->address(), 0, kNever);
  ASSERT_FALSE(link.is_ok());
  EXPECT_EQ(link.status().code(), Code::unsupported);
  Node b(3);
  EXPECT_TRUE(a.transport->reaches(b.transport->address()));
  const auto lane = a.transport->connect(b.id, b.transport->address(), 1, kNever);
  ASSERT_FALSE(lane.is_ok());
  EXPECT_EQ(lane.status().code(), Code::invalid);
}

}  // namespace
}  // namespace tutti::shm_test
