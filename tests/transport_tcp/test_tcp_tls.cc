// Links inside TLS: they carry what the others do, and whoever does not belong to them is refused, told why, and gone
// at the limit, while a transfer goes on.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tests/tls/certificates.h"
#include "tests/transport_tcp/cluster.h"
#include "transports/tcp/address.h"
#include "transports/tcp/socket.h"

namespace tutti::tcp {
namespace {

using std::chrono::milliseconds;

TcpOptions tls_options(std::string_view secret = "one secret") {
  TcpOptions options = test_options();
  options.handshake_limit = milliseconds(300);
  options.tls = psk_context();
  options.tls_key = *derive_key(secret, "tutti tcp tls v1");
  return options;
}

TcpOptions options_with(const Certificates& files, const std::string& name) {
  TcpOptions options = tls_options();
  options.tls = make_context(files.options(name));
  return options;
}

// The sentence with which a's link to b is closed.
std::string refusal(Node& a, Node& b) {
  const Link* const link = a.connect(b);
  EXPECT_TRUE(poll_until({&a, &b}, [&] { return !a.closed.empty(); }));
  EXPECT_EQ(link->status().code(), Code::invalid);
  EXPECT_TRUE(a.connected.empty());
  EXPECT_TRUE(b.connected.empty());
  return a.closed.empty() ? "" : a.closed[0];
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(TcpTls, FramesComeThroughSmallSocketBuffers) {
  TcpOptions small = tls_options();
  small.buffer_bytes = 32 << 10;
  TcpOptions other = small;
  other.process = *new_process_id();
  Node a(small);
  Node b(other);
  const auto [at_a, at_b] = join(a, b);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{100}, std::size_t{70'000}, std::size_t{3'000'000}}) {
    const auto payload = pattern(bytes, 5);
    const std::size_t had = b.frames;
    EXPECT_TRUE(poll_until({&a, &b}, [&, link = at_a] {
      return link->send({}, payload.data(), payload.size(), 1) != SendState::again;
    }));
    EXPECT_TRUE(poll_until({&a, &b}, [&] { return b.frames > had; }));
    EXPECT_TRUE(b.received == payload);
  }
  EXPECT_TRUE(poll_until({&a, &b}, [&, link = at_a] { return link->is_drained(); }));
}

TEST(TcpTls, WhoIsSilentOrSlowIsHungUpOnAtTheLimitAndATransferGoesOn) {
  Node a(tls_options());
  Node b(tls_options());
  const auto [at_a, at_b] = join(a, b);
  const auto knock = [&](std::string_view words) {
    Descriptor socket = open_socket(false);
    const Endpoint port{IpAddress::loopback(false), parse_address(b.address())->port};
    (void)start_connect(socket.get(), IpAddress::loopback(false), port);
    while (!connect_outcome(socket.get())) {
    }
    EXPECT_EQ(send(socket.get(), words.data(), words.size(), MSG_NOSIGNAL), static_cast<ssize_t>(words.size()));
    return socket;
  };
  const auto is_hung_up = [](const Descriptor& socket) {
    char c = 0;
    const ssize_t got = recv(socket.get(), &c, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN);
  };
  const Descriptor silent = knock("");
  const Descriptor slow = knock(std::string("\x16\x03\x01\x00\xe0\x01\x00\x00\xdc\x03\x03", 11));
  const auto payload = pattern(100'000, 3);
  EXPECT_TRUE(poll_until({&a, &b}, [&, link = at_a] {
    (void)link->send({}, payload.data(), payload.size(), 0);
    return is_hung_up(silent) && is_hung_up(slow);
  }));
  EXPECT_TRUE(b.has_logged("the TLS handshake has not come within 3"));
  EXPECT_EQ(b.log.size(), 2u);
  EXPECT_GT(b.frames, 0u);
  EXPECT_TRUE(a.closed.empty() && b.closed.empty());
}

TEST(TcpTls, WithoutItNobodyGetsIntoItAndTheOtherWayRound) {
  for (const bool dialer_has_it : {false, true}) {
    TcpOptions plain = tls_options();
    plain.tls = nullptr;
    Node a(dialer_has_it ? tls_options() : plain);
    Node b(dialer_has_it ? plain : tls_options());
    const std::string sentence = refusal(a, b);
    EXPECT_TRUE(contains(sentence, dialer_has_it ? "does not use TLS, this process does (TUTTI_TLS is psk)"
                                                 : "it uses TLS, this process does not (TUTTI_TLS)"))
        << sentence;
    EXPECT_TRUE(b.has_logged(dialer_has_it ? "begins with TLS, which this process does not use (TUTTI_TLS is off)"
                                           : "does not use TLS, this process does (TUTTI_TLS is psk)"));
  }
}

TEST(TcpTls, AnotherSecretIsRefusedAndBothSidesSayWhy) {
  Node a(tls_options("another secret"));
  Node b(tls_options());
  const std::string sentence = refusal(a, b);
  EXPECT_TRUE(contains(sentence, "It has another secret (TUTTI_SECRET)")) << sentence;
  EXPECT_TRUE(b.has_logged("did not prove in TLS that it knows the secret (TUTTI_SECRET)"));
}

TEST(TcpTls, ACertificateOfAnotherAuthorityIsRefusedAlsoWhereOnlyTheAcceptorMinds) {
  const Certificates files;
  const Certificates others;
  files.issue("node");
  others.issue("stranger");
  TcpOptions options = options_with(others, "stranger");
  TlsOptions trusting = others.options("stranger");
  trusting.authority = files.directory() + "/both.pem";
  ASSERT_EQ(std::system(("cat " + files.authority() + " " + others.authority() + " > " + trusting.authority).c_str()),
            0);
  options.tls = make_context(trusting);
  Node a(options);
  Node b(options_with(files, "node"));
  const std::string sentence = refusal(a, b);
  EXPECT_TRUE(contains(sentence,
                       "refused the connection: unknown CA (alert 48). It does not accept this process's "
                       "certificate (\"" +
                           others.certificate("stranger") + "\")"))
      << sentence;
  EXPECT_TRUE(b.has_logged("for the certificate of /CN=stranger; connection refused"));
}

}  // namespace
}  // namespace tutti::tcp
