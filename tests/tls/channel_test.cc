// A TLS channel over a pair of sockets: who gets in, who does not and what both ends say, and that bytes come through
// whole, in whatever pieces the sockets take them.
#include "src/tls/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <optional>

#include "src/base/handshake.h"
#include "src/base/random.h"
#include "src/tls/conduit.h"
#include "tests/tls/certificates.h"

namespace tutti {
namespace {

using Role = TlsChannel::Role;
using Step = TlsChannel::Step;
using Context = std::shared_ptr<const TlsContext>;

SecretKey key_of(std::string_view secret) { return *derive_key(secret, "tutti test v1"); }

struct Sockets {
  Sockets() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0); }
  ~Sockets() {
    close_end(0);
    close_end(1);
  }
  void close_end(int end) {
    if (fd[end] >= 0) close(std::exchange(fd[end], -1));
  }
  int fd[2];
};

// A client and a server, of which each side may be anything.
struct Pair {
  Pair(const Context& client_context, const Context& server_context, std::string_view client_secret = "secret",
       std::string_view server_secret = "secret")
      : client(client_context, Role::client, key_of(client_secret), "the server"),
        server(server_context, Role::server, key_of(server_secret), "the client") {}

  Step shake(TlsChannel& side, int end) { return side.handshake(sockets.fd[end]); }
  // Both until neither moves; a client that is done reads once, since a server may still refuse it.
  void talk() {
    for (int i = 0; i < 20; ++i) {
      const Step c = shake(client, 0);
      const Step s = shake(server, 1);
      if (s == Step::failed) sockets.close_end(1);
      if (s == Step::failed && c == Step::done) break;
      if (c == Step::failed && s != Step::waiting) break;
    }
    std::byte one;
    if (!client.failed() && server.failed()) (void)client.receive(sockets.fd[0], std::array{iovec{&one, 1}});
    if (!server.failed() && client.failed()) {
      sockets.close_end(0);
      if (shake(server, 1) == Step::done) (void)server.receive(sockets.fd[1], std::array{iovec{&one, 1}});
    }
  }
  void establish() {
    talk();
    ASSERT_EQ(shake(client, 0), Step::done) << client.status().text();
    ASSERT_EQ(shake(server, 1), Step::done) << server.status().text();
  }
  Conduit near() { return {sockets.fd[0], &client}; }
  Conduit far() { return {sockets.fd[1], &server}; }

  Sockets sockets;
  TlsChannel client;
  TlsChannel server;
};

std::vector<std::byte> random_bytes(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

#define EXPECT_SAYS(channel, part) \
  EXPECT_NE((channel).status().text().find(part), std::string::npos) << (channel).status().text()

class TlsCertificates : public testing::Test {
 protected:
  Context context(const std::string& name, Certificates::Flaw flaw = Certificates::Flaw::none) {
    own_.issue(name, flaw);
    return make_context(own_.options(name));
  }
  Certificates own_;
};

TEST(TlsChannel, TheSameSecretOpensItAndBothEndsBindToTheSameSession) {
  const Context context = psk_context();
  Pair pair(context, context);
  pair.establish();
  EXPECT_EQ(pair.client.cipher(), "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(*pair.client.binding(), *pair.server.binding());
  Pair other(context, context);
  other.establish();
  EXPECT_NE(*pair.client.binding(), *other.client.binding());
}

TEST_F(TlsCertificates, OfOneAuthorityOpenIt) {
  Pair pair(context("one"), context("two"));
  pair.establish();
  EXPECT_EQ(*pair.client.binding(), *pair.server.binding());
}

TEST(TlsChannel, AnotherSecretIsRefusedAndBothEndsSaySo) {
  const Context context = psk_context();
  Pair pair(context, context, "secret", "other");
  pair.talk();
  ASSERT_TRUE(pair.server.failed());
  ASSERT_TRUE(pair.client.failed());
  EXPECT_EQ(pair.server.status().code(), Code::invalid);
  EXPECT_SAYS(pair.server,
              "the client did not prove in TLS that it knows the secret (TUTTI_SECRET): binder does not "
              "verify (OpenSSL 0A0000FD); connection refused");
  EXPECT_EQ(pair.client.status().code(), Code::invalid);
  EXPECT_SAYS(pair.client, "the server refused the connection: illegal parameter (alert 47). It has another secret");
}

TEST_F(TlsCertificates, AKeyOnOneSideAndCertificatesOnTheOtherAreRefused) {
  Pair pair(psk_context(), context("one"));
  pair.talk();
  ASSERT_TRUE(pair.client.failed() && pair.server.failed());
  EXPECT_SAYS(pair.client, "the server showed a certificate, but TUTTI_TLS is psk here");
  EXPECT_SAYS(pair.server, "the client refused the connection: unknown CA (alert 48)");

  Pair reverse(context("two"), psk_context());
  reverse.talk();
  ASSERT_TRUE(reverse.client.failed() && reverse.server.failed());
  EXPECT_SAYS(reverse.server, "the client offered no pre-shared key in TLS");
  EXPECT_SAYS(reverse.client,
              "the server refused the connection: handshake failure (alert 40). Its TUTTI_TLS is psk");
}

TEST_F(TlsCertificates, OfAnotherAuthorityAreRefusedByName) {
  Certificates others;
  others.issue("stranger");
  Pair pair(make_context(others.options("stranger")), context("one"));
  pair.talk();
  ASSERT_TRUE(pair.client.failed() && pair.server.failed());
  EXPECT_SAYS(pair.client, "the server showed a certificate that TUTTI_TLS_AUTHORITY (\"" + others.authority() +
                               "\") does not let through: unable to get local issuer certificate (OpenSSL 20), for "
                               "the certificate of /CN=one; connection refused");
  EXPECT_SAYS(pair.server,
              "the client refused the connection: unknown CA (alert 48). It does not accept this "
              "process's certificate (\"" +
                  own_.certificate("one") + "\")");
}

// The client believes more authorities than the server: the server's refusal comes after the client was done.
TEST_F(TlsCertificates, AClientLearnsOfARefusalAfterItsOwnHandshake) {
  Certificates others;
  others.issue("stranger");
  TlsOptions options = others.options("stranger");
  options.authority = own_.directory() + "/both.pem";
  ASSERT_EQ(std::system(("cat " + own_.authority() + " " + others.authority() + " > " + options.authority).c_str()),
            0);
  Pair pair(make_context(options), context("one"));
  pair.talk();
  ASSERT_TRUE(pair.client.failed() && pair.server.failed());
  EXPECT_SAYS(pair.server, "for the certificate of /CN=stranger; connection refused");
  EXPECT_SAYS(pair.client,
              "the server refused the connection: unknown CA (alert 48). It does not accept this "
              "process's certificate (\"" +
                  others.certificate("stranger") + "\")");
}

TEST(TlsChannel, APlainClientIsToldThatTlsIsExpected) {
  Sockets sockets;
  TlsChannel server(psk_context(), Role::server, key_of("secret"), "the client");
  Handshake client(Handshake::Role::client, key_of("secret"), *new_nonce(), "the server");
  const auto hello = client.take_output();
  ASSERT_EQ(write(sockets.fd[0], hello.data(), hello.size()), static_cast<ssize_t>(hello.size()));
  EXPECT_EQ(server.handshake(sockets.fd[1]), Step::failed);
  EXPECT_SAYS(server, "the client does not use TLS, this process does (TUTTI_TLS is psk); connection refused");
  std::byte answer[64];
  const ssize_t got = read(sockets.fd[0], answer, sizeof answer);
  ASSERT_EQ(got, 16);
  client.feed({answer, 16});
  ASSERT_TRUE(client.failed());
  EXPECT_EQ(
      client.status().text(),
      "the server refused the connection: it uses TLS, this process does not (TUTTI_TLS). Give every process of "
      "the job the same TUTTI_TLS");
}

TEST(TlsChannel, APlainServerTellsAClientThatSpeaksTls) {
  Sockets sockets;
  TlsChannel client(psk_context(), Role::client, key_of("secret"), "the server");
  Handshake server(Handshake::Role::server, key_of("secret"), *new_nonce(), "the client");
  EXPECT_EQ(client.handshake(sockets.fd[0]), Step::waiting);
  std::byte hello[16];
  ASSERT_EQ(read(sockets.fd[1], hello, sizeof hello), 16);
  server.feed(hello);
  ASSERT_TRUE(server.failed());
  EXPECT_EQ(
      server.status().text(),
      "the client begins with TLS, which this process does not use (TUTTI_TLS is off); connection refused. Give "
      "every process of the job the same TUTTI_TLS");
  const auto refusal = server.take_output();
  ASSERT_EQ(write(sockets.fd[1], refusal.data(), refusal.size()), static_cast<ssize_t>(refusal.size()));
  EXPECT_EQ(client.handshake(sockets.fd[0]), Step::failed);
  EXPECT_SAYS(client, "the server does not use TLS, this process does (TUTTI_TLS is psk)");
}

TEST(TlsChannel, WhoSpeaksSomethingElseIsRefusedAtHisFirstByte) {
  for (const Role role : {Role::client, Role::server}) {
    Sockets sockets;
    TlsChannel side(psk_context(), role, key_of("secret"), "somebody");
    (void)side.handshake(sockets.fd[0]);
    ASSERT_EQ(write(sockets.fd[1], "G", 1), 1);
    EXPECT_EQ(side.handshake(sockets.fd[0]), Step::failed);
    EXPECT_EQ(side.status().code(), Code::invalid);
    EXPECT_SAYS(side, "somebody does not speak TLS, which this process uses (TUTTI_TLS is psk)");
  }
}

TEST(TlsChannel, WhoLeavesInTheMiddleIsLostAndNotRefused) {
  for (const bool has_spoken : {false, true}) {
    Pair pair(psk_context(), psk_context());
    if (has_spoken) {
      (void)pair.shake(pair.client, 0);
      (void)pair.shake(pair.server, 1);
    }
    pair.sockets.close_end(0);
    EXPECT_EQ(pair.shake(pair.server, 1), Step::failed);
    EXPECT_EQ(pair.server.status().code(), Code::peer_lost);
    EXPECT_SAYS(pair.server, has_spoken ? "TLS with the client: Connection reset by peer (ECONNRESET, 104)"
                                        : "the client closed the connection in the middle of the TLS handshake");
  }
}

TEST(TlsChannel, AStrangerWhoSaysNothingCostsNextToNothing) {
  Pair pair(psk_context(), psk_context());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(pair.shake(pair.server, 1), Step::waiting);
  EXPECT_FALSE(pair.server.has_heard());
  EXPECT_FALSE(pair.server.has_unsent());
}

TEST(TlsChannel, AStrangerWhoHasBegunCostsLittleMore) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "memory is counted otherwise here";
#endif
  constexpr std::size_t kStrangers = 100;
  constexpr std::size_t kBytesMax = 64 << 10;
  const Context context = psk_context();
  std::vector<std::unique_ptr<Pair>> strangers;
  for (std::size_t i = 0; i < kStrangers; ++i) {
    strangers.push_back(std::make_unique<Pair>(context, context));
    (void)strangers.back()->shake(strangers.back()->client, 0);
  }
  const std::size_t before = mallinfo2().uordblks;
  for (const auto& stranger : strangers) EXPECT_EQ(stranger->shake(stranger->server, 1), Step::waiting);
  const std::size_t bytes = (mallinfo2().uordblks - before) / kStrangers;
  EXPECT_LT(bytes, kBytesMax);
  RecordProperty("bytes", std::to_string(bytes));
}

// A record may be cut anywhere by the network.
TEST_F(TlsCertificates, AHandshakeByteByByteIsTheSame) {
  Sockets near;
  Sockets far;
  TlsChannel client(context("one"), Role::client, {}, "the server");
  TlsChannel server(context("two"), Role::server, {}, "the client");
  const auto carry = [](int from, int to) {
    std::byte one;
    if (read(from, &one, 1) == 1) {
      EXPECT_EQ(write(to, &one, 1), 1);
    }
  };
  int steps = 0;
  const auto both_done = [&] {
    const Step c = client.handshake(near.fd[0]);
    const Step s = server.handshake(far.fd[0]);
    return c == Step::done && s == Step::done;
  };
  while (!both_done()) {
    ASSERT_FALSE(client.failed() || server.failed()) << client.status().text() << server.status().text();
    carry(near.fd[1], far.fd[1]);
    carry(far.fd[1], near.fd[1]);
    ASSERT_LT(++steps, 20'000);
  }
  EXPECT_GT(steps, 500);
}

// Sends everything in parts of all sizes while the far end receives in others, over small sockets.
void stream(Pair& pair, std::size_t total, std::uint64_t seed) {
  Random random(seed);
  const int small = 8 << 10;
  for (const int fd : pair.sockets.fd) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  const auto sent = random_bytes(total, seed);
  std::vector<std::byte> received(total);
  std::size_t at = 0;
  std::size_t got = 0;
  while (got < total) {
    iovec parts[3];
    std::size_t from = at;
    for (iovec& part : parts) {
      const std::size_t bytes = std::min<std::size_t>(total - from, random.below(random.chance(0.5) ? 200 : 60'000));
      part = {const_cast<std::byte*>(sent.data()) + from, bytes};
      from += bytes;
    }
    const ssize_t taken = send_to(pair.near(), parts);
    if (taken < 0) {
      ASSERT_EQ(errno, EAGAIN);
    } else {
      at += static_cast<std::size_t>(taken);
    }
    while (true) {
      const std::size_t wanted = std::min<std::size_t>(total - got, 1 + random.below(70'000));
      const ssize_t came = receive_from(pair.far(), received.data() + got, wanted);
      if (came <= 0) break;
      got += static_cast<std::size_t>(came);
      if (static_cast<std::size_t>(came) < wanted) {
        // Short: nothing whole is left, and the socket is empty.
        std::byte probe;
        EXPECT_EQ(recv(pair.sockets.fd[1], &probe, 1, MSG_PEEK | MSG_DONTWAIT), -1);
        break;
      }
    }
  }
  EXPECT_TRUE(sent == received);
}

TEST(TlsChannel, BytesComeThroughWholeWhateverTheSocketsTake) {
  for (const bool much : {false, true}) {
    const Context context = psk_context();
    Pair pair(context, context);
    pair.establish();
    if (much) pair.client.expect_much();
    if (much) pair.server.expect_much();
    stream(pair, 8 << 20, 7);
  }
}

TEST(TlsChannel, KeysAreRenewedOnTheWay) {
  TlsOptions options;
  options.records_per_key = 3;
  const Context context = make_context(options);
  Pair pair(context, context);
  pair.establish();
  stream(pair, 4 << 20, 11);
}

TEST(TlsChannel, WhatTheSocketDoesNotTakeIsKeptAndPassedOn) {
  Pair pair(psk_context(), psk_context());
  pair.establish();
  std::vector<std::byte> bytes(4 << 20);
  std::size_t taken = 0;
  ssize_t count = 0;
  while ((count = send_to(pair.near(), bytes.data(), bytes.size() - taken)) > 0)
    taken += static_cast<std::size_t>(count);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_TRUE(pair.client.has_unsent());
  EXPECT_LT(taken, bytes.size());
  std::size_t got = 0;
  while (got < taken) {
    const ssize_t came = receive_from(pair.far(), bytes.data(), bytes.size());
    if (came > 0) got += static_cast<std::size_t>(came);
    (void)pair.client.send(pair.sockets.fd[0], {});
  }
  EXPECT_EQ(got, taken);
  EXPECT_FALSE(pair.client.has_unsent());
  EXPECT_EQ(pair.client.send(pair.sockets.fd[0], {}), 0);
}

TEST(TlsChannel, AChangedByteEndsItWithASentence) {
  Sockets near;
  Pair pair(psk_context(), psk_context());
  pair.establish();
  const std::string text = "a frame";
  ASSERT_EQ(pair.client.send(near.fd[0], std::array{iovec{const_cast<char*>(text.data()), text.size()}}), 7);
  std::byte record[100];
  const ssize_t bytes = read(near.fd[1], record, sizeof record);
  ASSERT_GT(bytes, 20);
  record[12] ^= std::byte{1};
  ASSERT_EQ(write(pair.sockets.fd[0], record, static_cast<std::size_t>(bytes)), bytes);
  std::byte got[16];
  EXPECT_EQ(receive_from(pair.far(), got, sizeof got), -1);
  EXPECT_EQ(errno, EPROTO);
  EXPECT_SAYS(pair.server, "decryption failed or bad record mac");
  EXPECT_EQ(receive_from(pair.far(), got, sizeof got), -1);
  EXPECT_EQ(errno, EPROTO);
  // The other end is told, too.
  EXPECT_EQ(receive_from(pair.near(), got, sizeof got), -1);
  EXPECT_SAYS(pair.client, "bad record mac (alert 20)");
}

TEST(TlsChannel, TheEndOfTheStreamIsAnEndAndNothingBeforeItIsLost) {
  Pair pair(psk_context(), psk_context());
  pair.establish();
  const auto bytes = random_bytes(100'000, 3);
  ASSERT_EQ(send_to(pair.near(), bytes.data(), bytes.size()), 100'000);
  ASSERT_FALSE(pair.client.has_unsent());
  pair.sockets.close_end(0);
  std::vector<std::byte> got(200'000);
  EXPECT_EQ(receive_from(pair.far(), got.data(), got.size()), 100'000);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), got.begin()));
  EXPECT_EQ(receive_from(pair.far(), got.data(), got.size()), 0);
  EXPECT_EQ(receive_from(pair.far(), got.data(), got.size()), 0);
}

TEST(TlsChannel, WhatThePeerSentBeforeItsEndIsReadAlsoAfterAWriteHasFailed) {
  Pair pair(psk_context(), psk_context());
  pair.establish();
  ASSERT_EQ(send_to(pair.far(), "last", 4), 4);
  pair.sockets.close_end(1);
  EXPECT_EQ(send_to(pair.near(), "word", 4), -1);
  EXPECT_EQ(errno, EPIPE);
  char got[8];
  EXPECT_EQ(receive_from(pair.near(), got, sizeof got), 4);
  EXPECT_EQ(receive_from(pair.near(), got, sizeof got), 0);
}

// Whoever sits in the middle with a certificate of his own has two sessions, and cannot carry a proof across.
TEST_F(TlsCertificates, AProofCarriedFromOneSessionToAnotherIsWorthless) {
  const Context client = context("client");
  const Context server = context("server");
  const Context middle = context("middle");
  Pair first(client, middle);
  Pair second(middle, server);
  first.establish();
  second.establish();
  Handshake asks(Handshake::Role::client, key_of("secret"), *new_nonce(), "the server");
  Handshake answers(Handshake::Role::server, key_of("secret"), *new_nonce(), "the client");
  ASSERT_TRUE(asks.bind(*first.client.binding()).is_ok());
  ASSERT_TRUE(answers.bind(*second.server.binding()).is_ok());
  for (int i = 0; i < 3; ++i) {
    answers.feed(asks.take_output());
    asks.feed(answers.take_output());
  }
  EXPECT_TRUE(asks.failed());
  EXPECT_FALSE(answers.done());
}

}  // namespace
}  // namespace tutti
