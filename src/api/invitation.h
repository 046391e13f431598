// Invitation: what each rank tells the others in the rendezvous of a communicator: how to reach its process, where
// its part of the board is, and the settings that plans depend on, which must be the same everywhere.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/base/settings.h"
#include "src/base/status.h"
#include "src/engine/address.h"

namespace tutti {

struct Invitation {
  std::uint64_t nonce = 0;  // random; rank 0's is part of the communicator's id
  std::uint64_t board_offset = 0;
  std::string plan_settings;  // "TUTTI_SEGMENT_BYTES=0 ..."
  ProcessAddress address;

  std::vector<std::byte> encode() const;
  static Result<Invitation> decode(std::span<const std::byte> bytes);
};

// The settings on which ranks must agree, as text.
std::string plan_settings_of(const Settings& settings);

}  // namespace tutti
