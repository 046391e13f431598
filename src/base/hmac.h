// Keyed hashes: HMAC-SHA256 and a key derived from a secret, by OpenSSL's libcrypto. What may be secret is compared
// in constant time.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "src/base/status.h"

namespace tutti {

using Digest = std::array<std::byte, 32>;
using SecretKey = std::array<std::byte, 32>;

Result<Digest> hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> text);

// HKDF (RFC 5869) without salt: a key for one use, named by `context` such as "tutti store v1". Keys of different
// contexts tell nothing of each other. The secret should be random: a guessable one can be guessed by whoever
// listens.
Result<SecretKey> derive_key(std::string_view secret, std::string_view context);

// Whether both are equal, in a time that depends on their lengths alone.
bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b);

}  // namespace tutti
