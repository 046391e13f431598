// StoreSeal: keeps strangers' values out of a store that others than the job may write to (etcd, a framework's own
// store). What is written is tag (32) | value, where the tag is HMAC-SHA256, by a key derived from the job's secret,
// of the name and the value: a value that somebody else wrote, or copied from another name, is refused. The value is
// not hidden, and an old value of the same name can be put back by whoever may write; against that, the store's own
// access control guards.
#pragma once

#include <string>
#include <string_view>

#include "src/base/hmac.h"
#include "src/base/status.h"

namespace tutti {

class StoreSeal {
 public:
  static constexpr std::size_t kTagBytes = sizeof(Digest);

  // `context` tells one kind of store from another. An empty secret gives a key that everybody can derive: the tag
  // then guards against accidents alone.
  static Result<StoreSeal> create(std::string_view secret, std::string_view context);

  Result<std::string> seal(std::string_view name, std::string_view value) const;
  // INVALID, with what to do about it, when the tag is not ours.
  Result<std::string> open(std::string_view name, std::string_view sealed) const;

 private:
  explicit StoreSeal(const SecretKey& key) : key_(key) {}
  Result<Digest> tag(std::string_view name, std::string_view value) const;

  SecretKey key_;
};

}  // namespace tutti
