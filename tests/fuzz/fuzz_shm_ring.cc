// What a process of the same host writes into the memory that it shares: the entries of a ring, the inline area, the
// acknowledgements. Nothing is read outside of that memory, whatever stands in it, and an address of another process
// is read or refused.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/fuzz/check.h"
#include "transports/shm/address.h"
#include "transports/shm/frame_receiver.h"

namespace shm = tutti::shm;

namespace {

constexpr std::size_t kStagingBytes = 64 * 512;

// The same ring all the time: what was left in it is more nonsense.
struct Ring {
  alignas(shm::kPageBytes) shm::Direction shared;
  std::byte staging[kStagingBytes];
};

// Entries from 17 bytes each: what the state says of the lap, its low bits, the argument.
void fill(shm::Direction& shared, const std::uint8_t* data, std::size_t size) {
  std::uint64_t position = 0;
  for (; size >= 17 && position < shm::kEntries; data += 17, size -= 17, ++position) {
    std::uint64_t low = 0;
    std::uint64_t argument = 0;
    std::memcpy(&low, data + 1, 8);
    std::memcpy(&argument, data + 9, 8);
    const std::uint64_t stamp = (data[0] & 3) == 3 ? low >> shm::kStampShift : shm::stamp_of(position);
    if ((data[0] & 4) != 0) argument %= 70'000;
    if ((data[0] & 8) != 0) low &= ~std::uint64_t{0xfff000};  // short
    shared.entries[position].state = (low & ((std::uint64_t{1} << shm::kStampShift) - 1)) | stamp << shm::kStampShift;
    shared.entries[position].argument = argument;
  }
  if (position < shm::kEntries) shared.entries[position].state = 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto address = shm::decode({reinterpret_cast<const std::byte*>(data), size});
  if (address) FUZZ_CHECK(shm::encode(*shm::decode(shm::encode(*address))) == shm::encode(*address));

  static const auto ring = std::make_unique<Ring>();
  fill(ring->shared, data, size);
  shm::FrameReceiver receiver(&ring->shared, ring->staging, kStagingBytes);
  std::uint64_t sum = 0;
  for (std::uint64_t taken = 0; taken <= shm::kEntries; ++taken) {
    shm::FrameReceiver::Frame frame;
    const auto next = receiver.next(frame);
    if (next == shm::FrameReceiver::Next::nothing) break;
    if (next == shm::FrameReceiver::Next::violation) {
      FUZZ_CHECK(receiver.violation() != nullptr);
      break;
    }
    FUZZ_CHECK(taken < shm::kEntries && frame.bytes <= shm::kFrameBytesMax);
    for (std::size_t i = 0; frame.data != nullptr && i < frame.bytes; ++i)
      sum += static_cast<std::uint64_t>(frame.data[i]);
    if (receiver.holds(frame.slot) && sum % 2 == 0) receiver.acknowledge(frame.slot);
    if (receiver.should_tell()) receiver.tell_consumed();
  }
  [[maybe_unused]] static volatile std::uint64_t read = 0;
  read = sum;
  return 0;
}
