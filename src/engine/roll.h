// Roll: who takes part in a communicator's successor, and what each has contributed (opaque here): by the order of
// the survivors, nothing for who has not come. Bytes from elsewhere are parsed defensively.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/status.h"

namespace tutti {

std::string encode_roll(std::span<const std::optional<std::string>> contributions);
// INTERNAL: that is no roll of so many survivors.
Result<std::vector<std::optional<std::string>>> decode_roll(std::string_view bytes, std::size_t survivors);

}  // namespace tutti
