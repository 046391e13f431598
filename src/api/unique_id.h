// The content of a tutti_unique_id: where the rendezvous is, what keeps strangers out, which communicator is meant.
// As bytes it is fixed in size and checked, so that a damaged or foreign id is refused with a sentence.
#pragma once

#include <string>

#include "include/tutti/tutti.h"
#include "src/base/ids.h"
#include "src/base/status.h"

namespace tutti {

struct UniqueId {
  Id128 id;
  std::string secret;  // 32 bytes
  std::string store;   // "tcp://host:port"

  Result<tutti_unique_id> encode() const;  // INVALID: the store's address is too long
  static Result<UniqueId> decode(const tutti_unique_id& bytes);
};

}  // namespace tutti
