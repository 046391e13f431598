// Random: a small, fast, seeded generator (xoshiro256**, Blackman and Vigna 2018, seeded by splitmix64).
// Deterministic across platforms, so that a failing seed replays anywhere. Not for secrets: those come from
// secure_random.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/base/status.h"

namespace tutti {

class Random {
 public:
  explicit Random(std::uint64_t seed) {
    for (auto& word : state_) {
      seed += 0x9e3779b97f4a7c15ull;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      word = z ^ (z >> 31);
    }
  }

  std::uint64_t next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Uniform in [0, bound); bound 0 gives 0.
  std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }  // [0, 1)
  bool chance(double probability) { return unit() < probability; }

 private:
  std::uint64_t state_[4];
};

// Fills `out` with bytes fit for secrets (getrandom). Fails only where the kernel has none.
Status secure_random(std::span<std::byte> out);

}  // namespace tutti
