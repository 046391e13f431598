// What anybody on the network may send to a listener of libfabric's without being one of the job.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/transport_ofi/node.h"

namespace tutti::ofi {
namespace {

using namespace std::chrono_literals;

bool can_sleep(Node& node) {
  if (!node.wire->prepare_wait()) return false;
  pollfd its{.fd = node.wire->wait_descriptor(), .events = POLLIN, .revents = 0};
  return its.fd < 0 || poll(&its, 1, 0) == 0;
}

class OfiStrangers : public ::testing::TestWithParam<const char*> {
 protected:
  void send_to_listener_of(const Node& node, const std::vector<char>& words) {
    sockaddr_storage to{};
    const auto address = node.port->address().subspan(sizeof(std::uint64_t));
    ASSERT_LE(address.size(), sizeof to);
    std::memcpy(&to, address.data(), address.size());
    sockets_.push_back(socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(sockets_.back(), reinterpret_cast<sockaddr*>(&to), static_cast<socklen_t>(address.size())),
              0);
    ASSERT_EQ(send(sockets_.back(), words.data(), words.size(), MSG_NOSIGNAL), static_cast<ssize_t>(words.size()));
  }
  void expect_that_they_talk(Node& a, Node& b) {
    const Status met = meet(a, b);
    ASSERT_TRUE(met.is_ok()) << met.text();
    ASSERT_TRUE(say(a, "all the same"));
    EXPECT_TRUE(until({&a, &b}, [&] { return !b.small.empty(); }));
  }

  // None of them may keep a process awake that it has gone from.
  void go(Node& node) {
    for (const int each : sockets_) ::close(each);
    EXPECT_TRUE(until({&node}, [&] {
      errno = EAGAIN;
      return can_sleep(node);
    }));
  }

  std::vector<int> sockets_;
};

TEST_P(OfiStrangers, NonsenseHurtsNobody) {
  Node a(GetParam());
  Node b(GetParam());
  for (const std::size_t bytes : {0u, 1u, 7u, 64u, 300u, 5000u}) {
    send_to_listener_of(a, std::vector<char>(bytes, static_cast<char>(bytes)));
    a.wire->progress();
  }
  expect_that_they_talk(a, b);
  go(a);
}

// The head of a connection request as libfabric's tcp and net send it, which tells of eight bytes that do not come.
TEST_P(OfiStrangers, WhoStopsInTheMiddleOfARequestHoldsUpNobody) {
  constexpr std::size_t kHeadBytes = 32;
  constexpr char kVersion = 3;
  constexpr char kConnectionRequest = 0;
  std::vector<char> head(kHeadBytes);
  head[0] = kVersion;
  head[1] = kConnectionRequest;
  const std::uint16_t data_bytes = htons(8);
  std::memcpy(&head[2], &data_bytes, sizeof data_bytes);

  Node a(GetParam());
  Node b(GetParam());
  for (int i = 0; i < 3; ++i) send_to_listener_of(a, head);
  // So that a process that is held up for good fails the test and does not stop it.
  std::mutex mutex;
  std::condition_variable wake;
  bool is_over = false;
  bool was_held_up = false;
  std::thread guard([&] {
    std::unique_lock lock(mutex);
    if (wake.wait_for(lock, 5s, [&] { return is_over; })) return;
    was_held_up = true;
    for (const int each : sockets_) shutdown(each, SHUT_RDWR);
  });
  expect_that_they_talk(a, b);
  {
    const std::lock_guard lock(mutex);
    is_over = true;
  }
  wake.notify_one();
  guard.join();
  EXPECT_FALSE(was_held_up);
  go(a);
}

// Over net, which libfabric 1.17 is the last to have, the same holds; but it never closes the connection of who
// stopped.
INSTANTIATE_TEST_SUITE_P(Of, OfiStrangers, ::testing::Values("tcp", "tcp;ofi_rxm"));

}  // namespace
}  // namespace tutti::ofi
