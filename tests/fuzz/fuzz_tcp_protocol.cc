// What strangers and peers send to the tcp transport, on any bytes: an address, the bytes of a handshake and greeting
// to a set-up, and a stream of frames to a receiver. The first byte chooses.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/fuzz/check.h"
#include "transports/tcp/address.h"
#include "transports/tcp/frame.h"
#include "transports/tcp/greeting.h"
#include "transports/tcp/receiver.h"
#include "transports/tcp/setup.h"

namespace {

using namespace tutti;
using namespace tutti::tcp;

constexpr std::size_t kFrameBytesMax = 100'000;

struct Ends {
  Descriptor near;
  Descriptor far;
};

Ends open_ends() {
  int ends[2];
  FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

void parse(std::span<const std::byte> input) {
  if (const auto address = parse_address(input)) {
    const auto again = parse_address(encode(*address));
    FUZZ_CHECK(again.is_ok() && *again == *address);
  }
  if (input.size() >= kGreetingBytes) {
    if (const auto greeting = parse_greeting(input.first(kGreetingBytes), "the fuzzer")) {
      const auto again = parse_greeting(encode(*greeting), "the fuzzer");
      FUZZ_CHECK(again.is_ok() && *again == *greeting);
    }
  }
}

// Both roles, in pieces. Nobody gets through without the key.
void set_up(std::span<const std::byte> input, bool as_server) {
  Ends ends = open_ends();
  const auto role = as_server ? Handshake::Role::server : Handshake::Role::client;
  Handshake handshake(role, SecretKey{std::byte{1}}, Nonce{std::byte{2}}, "the fuzzer");
  Setup setup = as_server ? Setup(std::move(ends.near), Endpoint{}, std::move(handshake))
                          : Setup(std::move(ends.near), Endpoint{}, std::move(handshake), Greeting{});
  Setup::Step step = Setup::Step::waiting;
  for (std::size_t at = 0; at < input.size() && step == Setup::Step::waiting;) {
    const std::size_t piece = std::min<std::size_t>(input.size() - at, 1 + static_cast<std::size_t>(input[at]) % 64);
    if (write(ends.far.get(), input.data() + at, piece) != static_cast<ssize_t>(piece)) break;
    at += piece;
    step = setup.advance();
  }
  FUZZ_CHECK(step != Setup::Step::greeted);
  ends.far.reset();
  FUZZ_CHECK(setup.advance() == Setup::Step::failed && !setup.status().is_ok());
}

// The input says which frames a peer sends and where it sends other bytes instead.
std::vector<std::byte> make_stream(std::span<const std::byte> input) {
  std::vector<std::byte> stream;
  std::uint64_t number = 0;
  while (input.size() >= 4 && stream.size() < (1u << 20)) {
    const auto bytes = static_cast<std::uint32_t>(static_cast<std::size_t>(input[1]) << 9 | std::size_t(input[2]));
    const auto kind = static_cast<unsigned>(input[0]);
    std::byte head[kFrameHeaderBytes];
    Header header;
    header.words[0] = static_cast<std::uint64_t>(input[3]);
    encode_frame(head, header, bytes, number++);
    if (kind == 255) head[static_cast<std::size_t>(input[3]) % kFrameHeaderBytes] ^= std::byte{1};
    stream.insert(stream.end(), head, head + kFrameHeaderBytes);
    stream.resize(stream.size() + bytes, input[3]);
    input = input.subspan(4);
  }
  stream.insert(stream.end(), input.begin(), input.end());
  return stream;
}

void receive(std::span<const std::byte> input) {
  Ends ends = open_ends();
  Receiver receiver(kFrameBytesMax);
  const auto stream = make_stream(input);
  std::vector<std::byte> target(kFrameBytesMax);
  std::uint64_t next_token = 0;
  for (std::size_t at = 0; !receiver.has_ended() && receiver.fault().is_ok();) {
    if (at < stream.size()) {
      const ssize_t written =
          write(ends.far.get(), stream.data() + at, std::min<std::size_t>(stream.size() - at, 50'000));
      if (written > 0) at += static_cast<std::size_t>(written);
    } else {
      ends.far.reset();
    }
    receiver.receive(ends.near.get());
    for (Event event; receiver.next(event);) {
      if (event.kind == EventKind::fetched) continue;
      FUZZ_CHECK(event.token == next_token++ && event.bytes <= kFrameBytesMax);
      if (event.data != nullptr) {
        std::copy_n(event.data, event.bytes, target.begin());
      } else if (event.header.words[0] % 2 == 0) {
        receiver.release(event.token);
      } else {
        receiver.fetch(ends.near.get(), event.token, target.data());
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data + 1, size - 1));
  switch (data[0] % 4) {
    case 0:
      parse(input);
      break;
    case 1:
      set_up(input, true);
      break;
    case 2:
      set_up(input, false);
      break;
    default:
      receive(input);
      break;
  }
  return 0;
}
