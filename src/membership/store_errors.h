// The sentences that all stores share.
#pragma once

#include "src/base/format.h"
#include "src/base/status.h"
#include "src/membership/store.h"

namespace tutti {

inline Status at_store(const Store& store, const Status& status) {
  return status ? Status() : status.prefixed(format("store {}", store.address()));
}

inline Status absent_key(std::string_view key) {
  return {Code::timeout, format("nobody stored the key {} before the deadline", key)};
}

inline Status too_few_keys(std::string_view prefix, std::size_t present, std::size_t wanted) {
  return {Code::timeout,
          format("{} of {} keys that begin with {} were there at the deadline", present, wanted, prefix)};
}

}  // namespace tutti
