// Whatever bytes come from the other members: an agreement takes them or refuses them without a change, stays within
// its bounds, sends only what its own decoder takes, and never changes what it has decided. The input is a script:
// each record's first byte says what happens and with whom, its second how many bytes of a message follow.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "src/membership/agreement.h"
#include "tests/fuzz/check.h"

namespace {

using tutti::Agreement;

constexpr std::uint32_t kMembers = 5;
constexpr std::uint32_t kSelf = 1;
constexpr std::uint64_t kTag = 0x6761742d7a7a7566;

// What the agreement is seen by.
struct Outside {
  std::optional<std::string> decision;

  void look(Agreement& agreement) {
    for (const auto& outgoing : agreement.take_outgoing()) {
      FUZZ_CHECK(outgoing.to < kMembers && outgoing.to != kSelf);
      FUZZ_CHECK(tutti::decode({kTag, kMembers}, kSelf, outgoing.to, std::as_bytes(std::span(*outgoing.bytes))));
    }
    FUZZ_CHECK(!agreement.dead().contains(kSelf) && agreement.suspected().contains(agreement.dead()));
    if (decision) {
      FUZZ_CHECK(agreement.decided() != nullptr && *agreement.decided() == *decision);
      FUZZ_CHECK(agreement.stuck().is_ok() && agreement.next_timer() == tutti::kNever && !agreement.wants_start());
    }
    if (agreement.decided() != nullptr) decision = *agreement.decided();
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Agreement agreement({.tag = kTag, .members = kMembers, .self = kSelf, .retry = std::chrono::milliseconds(1)},
                      [](const auto&, const auto& lost) { return std::string(lost.count(), 'v'); });
  Outside outside;
  tutti::Instant now{};
  while (size >= 2) {
    const std::uint8_t what = data[0] / 8 % 8;
    const std::uint32_t who = data[0] % 8;
    const std::size_t length = std::min<std::size_t>(data[1], size - 2);
    const auto bytes = std::as_bytes(std::span(data + 2, length));
    data += 2 + length;
    size -= 2 + length;
    if (what < 5) {
      const bool is_dead = who < kMembers && agreement.dead().contains(who);
      const tutti::Status taken = agreement.receive(who, bytes, now);
      if (!taken || is_dead) FUZZ_CHECK(agreement.take_outgoing().empty());
      if (!taken) FUZZ_CHECK(taken.code() == tutti::Code::invalid && !taken.text().empty());
    } else if (what == 5) {
      agreement.start("contribution", now);
    } else if (what == 6) {
      now = std::min(agreement.next_timer(), now + std::chrono::hours(1));
      agreement.progress(now);
    } else if (who < kMembers && who != kSelf) {
      agreement.suspect(who, length % 2 == 0 ? tutti::Loss::silent : tutti::Loss::ended, now);
    }
    outside.look(agreement);
  }
  return 0;
}
