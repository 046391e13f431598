// The transport over NCCL's plug-ins: every version of the interface moves frames, what is no plug-in or a bad one is
// refused with a sentence, and what a plug-in fails in under a link ends that link with the plug-in's own words.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "tests/conformance/tcp_world.h"
#include "tests/transport_ncclnet/broken_plugin.h"
#include "transports/ncclnet/ncclnet.h"
#include "transports/ncclnet/wire.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;

struct Node {
  explicit Node(const std::string& plugin, const std::vector<std::string>& devices = {}) {
    id = *new_process_id();
    NcclnetOptions options;
    options.fabric.process = id;
    options.fabric.host_name = "node";
    options.fabric.log = Log(LogLevel::debug, [this](LogLevel, std::string_view area, std::string_view text) {
      log += std::string(area) + ": " + std::string(text) + "\n";
    });
    options.plugin = plugin;
    options.devices = devices;
    auto made = make_ncclnet_transport(conformance::make_loopback_tcp(id, 1), std::move(options));
    if (made) transport = *std::move(made);
    status = made.status();
  }

  void poll() {
    Event events[16];
    const std::size_t count = transport->poll(events, monotonic_now());
    for (std::size_t i = 0; i < count; ++i) {
      const Event& event = events[i];
      if (event.kind == EventKind::connected) link = event.link;
      if (event.kind == EventKind::sent) ++sent;
      if (event.kind == EventKind::closed) closed = event.link->status();
      if (event.kind == EventKind::closed) is_cut_off = event.link->is_cut_off();
      if (event.kind == EventKind::fetched) got.push_back(target);
      if (event.kind == EventKind::fetched) event.link->release(event.token);
      if (event.kind != EventKind::delivery) continue;
      if (holds) {
        held.push_back(event);
        continue;
      }
      target.assign(event.bytes, std::byte{});
      if (event.data == nullptr && event.bytes > 0) {
        static_cast<void>(event.link->fetch(event.token, target.data()));
        continue;
      }
      got.emplace_back(event.data, event.data + event.bytes);
      event.link->release(event.token);
    }
  }

  ProcessId id;
  std::string log;
  Status status;
  std::unique_ptr<Transport> transport;
  Link* link = nullptr;
  int sent = 0;
  bool holds = false;  // fetches nothing
  std::vector<Event> held;
  Status closed;
  bool is_cut_off = false;
  std::vector<std::byte> target;
  std::vector<std::vector<std::byte>> got;
};

bool until(Node& a, Node& b, const std::function<bool()>& condition) {
  const Instant give_up = monotonic_now() + 20s;
  while (monotonic_now() < give_up) {
    if (condition()) return true;
    a.poll();
    b.poll();
  }
  return false;
}

// Whether the link came to be; else it was closed on both sides.
bool join(Node& a, Node& b) {
  const auto link = a.transport->connect(b.id, b.transport->address(), 0, monotonic_now() + 10s);
  EXPECT_TRUE(link.is_ok()) << link.status().text();
  EXPECT_TRUE(until(a, b, [&] { return (a.link != nullptr && b.link != nullptr) || !a.closed.is_ok(); }));
  return a.link != nullptr && b.link != nullptr;
}

// Two nodes over a plug-in that a test breaks.
struct Pair {
  explicit Pair(const char* version) : copy(version), a(copy.path()), b(copy.path()) {}
  // With a link, under which this goes wrong from now on.
  bool join_and_break(const char* what) {
    const bool is_joined = join(a, b);
    break_plugin(copy.path(), what);
    return is_joined;
  }

  const PluginCopy copy;
  Node a;
  Node b;
};

std::vector<std::byte> pattern(std::size_t bytes) {
  std::vector<std::byte> made(bytes);
  for (std::size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::byte>(i * 7 + i / 251);
  return made;
}

std::string refusal(const std::string& plugin, const std::vector<std::string>& devices = {}) {
  const Node node(plugin, devices);
  EXPECT_EQ(node.transport, nullptr);
  EXPECT_TRUE(node.status.code() == Code::unsupported || node.status.code() == Code::invalid) << node.status.text();
  return node.status.text();
}

}  // namespace

class NcclnetVersions : public ::testing::TestWithParam<const char*> {};

TEST_P(NcclnetVersions, FramesOfEverySizeGetThrough) {
  Node a(test_plugin(GetParam()));
  Node b(test_plugin(GetParam()), {"lo1"});
  ASSERT_NE(a.transport, nullptr) << a.status.text();
  ASSERT_NE(b.transport, nullptr) << b.status.text();
  ASSERT_TRUE(join(a, b));

  const std::size_t sizes[] = {0, 8, 16 << 10, (16 << 10) + 1, 300'000, 4 << 20};
  std::vector<std::vector<std::byte>> sent;
  for (const std::size_t size : sizes) {
    sent.push_back(pattern(size));
    ASSERT_TRUE(
        until(a, b, [&] { return a.link->send({}, sent.back().data(), size, sent.size()) != SendState::again; }));
    ASSERT_TRUE(until(a, b, [&] { return b.got.size() == sent.size(); })) << size << b.closed.text();
  }

  EXPECT_EQ(b.got, sent);
  EXPECT_NE(a.log.find("ncclnet: NCCL plug-in Test (" + std::string(GetParam()) + ") of "), std::string::npos)
      << a.log;
  EXPECT_NE(b.log.find("uses device 1, lo1"), std::string::npos) << b.log;
}

INSTANTIATE_TEST_SUITE_P(All, NcclnetVersions, ::testing::Values("v8", "v9", "v10", "v11", "v12"));

TEST(Ncclnet, WhatIsNoPlugInIsRefusedWithASentence) {
  const std::string missing = refusal("no-such-thing");
  EXPECT_EQ(missing.find("libnccl-net-no-such-thing.so cannot be loaded: "), 0u) << missing;
  EXPECT_NE(missing.find("Install it, or leave it out of TUTTI_TRANSPORTS"), std::string::npos) << missing;

  const PluginCopy text("v8");
  std::ofstream(text.path()) << "not a library";
  EXPECT_EQ(refusal(text.path()).find(text.path() + " cannot be loaded: "), 0u) << refusal(text.path());

  EXPECT_EQ(
      refusal("libm.so.6"),
      "libm.so.6 has no ncclNetPlugin_v8 to 12: it is not a network plug-in of NCCL's, or one of another version");
  EXPECT_EQ(refusal(test_plugin("old")), test_plugin("old") +
                                             " has version 7 of NCCL's interface for networks; expected 8 to 12. "
                                             "Install one for NCCL 2.20 or later");
  EXPECT_EQ(refusal(test_plugin("short")), "ncclNetPlugin_v10 of " + test_plugin("short") +
                                               " has 152 bytes; expected at least 160: it is no table of that "
                                               "version. Install a plug-in that fits");
}

struct Fault {
  const char* what;
  const char* version;
  std::string sentence;  // FILE and SYMBOL stand for the names
};

class NcclnetFaults : public ::testing::TestWithParam<Fault> {};

TEST_P(NcclnetFaults, ABadPlugInIsRefusedWithASentence) {
  const PluginCopy copy(GetParam().version);
  break_plugin(copy.path(), GetParam().what);
  std::string expected = GetParam().sentence;
  const std::size_t at = expected.find("FILE");
  if (at != std::string::npos) expected.replace(at, 4, copy.path());
  EXPECT_EQ(refusal(copy.path()), expected);
}

INSTANTIATE_TEST_SUITE_P(
    All, NcclnetFaults,
    ::testing::Values(
        Fault{"no name", "v8", "ncclNetPlugin_v8 of FILE has no name. Install a plug-in that fits"},
        Fault{"no functions", "v8", "ncclNetPlugin_v8 of FILE has no init. Install a plug-in that fits"},
        Fault{"no closeListen", "v11", "ncclNetPlugin_v11 of FILE has no closeListen. Install a plug-in that fits"},
        Fault{
            "init", "v12",
            "NCCL plug-in Test (v12) of FILE cannot be used: init: ncclSystemError (2), its last warning: TEST/NET : "
            "init was told to fail"},
        Fault{
            "devices", "v9",
            "NCCL plug-in Test (v9) of FILE cannot be used: devices: ncclSystemError (2), its last warning: TEST/NET "
            ": devices was told to fail"},
        Fault{"no devices", "v8", "NCCL plug-in Test (v8) of FILE cannot be used: it has 0 devices here"},
        Fault{"getProperties", "v10",
              "NCCL plug-in Test (v10) of FILE cannot be used: getProperties of device 0: ncclSystemError (2), its "
              "last "
              "warning: TEST/NET : getProperties was told to fail"},
        Fault{"device without a name", "v8", "NCCL plug-in Test (v8) of FILE cannot be used: device 0 has no name"},
        Fault{
            "no connections", "v8",
            "NCCL plug-in Test (v8) of FILE cannot be used: device 0 (lo0) has at most 0 connections and 1 receives "
            "at a time, which is of no use"},
        Fault{"no receives", "v12",
              "NCCL plug-in Test (v12) of FILE cannot be used: device 0 (lo0) has at most 65536 connections and -1 "
              "receives at a time, which is of no use"},
        Fault{
            "no host memory", "v9",
            "NCCL plug-in Test (v9) of FILE cannot be used: device 0 (lo0) moves nothing from or to a host's memory "
            "(ptrSupport 0x2)"},
        Fault{"short messages", "v12",
              "NCCL plug-in Test (v12) moves at most 4096 bytes at a time on device lo0; expected 4194304 or more"}));

TEST(Ncclnet, OfSeveralTheFirstThatCanBeUsedIs) {
  const Node node(test_plugin("old") + ",no-such-thing," + test_plugin("v8"));
  EXPECT_NE(node.transport, nullptr) << node.status.text();
  const std::string none = refusal(test_plugin("old") + ",no-such-thing");
  EXPECT_NE(none.find("has version 7"), std::string::npos) << none;
  EXPECT_NE(none.find("; libnccl-net-no-such-thing.so cannot be loaded"), std::string::npos) << none;
  EXPECT_EQ(refusal(","), "no plug-in is named");
}

TEST(Ncclnet, ADeviceIsTakenByItsNameOrNumber) {
  EXPECT_NE(Node(test_plugin("v10"), {"lo1"}).transport, nullptr);
  EXPECT_NE(Node(test_plugin("v10"), {"1"}).log.find("uses device 1, lo1"), std::string::npos);
  EXPECT_EQ(refusal(test_plugin("v10"), {"lo0", "mlx5_0"}),
            "NCCL plug-in Test (v10) has no device mlx5_0 (TUTTI_NCCLNET_DEVICES); there are 0 (lo0), 1 (lo1)");
  EXPECT_EQ(refusal(test_plugin("v10"), {"lo1", "1"}),
            "device lo1 is named twice (TUTTI_NCCLNET_DEVICES); give each once");
}

TEST(Ncclnet, EachDeviceIsALane) {
  EXPECT_EQ(Node(test_plugin("v10")).transport->capabilities().lanes_max, 1u);
  EXPECT_EQ(Node(test_plugin("v10"), {"lo1", "lo0"}).transport->capabilities().lanes_max, 2u);
  Node a(test_plugin("v10"), {"all"});
  Node b(test_plugin("v10"), {"lo1"});  // to its one device go both
  for (const std::uint32_t lane : {1u, 0u}) {
    a.link = b.link = nullptr;
    ASSERT_TRUE(a.transport->connect(b.id, b.transport->address(), lane, monotonic_now() + 10s).is_ok());
    ASSERT_TRUE(until(a, b, [&] { return a.link != nullptr && b.link != nullptr; }));
    EXPECT_EQ(b.link->lane(), lane);
    EXPECT_NE(a.link->describe().find(lane == 0 ? ", lane 0 by lo0" : ", lane 1 by lo1"), std::string::npos);
  }
}

TEST(Ncclnet, WhatFailedOnceMayWorkLater) {
  const PluginCopy copy("v9");
  break_plugin(copy.path(), "init");
  EXPECT_NE(refusal(copy.path()), "");
  break_plugin(copy.path(), "");
  EXPECT_NE(Node(copy.path()).transport, nullptr);
}

TEST(Ncclnet, AForkOfAProcessThatHasOneMakesNone) {
  const Node node(test_plugin("v11"));
  ASSERT_NE(node.transport, nullptr) << node.status.text();
  const pid_t child = fork();
  if (child == 0) {
    const Node forked(test_plugin("v11"));
    _exit(forked.status.text().find("process " + std::to_string(getppid()) +
                                    " has started it, of which this one is a fork") == std::string::npos);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Other plug-ins than the peer's are another way, whatever is behind their names.
TEST(Ncclnet, OnlyTheSamePlugInIsReached) {
  const Node a(test_plugin("v8"));
  const Node b(test_plugin("v12"));
  ASSERT_NE(a.transport, nullptr);
  ASSERT_NE(b.transport, nullptr);
  EXPECT_TRUE(a.transport->reaches(b.transport->address()));  // of another version of the interface
  std::vector<std::byte> other(b.transport->address().begin(), b.transport->address().end());
  for (std::size_t i = 0; i + 4 <= other.size(); ++i) {
    if (std::memcmp(&other[i], "Test", 4) == 0) other[i] = std::byte{'B'};
  }
  EXPECT_FALSE(a.transport->reaches(other));
}

struct Breakage {
  const char* call;
  int after;
  const char* words;
};

class NcclnetBreaks : public ::testing::TestWithParam<Breakage> {};

// The call fails at one end, or at both; each end's sentence has the peer, and the plug-in's words where it failed.
TEST_P(NcclnetBreaks, AFailureUnderALinkEndsItWithThePlugInsWords) {
  const PluginCopy copy("v10");
  break_plugin(copy.path(), "");
  Node a(copy.path());
  Node b(copy.path());
  ASSERT_NE(a.transport, nullptr) << a.status.text();
  break_plugin(copy.path(), GetParam().call, GetParam().after);

  const std::vector<std::byte> payload = pattern(1 << 20);
  if (join(a, b)) {
    for (std::uint64_t cookie = 1; a.closed.is_ok() && cookie < 100; ++cookie) {
      until(a, b, [&] {
        return !a.closed.is_ok() || a.link->send({}, payload.data(), payload.size(), cookie) != SendState::again;
      });
    }
  }
  ASSERT_TRUE(until(a, b, [&] { return !a.closed.is_ok(); }));

  const std::string expected = std::string(GetParam().call) + " was told to fail";
  const std::string said = a.closed.text() + "\n" + b.closed.text() + "\n" + a.log + b.log;
  EXPECT_NE(said.find(GetParam().words), std::string::npos) << said;
  EXPECT_NE(a.closed.text().find("(pid "), std::string::npos) << said;
  EXPECT_EQ(said.find(expected) != std::string::npos, std::string_view(GetParam().call) != "lie") << said;
}

INSTANTIATE_TEST_SUITE_P(
    All, NcclnetBreaks,
    ::testing::Values(Breakage{"listen", 0, "NCCL plug-in Test (v10): listen: ncclSystemError (2)"},
                      Breakage{"connect", 1, "connect: ncclSystemError (2)"},
                      Breakage{"accept", 1, "accept: ncclSystemError (2)"},
                      Breakage{"regMr", 0, "regMr: ncclSystemError (2)"},
                      Breakage{"isend", 30, "isend: ncclSystemError (2)"},
                      Breakage{"irecv", 30, "irecv: ncclSystemError (2)"},
                      Breakage{"test of a send", 100, "test of an isend: ncclSystemError (2)"},
                      Breakage{"test of a receive", 100, "test of an irecv: ncclSystemError (2)"},
                      Breakage{"lie", 30, "test of an irecv: 4294967295 bytes came of a body of 1048576"}));

struct Words : fabric::PortUser, fabric::WireUser {
  void on_sent(std::uint64_t) override {}
  void on_fetched(std::uint64_t) override {}
  void on_failed(const std::string& words) override { failed = words; }
  void on_message(const fabric::Message&) override {}
  std::string failed;
};

// What comes over a connection for payloads has no key of its own: who connects has to show it before.
TEST(Ncclnet, PayloadsAreTakenOnlyFromWhoKnowsTheKey) {
  const auto plugin = ncclnet::Plugin::load(test_plugin("v10"));
  ASSERT_TRUE(plugin.is_ok()) << plugin.status().text();
  ncclnet::NcclnetWire wire(**plugin, (*plugin)->devices({})->front(), {});
  Words a_words, b_words, other_words;
  wire.set_user(a_words);
  const auto a = *wire.open(a_words);
  const auto b = *wire.open(b_words);
  const auto other = *wire.open(other_words);
  std::vector<std::byte> mixed(a->address().begin(), a->address().end());
  const auto handle = other->address().last(ncclnet::kHandleBytes);
  std::copy(handle.begin(), handle.end(), mixed.end() - ncclnet::kHandleBytes);
  ASSERT_TRUE(a->connect(b->address()).is_ok());
  ASSERT_TRUE(b->connect(mixed).is_ok());

  const Instant give_up = monotonic_now() + 20s;
  while (other_words.failed.empty() && monotonic_now() < give_up) wire.progress();

  EXPECT_NE(other_words.failed.find("a connection for payloads came with 8 bytes that are not the key of the link"),
            std::string::npos)
      << other_words.failed;
  EXPECT_FALSE(a->is_ready());
}

// Memory that the plug-in did not let go of may still be written by it: it is never given back.
TEST(Ncclnet, APlugInThatDoesNotReleaseMemoryCostsMemoryAndNothingElse) {
  Pair pair("v12");
  auto& [copy, a, b] = pair;
  ASSERT_TRUE(pair.join_and_break("deregMr"));
  a.link->close({});
  ASSERT_TRUE(until(a, b, [&] { return !a.closed.is_ok() && !b.closed.is_ok(); }));
}

// More at a time than a plug-in is given, both ways: who waits for room to receive goes on sending.
TEST(Ncclnet, PayloadsBothWaysDoNotWaitForEachOther) {
  Node a(test_plugin("v10"));
  Node b(test_plugin("v10"));
  ASSERT_TRUE(join(a, b));
  constexpr std::size_t kFrames = ncclnet::kLentMax + 4;
  const std::vector<std::byte> payload = pattern(100'000);
  a.holds = b.holds = true;
  for (std::uint64_t i = 0; i < kFrames; ++i) {
    for (Node* const node : {&a, &b})
      ASSERT_TRUE(
          until(a, b, [&] { return node->link->send({}, payload.data(), payload.size(), i) == SendState::pending; }));
  }
  ASSERT_TRUE(until(a, b, [&] { return a.held.size() == kFrames && b.held.size() == kFrames; }));

  std::vector<std::vector<std::byte>> targets(2 * kFrames, std::vector<std::byte>(payload.size()));
  auto target = targets.begin();
  for (Node* const node : {&a, &b}) {
    for (const Event& event : node->held) static_cast<void>(event.link->fetch(event.token, (target++)->data()));
  }
  ASSERT_TRUE(until(a, b, [&] { return a.got.size() == kFrames && b.got.size() == kFrames; }));
  for (const auto& each : targets) ASSERT_EQ(each, payload);
}

// What it had said that it has sent: other connections show the end of the process before all of it has been read.
TEST(Ncclnet, WhatAProcessHasSentBeforeItEndsComes) {
  Pair pair("v10");
  auto& [copy, a, b] = pair;
  ASSERT_TRUE(pair.join_and_break("trickle"));
  const std::vector<std::byte> payload = pattern(200'000);
  ASSERT_TRUE(until(a, b, [&] { return a.link->send({}, payload.data(), payload.size(), 1) == SendState::pending; }));
  ASSERT_TRUE(until(a, b, [&] { return a.sent == 1; }));
  ASSERT_TRUE(b.got.empty());

  a.transport.reset();
  const Instant give_up = monotonic_now() + 20s;
  while (b.closed.is_ok() && monotonic_now() < give_up) b.poll();

  ASSERT_EQ(b.got.size(), 1u) << b.closed.text();
  EXPECT_EQ(b.got.front(), payload);
  EXPECT_FALSE(b.closed.is_ok());
}

// Payloads may be written to, or read, after their link has ended: no other way may go on with them, and the plug-in
// is given nothing more.
TEST(Ncclnet, APlugInThatDoesNotLetGoOfAPayloadIsNotUsedAnyMore) {
  Pair pair("v9");
  auto& [copy, a, b] = pair;
  ASSERT_TRUE(pair.join_and_break("deregMr"));
  const std::vector<std::byte> payload = pattern(200'000);
  ASSERT_TRUE(until(a, b, [&] { return a.link->send({}, payload.data(), payload.size(), 1) == SendState::pending; }));
  ASSERT_TRUE(until(a, b, [&] { return !a.closed.is_ok() && !b.closed.is_ok(); }));

  const Node& refused = a.log.find("has not let go") != std::string::npos ? a : b;
  const std::string said = refused.closed.text();
  EXPECT_FALSE(refused.is_cut_off) << said;
  EXPECT_NE(said.find("NCCL plug-in Test (v9), device lo0 has not let go of memory that was under way, and may still "
                      "write to it: deregMr: ncclSystemError (2)"),
            std::string::npos)
      << said;
  EXPECT_NE(refused.log.find(said), std::string::npos) << refused.log;

  Node c(copy.path());
  Node d(copy.path());
  EXPECT_FALSE(join(c, d));
  EXPECT_NE(
      c.closed.text().find("NCCL plug-in Test (v9) is not used any more by this process, since it has not let go "
                           "of memory: deregMr: ncclSystemError (2)"),
      std::string::npos)
      << c.closed.text();
}

}  // namespace tutti
