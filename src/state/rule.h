// The rule of a shared state: whose content counts. The newest revision does; where ranks have it with different
// content, the content that most of them have; of several that equally many have, the one of the lowest rank. It is
// always the whole content of some rank, never a mixture. Pure, and the same on every rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/base/status.h"
#include "src/state/content.h"

namespace tutti {

struct Claim {  // of one rank
  std::uint64_t revision = 0;
  bool is_whole = true;  // false: its content was being replaced when something went wrong, and counts for nothing
};

struct Candidates {
  std::uint64_t revision = 0;
  std::vector<std::uint32_t> ranks;  // whole, with that revision; ascending
};

// INVALID: nobody has a whole content, or none but fresh ones (revision 0) while others have lost theirs.
Result<Candidates> newest(std::span<const Claim> claims);

struct Choice {
  std::vector<std::uint32_t> holders;  // of the content that counts; ascending
  std::vector<std::uint32_t> drifted;  // candidates with another one; ascending
};

// `contents` are those of the candidates, in their order; at least one.
Choice choose(const Candidates& candidates, std::span<const Digest> contents);

}  // namespace tutti
