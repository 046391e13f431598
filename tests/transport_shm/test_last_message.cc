// The last message before a socket's end, where it comes in the middle of a look for messages. The kernel (its
// net/unix/af_unix.c) looks for a message first and for the end afterwards. A test cannot stop it in between, so it
// puts its own recvmsg(2) in front: the kernel's, in those two parts, with what others do meanwhile between them.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <utility>

#include "tests/transport_shm/node.h"
#include "transports/shm/socket.h"

namespace {

std::function<void()> meanwhile;  // empty: the kernel's own recvmsg(2)
int overlooked = 0;               // ends that were reported in front of an unread message

}  // namespace

extern "C" ssize_t recvmsg(int fd, msghdr* header, int flags) {
  const ssize_t got = syscall(SYS_recvmsg, fd, header, flags);
  if (got >= 0 || errno != EAGAIN || !meanwhile) return got;
  const std::function<void()> others = std::exchange(meanwhile, nullptr);  // they look, too, but as usual
  others();
  meanwhile = others;
  pollfd end{fd, POLLRDHUP, 0};
  if (poll(&end, 1, 0) != 1 || (end.revents & POLLRDHUP) == 0) {
    errno = EAGAIN;
    return -1;
  }
  char byte = 0;
  overlooked += recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  header->msg_controllen = 0;
  header->msg_flags = 0;
  return 0;
}

namespace tutti::shm_test {
namespace {

using namespace tutti::shm;

class LastMessage : public ::testing::Test {
 protected:
  LastMessage() { overlooked = 0; }
  ~LastMessage() override { meanwhile = nullptr; }
};

struct Sockets {
  Sockets() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    ours = Descriptor(ends[0]);
    theirs = Descriptor(ends[1]);
  }
  Descriptor ours;
  Descriptor theirs;
};

TEST_F(LastMessage, ComesBeforeTheEndAlsoWhereBothComeDuringOneLook) {
  for (const bool has_descriptor : {false, true}) {
    Sockets sockets;
    const Descriptor attached = std::move(*new_socket());
    meanwhile = [&] {
      if (!sockets.theirs) return;
      Message message;
      message.type = MessageType::duplicate;
      const std::array<int, 1> descriptor = {attached.get()};
      ASSERT_EQ(send_message(sockets.theirs, message, std::span(descriptor).first(has_descriptor ? 1 : 0)), 0);
      shutdown(sockets.theirs.get(), SHUT_RDWR);
      sockets.theirs.reset();
    };
    overlooked = 0;

    const Received first = receive_message(sockets.ours);
    const Received second = receive_message(sockets.ours);

    EXPECT_EQ(overlooked, 1);
    ASSERT_EQ(first.state, Received::State::message);
    EXPECT_EQ(first.message.type, MessageType::duplicate);
    EXPECT_EQ(first.descriptors.size(), has_descriptor ? 1u : 0u);
    EXPECT_EQ(second.state, Received::State::ended);
  }
}

TEST_F(LastMessage, IsNotOneOfNoBytes) {
  Sockets sockets;
  ASSERT_EQ(::send(sockets.theirs.get(), nullptr, 0, MSG_NOSIGNAL), 0);

  EXPECT_EQ(receive_message(sockets.ours).state, Received::State::malformed);
  EXPECT_EQ(receive_message(sockets.ours).state, Received::State::nothing);
}

// The node with the smaller id refuses the other's connection as a duplicate and closes it: while the other looks.
TEST_F(LastMessage, OfAConnectionThatGivesWayIsNotTakenForTheDeathOfAProcess) {
  for (const bool smaller_first : {false, true}) {
    Node smaller(1);
    Node larger(2);
    Link* const from_larger = larger.connect(smaller.id, smaller.transport->address());
    Link* const from_smaller = smaller.connect(larger.id, larger.transport->address());
    ASSERT_TRUE(from_larger && from_smaller);

    const auto poll_while_the_other_runs = [](Node& node, Node& other) {
      constexpr int kPolls = 64;  // enough for several messages
      meanwhile = [&other] {
        for (int i = 0; i < kPolls; ++i) other.poll();
      };
      for (int i = 0; i < kPolls; ++i) node.poll();
      meanwhile = nullptr;
    };
    const auto is_settled = [](Node& node, Link* link) { return link->is_open() || !node.closed.empty(); };
    const Instant give_up = monotonic_now() + std::chrono::seconds(30);
    while (!(is_settled(smaller, from_smaller) && is_settled(larger, from_larger)) && monotonic_now() < give_up) {
      if (smaller_first) poll_while_the_other_runs(smaller, larger);
      poll_while_the_other_runs(larger, smaller);
      if (!smaller_first) poll_while_the_other_runs(smaller, larger);
    }

    EXPECT_TRUE(from_smaller->is_open()) << from_smaller->status().text();
    EXPECT_TRUE(from_larger->is_open()) << from_larger->status().text();
    EXPECT_TRUE(smaller.closed.empty());
    EXPECT_TRUE(larger.closed.empty());
    EXPECT_EQ(smaller.connected.size(), 1u);
    EXPECT_EQ(larger.connected.size(), 1u);
  }
  EXPECT_GT(overlooked, 0);
}

}  // namespace
}  // namespace tutti::shm_test
