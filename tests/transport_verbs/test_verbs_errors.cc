// What goes wrong with RDMA, one clear sentence each, over the verbs without hardware: at the start (no device, port
// down, no GID, no locked memory, no library), and under a link (the port goes down, keys and frames that are wrong).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "src/base/format.h"
#include "tests/conformance/tcp_world.h"
#include "tests/transport_verbs/fake_connector.h"
#include "tests/transport_verbs/fake_verbs.h"
#include "transports/verbs/memory.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {
namespace {

using namespace std::chrono_literals;

struct Node {
  explicit Node(const std::function<void(VerbsOptions&)>& change = [](VerbsOptions&) {}) {
    id = *new_process_id();
    VerbsOptions options;
    options.process = id;
    options.host_name = "node";
    options.log = Log(LogLevel::info,
                      [this](LogLevel, std::string_view, std::string_view text) { log += std::string(text) + "\n"; });
    options.make_control = [this]() -> Result<std::unique_ptr<Transport>> {
      return conformance::make_loopback_tcp(id, 4);
    };
    change(options);
    auto made = make_verbs_transport(std::move(options), fake_library());
    if (made) transport = *std::move(made);
    status = made.status();
  }

  std::size_t poll() {
    Event events[16];
    const std::size_t count = transport->poll(events, monotonic_now());
    for (std::size_t i = 0; i < count; ++i) {
      const Event& event = events[i];
      if (event.kind == EventKind::connected) link = event.link;
      if (event.kind == EventKind::closed) closed = event.link->status().text();
      if (event.kind == EventKind::fetched) ++fetched;
      if (event.kind == EventKind::sent) ++sent;
      if (event.kind != EventKind::delivery) continue;
      ++frames;
      if (event.data == nullptr && event.bytes > 0) {
        target.assign(event.bytes, std::byte{});
        EXPECT_EQ(event.link->fetch(event.token, target.data()), FetchState::pending);
      } else {
        event.link->release(event.token);
      }
    }
    return count;
  }

  ProcessId id;
  std::string log;
  Status status;
  std::vector<std::byte> target;
  std::unique_ptr<Transport> transport;
  Link* link = nullptr;
  std::string closed;
  std::size_t frames = 0;
  std::size_t fetched = 0;
  std::size_t sent = 0;
};

bool until(std::initializer_list<Node*> nodes, const std::function<bool()>& condition) {
  const Instant give_up = monotonic_now() + 20s;
  while (!condition() && monotonic_now() < give_up) {
    for (Node* const node : nodes) node->poll();
  }
  return condition();
}

// Two linked processes, a on fake0 and b on fake1.
struct Pair {
  explicit Pair(const std::function<void(VerbsOptions&)>& change = [](VerbsOptions&) {})
      : a([&](VerbsOptions& options) {
          options.devices = {"fake0"};
          change(options);
        }),
        b([&](VerbsOptions& options) {
          options.devices = {"fake1"};
          change(options);
        }) {
    const auto link = a.transport->connect(b.id, b.transport->address(), 0, monotonic_now() + 10s);
    EXPECT_TRUE(link.is_ok()) << link.status().text();
    EXPECT_TRUE(until({&a, &b}, [&] { return (a.link != nullptr && b.link != nullptr) || !a.closed.empty(); }));
  }
  bool both_closed() {
    return until({&a, &b}, [&] { return !a.closed.empty() && !b.closed.empty(); });
  }
  Node a;
  Node b;
};

class VerbsErrors : public ::testing::Test {
 protected:
  void SetUp() override { reset_fake_verbs({fake_port("fake0"), fake_port("fake1")}); }
  void TearDown() override {
    for (const std::string& breach : fake_breaches()) ADD_FAILURE() << breach;
    EXPECT_EQ(fake_pinned_bytes(), 0u);
  }
};

const std::vector<std::byte> kLarge(300'000, std::byte{7});

}  // namespace

TEST_F(VerbsErrors, NoDeviceAndNoPortThatIsUpAreUnsupportedAndSaySo) {
  reset_fake_verbs({});
  EXPECT_EQ(Node().status.text(), "verbs: this machine has no RDMA device that libibverbs has a driver for");
  EXPECT_EQ(Node().status.code(), Code::unsupported);

  FakePort down = fake_port("fake0");
  down.state = IBV_PORT_DOWN;
  FakePort bare = fake_port("fake1");
  bare.gids.clear();
  reset_fake_verbs({down, bare});
  const Node node;
  EXPECT_EQ(node.status.code(), Code::unsupported);
  EXPECT_EQ(
      node.status.text(),
      "verbs: no RDMA port can be used: fake0 port 1 is not up: PORT_DOWN, no cable or its network interface is "
      "down; fake1 port 1 has no GID: its network interface has no address; give it one");
}

TEST_F(VerbsErrors, WrongSettingsNameWhatThereIs) {
  const Node unknown([](VerbsOptions& options) { options.devices = {"mlx5_7"}; });
  EXPECT_EQ(unknown.status.code(), Code::invalid);
  EXPECT_EQ(unknown.status.text(), "verbs: there is no device mlx5_7 (TUTTI_VERBS_DEVICES); there are fake0, fake1");

  const Node ring([](VerbsOptions& options) { options.ring_bytes = 20'000; });
  EXPECT_EQ(
      ring.status.text(),
      "verbs: rings of 20000 bytes (TUTTI_VERBS_RING_BYTES) are not possible; expected a power of two from 16384 "
      "to 1048576");

  const Node index([](VerbsOptions& options) { options.gid_index = 9; });
  EXPECT_EQ(index.status.code(), Code::invalid);
  EXPECT_NE(index.status.text().find("fake0 port 1 has no GID at index 9"), std::string::npos) << index.status.text();
}

TEST_F(VerbsErrors, ALibraryThatIsMissingOrIsNoneIsNamed) {
  const auto missing = load_library("libibverbs-that-is-not-there.so.1");
  EXPECT_EQ(missing.status().code(), Code::unsupported);
  EXPECT_NE(missing.status().text().find("cannot be loaded"), std::string::npos) << missing.status().text();
  const auto other = load_library("libm.so.6");
  EXPECT_EQ(other.status().code(), Code::unsupported);
  EXPECT_NE(other.status().text().find("is too old or not libibverbs"), std::string::npos) << other.status().text();
}

TEST_F(VerbsErrors, TooLittleLockedMemoryIsSaidAtTheStartAndForALink) {
  limit_fake_pinned_bytes(64 << 10);
  const Node none;
  EXPECT_NE(none.status.text().find("verbs: 1 MiB cannot be pinned for fake0 port 1: Cannot allocate memory (ENOMEM, "
                                    "12)"),
            std::string::npos)
      << none.status.text();

  limit_fake_pinned_bytes((2 << 20) + (20 << 10));
  Pair pair;
  EXPECT_NE(pair.a.closed.find("16 KiB cannot be pinned"), std::string::npos) << pair.a.closed;
}

TEST_F(VerbsErrors, TheLogSaysWhichPortAndGidAndWhy) {
  const Node node;
  EXPECT_NE(node.log.find("fake0 port 1 is used: GID index 0 (127.0.0.49, RoCE v2, IPv4): the best of 1"),
            std::string::npos)
      << node.log;
}

TEST_F(VerbsErrors, RingsAndFramesOfOtherSizesAreRefusedAndMtusAgreedOn) {
  FakePort small = fake_port("fake1");
  small.mtu = IBV_MTU_1024;
  reset_fake_verbs({fake_port("fake0"), small});
  {
    Pair pair;
    EXPECT_NE(pair.a.log.find("the MTUs differ, 4096 here and 1024 there; 1024 is used"), std::string::npos)
        << pair.a.log;
  }
  Pair rings([](VerbsOptions& options) { options.ring_bytes = options.devices[0] == "fake0" ? 16 << 10 : 32 << 10; });
  EXPECT_NE(rings.a.closed.find("set TUTTI_VERBS_RING_BYTES alike"), std::string::npos) << rings.a.closed;
  Pair frames(
      [](VerbsOptions& options) { options.frame_bytes_max = options.devices[0] == "fake0" ? 1 << 20 : 2 << 20; });
  EXPECT_NE(frames.a.closed.find("frames have at most 2 MiB there and 1 MiB here"), std::string::npos)
      << frames.a.closed;
}

void connect_by_manager(VerbsOptions& options) {
  options.make_connector = [](const auto ports) -> Result<std::unique_ptr<Connector>> {
    return std::unique_ptr<Connector>(std::make_unique<FakeConnector>(ports));
  };
}

TEST_F(VerbsErrors, AConnectionManagerConnectsAsItSaysAndSaysWhyItDoesNot) {
  {
    Pair pair(connect_by_manager);
    ASSERT_TRUE(pair.a.closed.empty()) << pair.a.closed;
    ASSERT_EQ(pair.a.link->send(Header{}, kLarge.data(), kLarge.size(), 1), SendState::pending);
    ASSERT_EQ(pair.b.link->send(Header{}, nullptr, 0, 1), SendState::copied);
    ASSERT_TRUE(until({&pair.a, &pair.b}, [&] { return pair.b.fetched == 1 && pair.a.frames == 1; }));
    EXPECT_EQ(pair.b.target, kLarge);
  }
  FakeConnector::refuse_next();
  Pair refused(connect_by_manager);
  EXPECT_NE(refused.a.closed.find("the manager says no"), std::string::npos) << refused.a.closed;
}

TEST_F(VerbsErrors, OneSideAloneWithAConnectionManagerIsTold) {
  Pair pair([](VerbsOptions& options) {
    if (options.devices[0] == "fake0") connect_by_manager(options);
  });
  EXPECT_NE(pair.a.closed.find("TUTTI_VERBS_CONNECT is "), std::string::npos) << pair.a.closed;
  EXPECT_NE(pair.a.closed.find("; set it alike in all processes"), std::string::npos) << pair.a.closed;
}

TEST_F(VerbsErrors, APortThatGoesDownUnderAFrameEndsTheLinkAtBothEndsWithTheStandardsWords) {
  Pair pair;
  set_fake_port_state("fake0", IBV_PORT_DOWN);
  ASSERT_EQ(pair.a.link->send(Header{}, nullptr, 0, 1), SendState::copied);

  ASSERT_TRUE(pair.both_closed());
  EXPECT_TRUE(pair.a.link->is_cut_off());
  EXPECT_NE(pair.a.closed.find("transport retry counter exceeded (wc status 12, vendor error 0x42)"),
            std::string::npos)
      << pair.a.closed;
  EXPECT_NE(pair.a.closed.find("fake1 port 1"), std::string::npos) << pair.a.closed;
  EXPECT_TRUE(pair.b.link->is_cut_off());
  EXPECT_NE(pair.b.closed.find("is closed by the peer: "), std::string::npos) << pair.b.closed;
  EXPECT_NE(pair.b.closed.find("transport retry counter exceeded"), std::string::npos) << pair.b.closed;
}

TEST_F(VerbsErrors, APortThatIsDownForAMomentCostsAnIdleLinkNothingAndOneThatStaysDownIsLost) {
  Pair pair([](VerbsOptions& options) { options.silence_limit = 300ms; });
  set_fake_port_state("fake0", IBV_PORT_DOWN);
  ASSERT_TRUE(
      until({&pair.a, &pair.b}, [&] { return pair.a.log.find("fake0 port 1 is down") != std::string::npos; }));
  set_fake_port_state("fake0", IBV_PORT_ACTIVE);
  ASSERT_TRUE(until({&pair.a, &pair.b}, [&] { return pair.a.log.find("is up again") != std::string::npos; }));
  ASSERT_EQ(pair.a.link->send(Header{}, nullptr, 0, 1), SendState::copied);
  ASSERT_TRUE(until({&pair.a, &pair.b}, [&] { return pair.b.frames == 1; }));

  set_fake_port_state("fake0", IBV_PORT_DOWN);
  ASSERT_TRUE(pair.both_closed());
  EXPECT_NE(pair.a.closed.find("is closed: fake0 port 1 has been down for "), std::string::npos) << pair.a.closed;
  EXPECT_EQ(pair.a.closed.find("and fake0 port 1 is down"), std::string::npos) << "said twice: " << pair.a.closed;
}

TEST_F(VerbsErrors, AWrongKeyEndsTheLinkAndThePayloadIsLetGoOf) {
  Pair pair;
  break_next_fake_key();
  ASSERT_EQ(pair.a.link->send(Header{}, kLarge.data(), kLarge.size(), 1), SendState::pending);

  ASSERT_TRUE(pair.both_closed());
  EXPECT_NE(pair.a.closed.find("remote access error (wc status 10"), std::string::npos) << pair.a.closed;
  EXPECT_FALSE(pair.a.link->is_cut_off());
  EXPECT_EQ(pair.b.fetched, 0u);
}

TEST_F(VerbsErrors, AFrameThatIsNoneEndsTheLink) {
  Pair pair;
  garble_next_fake_frame();
  ASSERT_EQ(pair.a.link->send(Header{}, nullptr, 0, 1), SendState::copied);

  ASSERT_TRUE(pair.both_closed());
  EXPECT_NE(pair.b.closed.find("what the peer has sent is not frame 0"), std::string::npos) << pair.b.closed;
  EXPECT_EQ(pair.b.frames, 0u);
}

TEST_F(VerbsErrors, WhenTransfersWouldPinTooMuchTheyWaitAndAllArrive) {
  Pair pair([](VerbsOptions& options) { options.pinned_bytes_max = 700'000; });
  const std::size_t before = fake_pinned_bytes();
  std::size_t taken = 0;
  ASSERT_TRUE(until({&pair.a, &pair.b}, [&] {
    if (taken < 40 && pair.a.link->send(Header{}, kLarge.data(), kLarge.size(), taken) == SendState::pending) ++taken;
    return pair.b.fetched == 40 && pair.a.sent == 40;
  }));
  // Two payloads of 300,000 bytes at a time, at each end.
  EXPECT_LE(fake_pinned_bytes_most(), before + 4 * kLarge.size());
  EXPECT_EQ(fake_pinned_bytes(), before);
}

TEST_F(VerbsErrors, WhenTheSystemRefusesToPinMoreTransfersWaitForOthers) {
  Pair pair;
  limit_fake_pinned_bytes(fake_pinned_bytes() + 2 * kLarge.size() + 1000);
  std::size_t taken = 0;
  ASSERT_TRUE(until({&pair.a, &pair.b}, [&] {
    if (taken < 40 && pair.a.link->send(Header{}, kLarge.data(), kLarge.size(), taken) == SendState::pending) ++taken;
    return (pair.b.fetched == 40 && pair.a.sent == 40) || !pair.a.closed.empty();
  }));
  EXPECT_EQ(pair.a.closed, "");
}

// What stands for a device's memory is lent as a descriptor of a file; only where it is asked for and taken counts.
TEST_F(VerbsErrors, MemoryOfADeviceIsRegisteredByItsDmaBufAndEveryWayToFailSaysSo) {
  std::vector<int> lent;
  const auto lend_large = [&](const std::byte* address, std::size_t bytes) -> std::optional<Result<DmaBuf>> {
    if (address != kLarge.data() || bytes != kLarge.size()) return std::nullopt;
    lent.push_back(memfd_create("device", MFD_CLOEXEC));
    return DmaBuf{lent.back(), 64};
  };
  {
    Pair pair([&](VerbsOptions& options) { options.find_dma_buf = lend_large; });
    ASSERT_EQ(pair.a.link->send(Header{}, kLarge.data(), kLarge.size(), 1), SendState::pending);
    ASSERT_TRUE(until({&pair.a, &pair.b}, [&] { return pair.b.fetched == 1; }));
    EXPECT_EQ(pair.b.target, kLarge);
    EXPECT_EQ(fake_dma_bufs(), 1u) << "the other end's memory is none of a device";
  }
  ASSERT_EQ(lent.size(), 1u);
  EXPECT_EQ(fcntl(lent[0], F_GETFD), -1) << "the descriptor stays open";

  const auto why_not = [](const FindDmaBuf& find) {
    Pair pair([&](VerbsOptions& options) { options.find_dma_buf = find; });
    EXPECT_EQ(pair.a.link->send(Header{}, kLarge.data(), kLarge.size(), 1), SendState::pending);
    EXPECT_TRUE(pair.both_closed());
    return pair.a.closed;
  };
  const std::string refused = why_not([](const std::byte*, std::size_t bytes) -> std::optional<Result<DmaBuf>> {
    if (bytes != kLarge.size()) return std::nullopt;
    return Status(Code::system, "the driver lends none");
  });
  EXPECT_NE(refused.find("of a device's memory cannot be registered for fake"), std::string::npos) << refused;
  EXPECT_NE(refused.find("the driver lends none"), std::string::npos) << refused;
  const std::string closed = why_not([](const std::byte*, std::size_t bytes) -> std::optional<Result<DmaBuf>> {
    if (bytes != kLarge.size()) return std::nullopt;
    return DmaBuf{-1, 0};
  });
  EXPECT_NE(closed.find("Bad file descriptor (EBADF, 9)"), std::string::npos) << closed;
}

TEST_F(VerbsErrors, LinksCostTheirRingsAndNoMore) {
  Node hub;
  const std::size_t alone = fake_pinned_bytes();
  std::vector<std::unique_ptr<Node>> others;
  std::vector<Node*> all{&hub};
  constexpr std::size_t kPeers = 32;
  for (std::size_t i = 0; i < kPeers; ++i) all.push_back(others.emplace_back(std::make_unique<Node>()).get());
  const std::size_t transports = fake_pinned_bytes();
  EXPECT_EQ(transports, alone * (kPeers + 1));
  for (const auto& other : others)
    ASSERT_TRUE(hub.transport->connect(other->id, other->transport->address(), 0, monotonic_now() + 10s).is_ok());
  const Instant give_up = monotonic_now() + 20s;
  const auto linked = [&] {
    return std::all_of(others.begin(), others.end(), [](const auto& other) { return other->link != nullptr; });
  };
  while (!linked() && monotonic_now() < give_up) {
    for (Node* const node : all) node->poll();
  }
  ASSERT_TRUE(linked());
  EXPECT_EQ(fake_pinned_bytes() - transports, 2 * kPeers * (16 << 10));
  // What the function says, but for payloads, of which there are none. (Two ports.)
  VerbsOptions options;
  options.pinned_bytes_max = 0;
  EXPECT_EQ(alone + kPeers * (16 << 10), verbs_pinned_bytes(options, 2, kPeers));
}

TEST(VerbsRegistrar, SharedRegionsAreRegisteredOnceAndForgottenWhenFreed) {
  reset_fake_verbs({fake_port("fake0")});
  int count = 0;
  ibv_device** const list = fake_library().get_device_list(&count);
  ibv_context* const context = fake_library().open_device(list[0]);
  ibv_pd* const domain = fake_library().alloc_pd(context);
  {
    SharedRegions regions;
    std::byte* const region = *regions.allocate(1 << 20);
    Registrar registrar(fake_library(), domain, &regions, {}, 1 << 20, "fake0 port 1");
    Registrar::Loan first;
    Registrar::Loan second;
    Registrar::Loan other;
    std::vector<std::byte> memory(1000);
    ASSERT_EQ(registrar.lend(Registrar::Purpose::source, region, 100, first), Registrar::Outcome::done);
    ASSERT_EQ(registrar.lend(Registrar::Purpose::target, region + 5000, 200, second), Registrar::Outcome::done);
    ASSERT_EQ(registrar.lend(Registrar::Purpose::target, memory.data(), memory.size(), other),
              Registrar::Outcome::done);
    EXPECT_EQ(first.local_key, second.local_key);
    EXPECT_NE(other.local_key, first.local_key);
    EXPECT_EQ(fake_pinned_bytes(), (1u << 20) + 1000);
    registrar.give_back(other);
    EXPECT_EQ(fake_pinned_bytes(), 1u << 20);

    ASSERT_TRUE(regions.free(region).is_ok());
    registrar.forget_freed();
    EXPECT_EQ(fake_pinned_bytes(), 0u);
    EXPECT_EQ(registrar.kept(), 0u);
  }
  fake_library().dealloc_pd(domain);
  fake_library().close_device(context);
  fake_library().free_device_list(list);
}

}  // namespace tutti::verbs
