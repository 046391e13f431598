// What others say to the verbs transport, on any bytes: an address, a message on a control link, and frames in a ring
// with the numbers that come with them. The first byte chooses.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tests/fuzz/check.h"
#include "transports/verbs/frame.h"
#include "transports/verbs/greeting.h"
#include "transports/verbs/ring.h"

namespace {

using namespace tutti;
using namespace tutti::verbs;

void parse(std::span<const std::byte> input) {
  if (const auto address = parse_address(input)) {
    const auto encoded = encode(*address);
    FUZZ_CHECK(encoded.is_ok() && *parse_address(*encoded) == *address);
    FUZZ_CHECK(!address->ports.empty() && address->ports.size() <= kPortsMax);
  }
  if (const auto message = parse_message(input)) {
    const auto bytes = encode(*message);
    FUZZ_CHECK(bytes.size() <= kControlBytesMax && parse_message(bytes) == message);
    if (const auto* const hello = std::get_if<Hello>(&*message)) {
      const std::array<PortFacts, 1> own{hello->ports.front()};
      const auto pair = pair_ports(own, hello->ports, static_cast<std::uint32_t>(input.size()));
      FUZZ_CHECK(!pair || (pair->first == 0 && pair->second < hello->ports.size()));
    }
  }
}

// A peer that writes what it likes and says what it likes of it: nothing outside of the ring is ever looked at.
void receive(std::span<const std::byte> input) {
  constexpr std::size_t kUnitBytes = 256;
  std::array<std::byte, kRingUnits * kUnitBytes> ring{};
  RingOwner owner;
  RingWriter writer;
  std::uint64_t number = 0;
  while (input.size() >= 4) {
    const auto immediate = load_little_endian<std::uint32_t>(input.data());
    input = input.subspan(4);
    const std::uint32_t value = immediate & kImmediateMask;
    if (immediate >> 30 == static_cast<std::uint32_t>(Immediate::credit)) {
      (void)writer.place(1 + value % kFrameUnitsMax);
      (void)writer.take_report(value);
      continue;
    }
    const auto at = owner.locate(immediate >> 30 == 0 ? value : 1 + value % kFrameUnitsMax);
    if (!at) {
      owner.consume();
      continue;
    }
    FUZZ_CHECK(*at < kRingUnits);
    const std::span<std::byte> place = std::span(ring).subspan(*at * kUnitBytes);
    FUZZ_CHECK(place.size() >= kHeadBytes);
    const std::size_t taken = std::min(input.size(), kHeadBytes);
    std::copy_n(input.begin(), taken, place.begin());
    input = input.subspan(taken);
    if (const auto head = decode_head(place.data(), number)) {
      std::array<std::byte, kHeadBytes> again;
      encode_head(again.data(), *head);
      FUZZ_CHECK(decode_head(again.data(), number) == head);
      ++number;
    }
    if (owner.owes_report()) (void)owner.report();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data + 1, size - 1));
  data[0] % 2 == 0 ? parse(input) : receive(input);
  return 0;
}
