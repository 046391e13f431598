#include "src/state/rule.h"

#include <algorithm>
#include <map>

namespace tutti {

Result<Candidates> newest(std::span<const Claim> claims) {
  Candidates candidates;
  bool is_something_lost = false;
  for (std::uint32_t rank = 0; rank < claims.size(); ++rank) {
    is_something_lost |= !claims[rank].is_whole;
    if (!claims[rank].is_whole || claims[rank].revision < candidates.revision) continue;
    if (claims[rank].revision > candidates.revision) candidates.ranks.clear();
    candidates.revision = claims[rank].revision;
    candidates.ranks.push_back(rank);
  }
  if (is_something_lost && candidates.revision == 0) {
    return Status(Code::invalid,
                  "no rank has a whole content any more: who had it is gone, and tensors of the others are partly "
                  "overwritten. Load a checkpoint into them, then call tutti_state_set_revision");
  }
  return candidates;
}

Choice choose(const Candidates& candidates, std::span<const Digest> contents) {
  std::map<Digest, std::size_t> votes;
  for (const Digest& content : contents) ++votes[content];
  std::size_t most = 0;
  Digest chosen;
  for (const Digest& content : contents) {  // by rank: of equals, the first
    if (votes[content] <= most) continue;
    most = votes[content];
    chosen = content;
  }
  Choice choice;
  for (std::size_t i = 0; i < contents.size(); ++i)
    (contents[i] == chosen ? choice.holders : choice.drifted).push_back(candidates.ranks[i]);
  return choice;
}

}  // namespace tutti
