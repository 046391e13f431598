// Whatever a stranger sends, in pieces of whatever size, it is not let in and makes no side hold more than a message.
// The first byte chooses the side and how the rest is cut. Two of the values that begin a piece stand for what a
// stranger can get hold of: the side's own output, and the output of another side that knows the secret but is in
// another conversation.
#include <algorithm>

#include "src/base/handshake.h"
#include "tests/fuzz/check.h"

using tutti::Handshake;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const tutti::SecretKey key = *tutti::derive_key("secret", "fuzz");
  tutti::Nonce nonce{};
  nonce.fill(std::byte{0x5a});
  const bool is_client = (data[0] & 1) != 0;
  const std::size_t piece = 1 + (data[0] >> 1);
  Handshake side(is_client ? Handshake::Role::client : Handshake::Role::server, key, nonce, "the stranger");

  // The other conversation: its nonces are not ours, so nothing of it may open ours.
  nonce.fill(std::byte{0xa5});
  Handshake other_client(Handshake::Role::client, key, nonce, "x");
  nonce.fill(std::byte{0x77});
  Handshake other_server(Handshake::Role::server, key, nonce, "y");
  std::vector<std::byte> overheard = other_client.take_output();
  other_server.feed(overheard);
  const auto answer = other_server.take_output();
  other_client.feed(answer);
  const auto proof = other_client.take_output();
  overheard.insert(overheard.end(), answer.begin(), answer.end());
  overheard.insert(overheard.end(), proof.begin(), proof.end());

  std::vector<std::byte> own = side.take_output();
  for (std::size_t position = 1; position < size;) {
    const std::size_t length = std::min(piece, size - position);
    std::vector<std::byte> bytes;
    if (data[position] == 0xf0) {
      bytes = own;
    } else if (data[position] == 0xf1 && length > 2) {
      const std::size_t from = data[position + 1] % overheard.size();
      const std::size_t count = std::min<std::size_t>(data[position + 2], overheard.size() - from);
      bytes.assign(overheard.begin() + static_cast<std::ptrdiff_t>(from),
                   overheard.begin() + static_cast<std::ptrdiff_t>(from + count));
    } else {
      const auto* const begin = reinterpret_cast<const std::byte*>(data + position);
      bytes.assign(begin, begin + length);
    }
    position += length;
    const std::size_t wanted = side.wanted();
    FUZZ_CHECK(wanted <= 80);
    const std::size_t used = side.feed(bytes);
    FUZZ_CHECK(used <= bytes.size());
    const auto output = side.take_output();
    FUZZ_CHECK(output.size() <= 96);
    own.insert(own.end(), output.begin(), output.end());
    FUZZ_CHECK(!side.done());
    FUZZ_CHECK(side.failed() == !side.status().is_ok());
    FUZZ_CHECK(!side.failed() || side.wanted() == 0);
  }
  return 0;
}
