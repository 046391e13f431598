#include "src/membership/store_seal.h"

#include "src/base/format.h"

namespace tutti {

Result<StoreSeal> StoreSeal::create(std::string_view secret, std::string_view context) {
  const auto key = derive_key(secret, context);
  if (!key) return key.status();
  return StoreSeal(*key);
}

Result<Digest> StoreSeal::tag(std::string_view name, std::string_view value) const {
  std::string text = format("{}:", name.size());
  text.reserve(text.size() + name.size() + value.size());
  text += name;
  text += value;
  return hmac_sha256(key_, std::as_bytes(std::span(text)));
}

Result<std::string> StoreSeal::seal(std::string_view name, std::string_view value) const {
  const auto digest = tag(name, value);
  if (!digest) return digest.status();
  std::string sealed(reinterpret_cast<const char*>(digest->data()), digest->size());
  sealed += value;
  return sealed;
}

Result<std::string> StoreSeal::open(std::string_view name, std::string_view sealed) const {
  const std::string_view value = sealed.substr(std::min(sealed.size(), kTagBytes));
  const auto expected = tag(name, value);
  if (!expected) return expected.status();
  const auto found = std::as_bytes(std::span(sealed.substr(0, kTagBytes)));
  if (found.size() != expected->size() || !equal_in_constant_time(found, *expected)) {
    return Status(
        Code::invalid,
        format("the key {} holds {} bytes that nobody wrote who knows this process's secret (TUTTI_SECRET). "
               "Give all processes of the job the same secret, and each job a place of its own",
               name, sealed.size()));
  }
  return std::string(value);
}

}  // namespace tutti
