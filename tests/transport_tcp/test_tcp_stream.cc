// Sender and Receiver over a pair of sockets with buffers so small that every frame is cut in many pieces, and a
// Receiver fed with bytes that no Sender sends.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>

#include "src/base/random.h"
#include "transports/tcp/frame.h"
#include "transports/tcp/receiver.h"
#include "transports/tcp/sender.h"
#include "transports/tcp/socket.h"

namespace tutti::tcp {
namespace {

constexpr std::size_t kFrameBytesMax = 1 << 20;

std::vector<std::byte> payload_of(std::uint64_t frame, std::size_t bytes) {
  std::vector<std::byte> payload(bytes);
  Random random(frame);
  for (auto& b : payload) b = static_cast<std::byte>(random.next());
  return payload;
}

class TcpStream : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    near_ = Descriptor(ends[0]);
    far_ = Descriptor(ends[1]);
    const int bytes = 4096;
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }

  // Takes every event; fetches what has to be fetched; checks each frame. Returns how many frames became whole.
  void receive_some() {
    receiver_.receive(far_.get());
    Event event;
    while (receiver_.next(event)) {
      if (event.kind == EventKind::fetched) {
        check(target_);
      } else if (event.data != nullptr) {
        EXPECT_TRUE(event.transient);
        EXPECT_EQ(event.header.words[0], whole_);
        check({event.data, event.data + event.bytes});
      } else {
        EXPECT_EQ(event.header.words[0], whole_);
        if (whole_ % 7 == 3) {  // unseen
          receiver_.release(event.token);
          ++whole_;
          continue;
        }
        target_.assign(event.bytes, std::byte{0});
        if (receiver_.fetch(far_.get(), event.token, target_.data()) == FetchState::done) check(target_);
      }
    }
  }

  void check(const std::vector<std::byte>& got) {
    EXPECT_EQ(got, payload_of(whole_, sizes_.at(whole_))) << "frame " << whole_;
    ++whole_;
  }

  Descriptor near_;
  Descriptor far_;
  Sender sender_{1024};
  Receiver receiver_{kFrameBytesMax};
  std::vector<std::size_t> sizes_;
  std::vector<std::byte> target_;
  std::uint64_t whole_ = 0;
};

TEST_F(TcpStream, FramesOfAllSizesArriveWholeThroughTinyBuffers) {
  Random random(11);
  for (int i = 0; i < 300; ++i) {
    const std::size_t most = std::size_t{1} << random.below(19);
    sizes_.push_back(random.below(most));
  }
  std::deque<std::vector<std::byte>>
      kept;  // payloads stay until the end: reused ones are the conformance suite's matter
  std::size_t taken = 0;
  std::size_t pending = 0;
  std::size_t ended = 0;
  int again = 0;

  while (whole_ < sizes_.size() && !HasFailure()) {
    if (taken < sizes_.size()) {
      kept.push_back(payload_of(taken, sizes_[taken]));
      Header header;
      header.words[0] = taken;
      const SendState state = sender_.send(near_.get(), header, kept.back().data(), kept.back().size(), taken);
      ASSERT_NE(state, SendState::closed);
      if (state == SendState::again) {
        kept.pop_back();
        ++again;
      } else {
        ++taken;
      }
      if (state == SendState::copied) kept.back().assign(kept.back().size(), std::byte{0xee});
      if (state == SendState::pending) ++pending;
    }
    sender_.unblock();
    sender_.flush(near_.get());
    for (std::uint64_t cookie = 0; sender_.take_sent(cookie);) {
      EXPECT_GT(sizes_[cookie], 1024u);
      ++ended;
    }
    if (random.chance(0.6)) receive_some();
  }

  EXPECT_EQ(whole_, sizes_.size());
  EXPECT_EQ(pending, ended);
  EXPECT_EQ(sender_.queued_bytes(), 0u);
  EXPECT_GT(pending, 20u);
  EXPECT_TRUE(receiver_.fault().is_ok());
}

TEST_F(TcpStream, TheQueueIsBoundedAndSaysAgain) {
  const auto small = payload_of(0, 1000);
  const auto large = payload_of(0, 100'000);
  std::size_t copied = 0;
  while (sender_.send(near_.get(), {}, small.data(), small.size(), 0) == SendState::copied)
    ASSERT_LT(++copied, 5000u);
  EXPECT_LE(sender_.queued_bytes(), std::size_t{1} << 20);

  Sender other(1024);
  std::size_t pending = 0;
  while (other.send(near_.get(), {}, large.data(), large.size(), pending) == SendState::pending) {
    ASSERT_LT(++pending, 1000u);
  }
  EXPECT_EQ(pending, Sender::kBorrowedMax);
}

TEST_F(TcpStream, SmallFramesBehindTheFirstShareASystemCall) {
  const auto payload = payload_of(0, 8);
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(sender_.send(near_.get(), {}, payload.data(), payload.size(), 0), SendState::copied);
  }
  EXPECT_EQ(sender_.queued_bytes(), 19 * (kFrameHeaderBytes + 8));
  sender_.flush(near_.get());
  EXPECT_EQ(sender_.queued_bytes(), 0u);
}

TEST_F(TcpStream, NothingIsReadWhileAPayloadWaitsForItsFetch) {
  sizes_ = {200'000};
  const auto payload = payload_of(0, sizes_[0]);
  ASSERT_EQ(sender_.send(near_.get(), {}, payload.data(), payload.size(), 0), SendState::pending);
  Event event;
  receiver_.receive(far_.get());
  ASSERT_TRUE(receiver_.next(event));
  ASSERT_EQ(event.data, nullptr);
  EXPECT_TRUE(receiver_.waits_for_fetch());

  const std::size_t queued = sender_.queued_bytes();
  for (int i = 0; i < 50; ++i) {
    sender_.unblock();
    sender_.flush(near_.get());
    receiver_.receive(far_.get());
    EXPECT_FALSE(receiver_.next(event));
  }
  EXPECT_GT(queued, 100'000u);
  EXPECT_GT(sender_.queued_bytes(), queued - 20'000) << "the socket's buffer alone may take more";

  target_.assign(sizes_[0], std::byte{0});
  FetchState state = receiver_.fetch(far_.get(), event.token, target_.data());
  for (int i = 0; state == FetchState::pending && i < 10'000; ++i) {
    sender_.unblock();
    sender_.flush(near_.get());
    receiver_.receive(far_.get());
    if (receiver_.next(event)) state = FetchState::done;
  }
  EXPECT_EQ(target_, payload);
}

TEST_F(TcpStream, AWriteToAClosedPeerIsTheEndWithItsErrno) {
  far_.reset();
  const auto payload = payload_of(0, 8);
  EXPECT_EQ(sender_.send(near_.get(), {}, payload.data(), payload.size(), 0), SendState::again);
  EXPECT_EQ(sender_.error(), EPIPE);
}

TEST_F(TcpStream, AnEndInsideAFrameIsSeen) {
  std::byte head[kFrameHeaderBytes];
  encode_frame(head, {}, 100, 0);
  ASSERT_EQ(write(near_.get(), head, 40), 40);
  near_.reset();
  Event event;
  for (int i = 0; i < 3; ++i) receiver_.receive(far_.get());
  EXPECT_FALSE(receiver_.next(event));
  EXPECT_TRUE(receiver_.has_ended());
}

TEST_F(TcpStream, EveryDamagedBitOfAHeaderIsAFault) {
  for (std::size_t bit = 0; bit < 8 * kFrameHeaderBytes; ++bit) {
    std::byte head[kFrameHeaderBytes];
    Header header;
    header.words = {1, 2, 3, 4, 5, 6};
    encode_frame(head, header, 0, 0);
    head[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    ASSERT_EQ(write(near_.get(), head, sizeof head), static_cast<ssize_t>(sizeof head));
    Receiver receiver(kFrameBytesMax);
    receiver.receive(far_.get());
    Event event;
    EXPECT_FALSE(receiver.next(event)) << bit;
    EXPECT_FALSE(receiver.fault().is_ok()) << bit;
  }
}

TEST_F(TcpStream, ARepeatedFrameIsAFault) {
  std::byte head[kFrameHeaderBytes];
  encode_frame(head, {}, 0, 0);
  for (int i = 0; i < 2; ++i) ASSERT_GT(write(near_.get(), head, sizeof head), 0);
  receiver_.receive(far_.get());
  Event event;
  EXPECT_TRUE(receiver_.next(event));
  EXPECT_FALSE(receiver_.next(event));
  EXPECT_NE(receiver_.fault().text().find("frame 1"), std::string::npos) << receiver_.fault().text();
}

TEST_F(TcpStream, ATooLongFrameIsAFaultThatNamesTheLength) {
  std::byte head[kFrameHeaderBytes];
  encode_frame(head, {}, 3'000'000'000u, 0);
  ASSERT_GT(write(near_.get(), head, sizeof head), 0);
  receiver_.receive(far_.get());
  Event event;
  EXPECT_FALSE(receiver_.next(event));
  EXPECT_NE(receiver_.fault().text().find("3000000000 bytes"), std::string::npos) << receiver_.fault().text();
  EXPECT_NE(receiver_.fault().text().find("1048576 bytes"), std::string::npos) << receiver_.fault().text();
}

// Connects near_ and far_ by the loopback: what is sent on one is in the other's buffer when send returns.
void connect_by_loopback(Descriptor& near, Descriptor& far) {
  const Descriptor listener(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  near = Descriptor(socket(AF_INET, SOCK_STREAM, 0));
  ASSERT_EQ(connect(near.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  far = Descriptor(accept(listener.get(), nullptr, nullptr));
  const int on = 1;
  setsockopt(near.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

TEST_F(TcpStream, APayloadThatDripsInWakesItsReaderSeldomAndArrivesToTheLastByte) {
  connect_by_loopback(near_, far_);
  constexpr std::size_t kPiece = 1000;
  for (const std::size_t bytes : {std::size_t{300'001}, std::size_t{64'000}, std::size_t{1'000'000}}) {
    sizes_.push_back(bytes);
    const std::vector<std::byte> payload = payload_of(whole_, bytes);
    std::vector<std::byte> stream(kFrameHeaderBytes);
    Header header;
    header.words[0] = whole_;
    encode_frame(stream.data(), header, static_cast<std::uint32_t>(bytes), whole_);
    stream.insert(stream.end(), payload.begin(), payload.end());
    const std::uint64_t before = whole_;
    std::size_t wakes = 0;
    for (std::size_t at = 0; at < stream.size(); at += kPiece) {
      const std::size_t piece = std::min(kPiece, stream.size() - at);
      ASSERT_EQ(send(near_.get(), stream.data() + at, piece, 0), static_cast<ssize_t>(piece));
      pollfd watched{far_.get(), POLLIN, 0};
      if (poll(&watched, 1, 0) == 0) continue;
      ++wakes;
      receive_some();
    }
    EXPECT_EQ(whole_, before + 1) << bytes << " bytes";
    EXPECT_LT(wakes, 6 + bytes / 16'000) << bytes << " bytes";
  }
}

}  // namespace
}  // namespace tutti::tcp
