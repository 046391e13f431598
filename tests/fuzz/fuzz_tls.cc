// What strangers send where TLS is expected, on any bytes in any pieces. The first byte chooses how the accepting
// side knows its peers, and how the bytes are cut. Nobody gets in, every end has its sentence, and no side ever has
// more to say than a handshake is long.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/tls/channel.h"
#include "tests/fuzz/check.h"
#include "tests/tls/certificates.h"

namespace {

using namespace tutti;
using Step = TlsChannel::Step;

constexpr std::size_t kFlightBytesMax = 16 << 10;

std::shared_ptr<const TlsContext> context_with_certificates() {
  const Certificates certificates;
  certificates.issue("server");
  return make_context(certificates.options("server"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto by_key = psk_context();
  static const auto by_certificate = context_with_certificates();
  static const SecretKey key = *derive_key("secret", "fuzz");
  if (size == 0) return 0;
  const std::size_t piece = 1 + (data[0] >> 1) * std::size_t{16};
  int ends[2];
  FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
  TlsChannel channel((data[0] & 1) != 0 ? by_key : by_certificate, TlsChannel::Role::server, key, "the stranger");
  std::span<const std::uint8_t> rest(data + 1, size - 1);
  Step step = Step::waiting;
  std::size_t answered = 0;
  while (!rest.empty() && step == Step::waiting) {
    const std::size_t count = std::min(piece, rest.size());
    FUZZ_CHECK(write(ends[1], rest.data(), count) == static_cast<ssize_t>(count));
    rest = rest.subspan(count);
    step = channel.handshake(ends[0]);
    std::byte answer[4096];
    for (ssize_t got = 0; (got = recv(ends[1], answer, sizeof answer, MSG_DONTWAIT)) > 0;)
      answered += static_cast<std::size_t>(got);
  }
  FUZZ_CHECK(step != Step::done);
  FUZZ_CHECK(answered <= kFlightBytesMax);
  close(ends[1]);
  FUZZ_CHECK(channel.handshake(ends[0]) == Step::failed);
  FUZZ_CHECK(!channel.status().is_ok() && !channel.status().text().empty());
  close(ends[0]);
  return 0;
}
