// Two real processes: every way of moving a payload with its bits checked, sleeping and waking, and the death of one
// of them, also when a child of the dead still holds its sockets.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/random.h"
#include "tests/transport_shm/node.h"

namespace tutti::shm_test {
namespace {

// A child process that runs `act` with a channel for addresses, and is gone at the end of the test.
class Child {
 public:
  explicit Child(const std::function<int(int channel)>& act) {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pipes_.data()), 0);
    pid_ = fork();
    if (pid_ != 0) {
      close(pipes_[1]);
      return;
    }
    close(pipes_[0]);
    _exit(act(pipes_[1]));
  }
  ~Child() {
    close(pipes_[0]);
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  pid_t pid() const { return pid_; }
  int channel() const { return pipes_[0]; }
  void kill() const { ::kill(pid_, SIGKILL); }
  int exit_code() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  std::array<int, 2> pipes_{-1, -1};
  pid_t pid_ = -1;
};

std::vector<std::byte> swap_addresses(int channel, Node& node) {
  std::vector<std::byte> other(4096);
  const auto own = node.transport->address();
  if (write(channel, own.data(), own.size()) < 0) return {};
  const ssize_t got = read(channel, other.data(), other.size());
  other.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return other;
}

void fill(std::byte* data, std::size_t bytes, std::uint64_t seed) {
  for (std::size_t i = 0; i < bytes; i += 8) {
    seed = seed * 0x9e3779b97f4a7c15ull + 12345;
    std::memcpy(data + i, &seed, std::min<std::size_t>(8, bytes - i));
  }
}

bool is_filled(const std::byte* data, std::size_t bytes, std::uint64_t seed) {
  std::vector<std::byte> expected(bytes);
  fill(expected.data(), bytes, seed);
  return bytes == 0 || std::memcmp(expected.data(), data, bytes) == 0;
}

std::size_t size_of_frame(std::uint64_t index) {
  Random random(index);
  const std::uint64_t kind = random.below(10);
  if (kind < 4) return random.below(100);
  if (kind < 7) return random.below(9'000);
  return kind < 9 ? random.below(200'000) : (1 << 20) - random.below(2);
}

constexpr std::uint64_t kFrames = 400;

// Sends kFrames frames, those in a region from a region; the other side checks every bit of them.
int send_bulk(Node& node, Link* link, bool from_region) {
  constexpr std::size_t kPlaces = 4;
  constexpr std::size_t kPlaceBytes = 1 << 20;
  std::vector<std::byte> own(kPlaces * kPlaceBytes);
  std::byte* const memory = from_region ? *node.regions.allocate(own.size()) : own.data();
  std::size_t pending = 0;
  for (std::uint64_t i = 0; i < kFrames; ++i) {
    std::byte* const place = memory + i % kPlaces * kPlaceBytes;
    const std::size_t bytes = size_of_frame(i);
    // A pending payload must not change: the place is used again only when all earlier ones were sent.
    if (i % kPlaces == 0 && !node.until([&] { return node.sent == pending; })) return 2;
    fill(place, bytes, i);
    SendState state = SendState::again;
    if (!node.until([&] { return (state = link->send(header_of(i), place, bytes, i)) != SendState::again; }))
      return 3;
    if (state == SendState::closed) return 4;
    if (state == SendState::pending) ++pending;
    if (state == SendState::copied) std::memset(place, 0xee, bytes);
  }
  return node.until([&] { return node.sent == pending && link->is_drained(); }) ? 0 : 5;
}

class Bulk : public ::testing::TestWithParam<std::pair<ShmCopyMode, bool>> {};

TEST_P(Bulk, ArrivesWholeAndInOrderInAnotherProcess) {
  const auto [mode, from_region] = GetParam();
  auto options = options_for(2);
  options.copy_mode = mode;
  Child child([&](int channel) {
    Node node(options);
    const auto address = swap_addresses(channel, node);
    Link* const link = node.connect(ProcessId{{1, 1}}, address);
    if (!link || !node.until([&] { return link->is_open(); })) return 1;
    return send_bulk(node, link, from_region);
  });
  options = options_for(1);
  options.copy_mode = mode;
  Node node(options);
  std::uint64_t next = 0;
  bool saw_in_place = false;
  bool saw_fetch = false;
  bool all_right = true;
  std::vector<std::byte> target(1 << 20);
  node.on_delivery = [&](const Event& event) {
    all_right = all_right && event.header.words[0] == next && event.bytes == size_of_frame(next);
    saw_in_place |= event.in_place;
    const std::byte* data = event.data;
    if (!data && event.bytes > 0) {
      saw_fetch = true;
      all_right = all_right && event.link->fetch(event.token, target.data()) == FetchState::done;
      data = target.data();
    }
    all_right = all_right && is_filled(data, event.bytes, next);
    event.link->release(event.token);
    ++next;
  };
  (void)swap_addresses(child.channel(), node);

  EXPECT_TRUE(node.until([&] { return next == kFrames && !node.closed.empty(); }));

  EXPECT_EQ(next, kFrames);
  EXPECT_TRUE(all_right);
  EXPECT_EQ(saw_in_place, from_region);
  EXPECT_EQ(saw_fetch, mode == ShmCopyMode::cross_memory && !from_region);
  EXPECT_EQ(child.exit_code(), 0);
  ASSERT_EQ(node.closed.size(), 1u);
  EXPECT_NE(node.closed[0]->status().text().find("process "), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Ways, Bulk,
                         ::testing::Values(std::pair{ShmCopyMode::staging, false},
                                           std::pair{ShmCopyMode::cross_memory, false},
                                           std::pair{ShmCopyMode::automatic, true}));

TEST(ShmProcesses, PlayPingPongWhileEachSleepsWheneverItHasNothingToDo) {
  static constexpr std::uint64_t kRounds = 3000;
  const auto play = [](Node& node, Link*& link, bool begins) {
    std::uint64_t received = 0;
    node.on_delivery = [&](const Event& event) {
      if (event.header.words[0] == received) ++received;
      event.link->release(event.token);
    };
    std::uint64_t sent = 0;
    while (received < kRounds || sent < kRounds) {
      if (!link && !node.connected.empty()) link = node.connected[0];
      if (link && link->is_open() && sent < std::min(kRounds, received + (begins ? 1 : 0)) &&
          link->send(header_of(sent), nullptr, 0, 0) == SendState::copied) {
        ++sent;
        continue;
      }
      if (node.poll() > 0 || !node.transport->prepare_wait()) continue;
      pollfd entry{node.transport->wait_descriptor(), POLLIN, 0};
      const int woken = ::poll(&entry, 1, 20'000);
      node.transport->finish_wait();
      if (woken != 1) return false;
    }
    return true;
  };
  Child child([&](int channel) {
    Node node(2);
    const auto address = swap_addresses(channel, node);
    Link* link = node.connect(ProcessId{{1, 1}}, address);
    return link && play(node, link, true) ? 0 : 1;
  });
  Node node(1);
  (void)swap_addresses(child.channel(), node);
  Link* link = nullptr;

  EXPECT_TRUE(play(node, link, false)) << "a wake-up was lost";
  EXPECT_EQ(child.exit_code(), 0);
}

// The victim streams without end; `grandchild` leaves a copy of all its descriptors in a process that lives on.
void stream_until_killed(int channel, bool grandchild) {
  Node node(2);
  const auto address = swap_addresses(channel, node);
  Link* const link = node.connect(ProcessId{{1, 1}}, address);
  if (!link || !node.until([&] { return link->is_open(); })) _exit(1);
  pid_t left_behind = 0;
  if (grandchild && (left_behind = fork()) == 0) {
    for (;;) pause();
  }
  if (write(channel, &left_behind, sizeof left_behind) < 0) _exit(1);
  std::vector<std::byte> payload(100'000);
  for (std::uint64_t i = 0;; ++i) {
    fill(payload.data(), payload.size(), i);
    node.until([&] { return link->send(header_of(i), payload.data(), payload.size(), i) != SendState::again; });
  }
}

class Death : public ::testing::TestWithParam<bool> {};

TEST_P(Death, OfThePeerGivesOneClosedEventAfterWholeFramesOnly) {
  const bool grandchild = GetParam();
  Child child([&](int channel) {
    stream_until_killed(channel, grandchild);
    return 0;
  });
  Node node(1);
  std::uint64_t next = 0;
  bool all_right = true;
  node.on_delivery = [&](const Event& event) {
    all_right = all_right && event.header.words[0] == next && is_filled(event.data, event.bytes, next);
    event.link->release(event.token);
    ++next;
  };
  (void)swap_addresses(child.channel(), node);
  ASSERT_TRUE(node.until([&] { return next > 50; }));
  pid_t left_behind = 0;
  ASSERT_EQ(read(child.channel(), &left_behind, sizeof left_behind), static_cast<ssize_t>(sizeof left_behind));

  child.kill();
  const Instant killed = monotonic_now();
  ASSERT_TRUE(node.until([&] { return !node.closed.empty(); }));
  RecordProperty(
      "noticed_after_us",
      static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(monotonic_now() - killed).count()));
  for (int i = 0; i < 2000; ++i) node.poll();

  EXPECT_TRUE(all_right);
  ASSERT_EQ(node.closed.size(), 1u);
  EXPECT_EQ(node.closed[0]->status().code(), Code::peer_lost);
  EXPECT_NE(node.closed[0]->status().text().find(format("process {} on {} ended", child.pid(), host_name())),
            std::string::npos)
      << node.closed[0]->status().text();
  EXPECT_EQ(node.closed[0]->send(Header{}, nullptr, 0, 0), SendState::closed);
  node.transport->forget(node.closed[0]);
  if (left_behind > 0) kill(left_behind, SIGKILL);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutAChildOfItsOwn, Death, ::testing::Bool());

TEST(ShmProcesses, ASleeperIsWokenByTheDeathOfItsPeer) {
  Child child([](int channel) {
    Node node(2);
    const auto address = swap_addresses(channel, node);
    Link* const link = node.connect(ProcessId{{1, 1}}, address);
    if (!link || !node.until([&] { return link->is_open(); })) return 1;
    for (;;) pause();
  });
  Node node(1);
  (void)swap_addresses(child.channel(), node);
  ASSERT_TRUE(node.until([&] { return !node.connected.empty(); }));

  while (!node.transport->prepare_wait()) node.poll();
  child.kill();
  pollfd entry{node.transport->wait_descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 20'000), 1);
  node.transport->finish_wait();
  EXPECT_TRUE(node.until([&] { return node.closed.size() == 1; }));
}

TEST(ShmProcesses, AForkedChildThatExitsDoesNotDisturbTheParent) {
  auto a = std::make_unique<Node>(1);
  Node b(2);
  Link* const link = a->join(b);
  b.poll();

  const pid_t child = fork();
  if (child == 0) {
    a.reset();  // destructors run, as they do when a forked child leaves main
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);

  for (int i = 0; i < 1000; ++i) {
    a->poll();
    b.poll();
  }
  EXPECT_TRUE(a->closed.empty());
  EXPECT_TRUE(b.closed.empty());
  ASSERT_EQ(link->send(header_of(5), nullptr, 0, 0), SendState::copied);
  EXPECT_TRUE(b.until([&] { return b.delivered == 1; }));
}

}  // namespace
}  // namespace tutti::shm_test
