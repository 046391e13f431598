// rendezvous: how the processes of a group find each other. Each publishes its number and a few bytes (addresses,
// say) in a store and gets everybody's. Who does not come, comes twice, or has another idea of the group's size, is
// named.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "src/membership/store.h"

namespace tutti {

struct Roster {
  struct Member {
    std::string host;
    std::int64_t pid = 0;
    std::vector<std::byte> blob;
  };
  std::vector<Member> members;  // by rank
};

// The same roster at every rank, or an error that ends the others' wait as well where they still wait:
// - TIMEOUT names the ranks that did not arrive and blames the first of them.
// - INVALID names two processes that claim one rank, or that were started with different sizes.
// - the status that another rank posted by fail_rendezvous, with that rank to blame.
// A name may be used again once all have returned; until then it must be this group's alone.
Result<Roster> rendezvous(Store& store, const std::string& group_name, int rank, int size,
                          std::span<const std::byte> my_blob, Instant deadline);

// For a rank that cannot take part: the others get `why` at once instead of a timeout. To be called instead of
// rendezvous, or after it failed.
Status fail_rendezvous(Store& store, const std::string& group_name, int rank, int size, const Status& why,
                       Instant deadline);

}  // namespace tutti
