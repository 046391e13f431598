#include "src/base/hmac.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <climits>
#include <vector>

#include "src/base/format.h"

namespace tutti {

Result<Digest> hmac_sha256(std::span<const std::byte> key, std::span<const std::byte> text) {
  if (key.size() > INT_MAX) return Status(Code::invalid, format("an HMAC key of {} bytes is too long", key.size()));
  Digest digest{};
  unsigned length = 0;
  const unsigned char none = 0;  // OpenSSL takes a null key for "the previous key"
  const auto* const key_bytes = key.empty() ? &none : reinterpret_cast<const unsigned char*>(key.data());
  if (!HMAC(EVP_sha256(), key_bytes, static_cast<int>(key.size()),
            reinterpret_cast<const unsigned char*>(text.data()), text.size(),
            reinterpret_cast<unsigned char*>(digest.data()), &length) ||
      length != digest.size()) {
    char reason[256] = {};
    ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
    return Status(Code::system, format("OpenSSL could not compute HMAC-SHA256: {}", reason));
  }
  return digest;
}

Result<SecretKey> derive_key(std::string_view secret, std::string_view context) {
  const Digest no_salt{};
  auto extracted = hmac_sha256(no_salt, std::as_bytes(std::span(secret)));
  if (!extracted) return extracted.status();
  std::vector<std::byte> info;
  for (const char c : context) info.push_back(static_cast<std::byte>(c));
  info.push_back(std::byte{1});  // the first and only block of the expansion
  auto key = hmac_sha256(*extracted, info);
  OPENSSL_cleanse(extracted->data(), extracted->size());
  return key;
}

bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace tutti
