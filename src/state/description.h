// What ranks tell each other of their states, as bytes: a summary first, which suffices where all is alike, and the
// whole description (names, types and counts) where it is not, so that the difference can be named. Bytes from
// elsewhere are parsed defensively.
//
// summary     = "TUTTISTA" | version (1) | flags (1) | revision (8) | host (16) | bytes of the description (8) | its
//               digest (16)
// description = text of the state's name | count (4) | count x (type (1) | count (8) | text of the name)
// All numbers little-endian; text = length (4) | bytes. Names ascend.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/ids.h"
#include "src/base/status.h"
#include "src/state/content.h"
#include "src/state/tensors.h"

namespace tutti {

struct StateSummary {
  static constexpr std::size_t kBytes = 58;
  std::uint64_t revision = 0;
  bool is_whole = true;
  bool is_strict = false;
  Id128 host;
  std::uint64_t description_bytes = 0;
  Digest description;

  std::array<std::byte, kBytes> encode() const;
  // INVALID: that is none; the rank has called something else, or another version of Tutti.
  static Result<StateSummary> decode(std::span<const std::byte> bytes);
};

struct StateDescription {
  struct Entry {
    std::string name;
    DataType type = DataType::uint8;
    std::uint64_t count = 0;
    bool operator==(const Entry&) const = default;
  };
  std::string name;  // of the state
  std::vector<Entry> tensors;

  StateDescription() = default;
  StateDescription(std::string_view state_name, const Tensors& tensors);

  std::string encode() const;
  static Result<StateDescription> decode(std::string_view bytes);
};

// In which way the second of two descriptions that differ does so, as a clause: "rank 2 has no tensor w, which rank 0
// has". The ranks are given as they are to appear in it.
std::string difference(const StateDescription& first, const std::string& first_rank, const StateDescription& second,
                       const std::string& second_rank);

}  // namespace tutti
