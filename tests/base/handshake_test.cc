// The handshake: who gets in, who does not, and that no message of one side is of any use against it.
#include "src/base/handshake.h"

#include <gtest/gtest.h>

#include "src/base/random.h"

namespace tutti {
namespace {

using Role = Handshake::Role;
using Bytes = std::vector<std::byte>;

SecretKey key_of(std::string_view secret) { return *derive_key(secret, "tutti test v1"); }

Handshake client(std::string_view secret) { return {Role::client, key_of(secret), *new_nonce(), "the server"}; }
Handshake server(std::string_view secret) { return {Role::server, key_of(secret), *new_nonce(), "the client"}; }

// Carries bytes both ways until neither has any.
void talk(Handshake& a, Handshake& b) {
  for (int i = 0; i < 10; ++i) {
    b.feed(a.take_output());
    a.feed(b.take_output());
  }
}

TEST(Handshake, BothSidesThatKnowTheSecretAreDone) {
  Handshake c = client("secret");
  Handshake s = server("secret");
  talk(c, s);
  EXPECT_TRUE(c.done());
  EXPECT_TRUE(s.done());
}

TEST(Handshake, AnotherSecretFailsAtBothSidesAndBothSayWhy) {
  Handshake c = client("secret");
  Handshake s = server("other");
  talk(c, s);
  ASSERT_TRUE(c.failed());
  ASSERT_TRUE(s.failed());
  EXPECT_EQ(c.status().code(), Code::invalid);
  EXPECT_NE(
      c.status().text().find("the server did not prove that it knows the secret (TUTTI_SECRET); connection refused"),
      std::string::npos);
  EXPECT_NE(s.status().text().find("the client refused the connection: it has another secret"), std::string::npos);
}

TEST(Handshake, AClientThatOnlyPretendsIsRefused) {
  Handshake honest = client("secret");
  Handshake s = server("secret");
  s.feed(honest.take_output());
  Bytes answer = s.take_output();
  // A header of the client's followed by the server's own proof, sent back to it.
  Handshake other = client("secret");
  Bytes forged = other.take_output();
  forged.resize(16);
  forged.insert(forged.end(), answer.end() - 32, answer.end());
  s.feed(forged);
  ASSERT_TRUE(s.failed());
  EXPECT_NE(s.status().text().find("did not prove that it knows the secret"), std::string::npos);
}

TEST(Handshake, AMessageSentBackToItsSenderProvesNothing) {
  Handshake c = client("secret");
  const Bytes hello = c.take_output();
  c.feed(hello);
  EXPECT_TRUE(c.failed());
  EXPECT_NE(c.status().text().find("sent back a message of our own role"), std::string::npos);

  Handshake asking = client("secret");
  Handshake s = server("secret");
  s.feed(asking.take_output());
  s.feed(s.take_output());
  EXPECT_TRUE(s.failed());
}

TEST(Handshake, AnOldConversationCannotBeReplayed) {
  Handshake c = client("secret");
  Handshake s = server("secret");
  const Bytes hello = c.take_output();
  s.feed(hello);
  c.feed(s.take_output());
  const Bytes proof = c.take_output();

  Handshake later = server("secret");
  later.feed(hello);
  later.feed(proof);
  EXPECT_TRUE(later.failed());
}

TEST(Handshake, GarbageIsRefusedByItsFirstSixteenBytes) {
  Handshake s = server("secret");
  const std::string_view request = "GET / HTTP/1.1\r\nHost: tutti\r\n\r\n";
  const std::size_t used = s.feed(std::as_bytes(std::span(request)));
  EXPECT_TRUE(s.failed());
  EXPECT_EQ(used, 16u);
  EXPECT_NE(s.status().text().find("does not speak Tutti's protocol"), std::string::npos);
  EXPECT_TRUE(s.take_output().empty()) << "a stranger learns nothing";
}

TEST(Handshake, AnotherVersionIsToldSo) {
  Handshake c = client("secret");
  Bytes hello = c.take_output();
  hello[8] = std::byte{9};
  Handshake s = server("secret");
  s.feed(hello);
  ASSERT_TRUE(s.failed());
  EXPECT_NE(s.status().text().find("speaks version 9 of the handshake, this process version 1"), std::string::npos);
  c.feed(s.take_output());
  ASSERT_TRUE(c.failed());
  EXPECT_NE(c.status().text().find("another version"), std::string::npos);
}

TEST(Handshake, BytesOfTheNextProtocolAreLeftAlone) {
  Handshake c = client("secret");
  Handshake s = server("secret");
  s.feed(c.take_output());
  c.feed(s.take_output());
  Bytes proof = c.take_output();
  proof.resize(proof.size() + 5);
  EXPECT_EQ(s.feed(proof), proof.size() - 5);
  EXPECT_TRUE(s.done());
  EXPECT_EQ(s.feed(proof), 0u);
}

TEST(Handshake, BytesMayArriveOneByOne) {
  Handshake c = client("secret");
  Handshake s = server("secret");
  for (int round = 0; round < 3; ++round) {
    for (const std::byte byte : c.take_output()) s.feed({&byte, 1});
    for (const std::byte byte : s.take_output()) c.feed({&byte, 1});
  }
  EXPECT_TRUE(c.done());
  EXPECT_TRUE(s.done());
}

TEST(Handshake, NoChangedBitGetsThrough) {
  Random random(7);
  for (int trial = 0; trial < 300; ++trial) {
    Handshake c = client("secret");
    Handshake s = server("secret");
    // One bit, anywhere in the 176 bytes of the conversation, is turned over on its way.
    const std::size_t victim = random.below(176);
    std::size_t position = 0;
    const auto carry = [&](Handshake& from, Handshake& to) {
      Bytes bytes = from.take_output();
      for (std::byte& byte : bytes) {
        if (position++ == victim) byte ^= static_cast<std::byte>(1u << random.below(8));
      }
      to.feed(bytes);
    };
    carry(c, s);
    carry(s, c);
    carry(c, s);
    EXPECT_FALSE(c.done() && s.done()) << "trial " << trial << " byte " << victim;
  }
}

}  // namespace
}  // namespace tutti
