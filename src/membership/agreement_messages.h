// How the messages of an agreement look as bytes. Pure: bytes in, values out, and nothing that a stranger can send is
// taken but what a member could have meant.
//
// message = version (1) | kind (1) | tag (8) | dead, one bit for each member ((members + 7) / 8) | fields of the kind
//   poke          nothing               contribution  value              decided   value
//   prepare       ballot                promise       ballot | accepted ballot or 0 | value
//   accept        ballot | value        accepted      ballot             refused   ballot | promised ballot
// All numbers little-endian; ballots have 8 bytes; value = length (4) | bytes.
//
// Ballots are numbered from 1, round by round and member by member: ballot 1 is member 0's, and 0 means none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "src/base/status.h"
#include "src/membership/member_set.h"

namespace tutti {

using Ballot = std::uint64_t;

constexpr std::size_t kAgreementValueBytes = std::size_t{1} << 20;  // the longest contribution and the longest value
constexpr Ballot kBallotMax = Ballot{1} << 56;                      // what can be outbid for ever

enum class AgreementKind : std::uint8_t {
  poke = 1,          // take part, and tell me your contribution
  contribution = 2,  // here it is
  prepare = 3,       // promise to take nothing older than this ballot, and tell me what you have accepted
  promise = 4,
  accept = 5,  // accept this value
  accepted = 6,
  refused = 7,  // a promise to a later ballot stands against it
  decided = 8,  // this is the value
};

struct AgreementMessage {
  AgreementKind kind = AgreementKind::poke;
  MemberSet dead;          // whom the sender knows to be dead
  Ballot ballot = 0;       // prepare to refused
  Ballot accepted = 0;     // promise: what the value was accepted in
  Ballot promised = 0;     // refused: what stands against it
  std::string value = {};  // contribution, promise, accept, decided
  bool operator==(const AgreementMessage&) const = default;
};

// What both sides of a message know.
struct AgreementFrame {
  std::uint64_t tag = 0;
  std::uint32_t members = 0;
};

// REQUIRES: what the kind does not have is 0 or empty; value.size() <= kAgreementValueBytes
std::string encode(const AgreementFrame& frame, const AgreementMessage& message);

// INVALID, blaming `from`, with the reason when the bytes are not exactly a message of this agreement that `from`
// could have sent to `to`.
Result<AgreementMessage> decode(const AgreementFrame& frame, std::uint32_t from, std::uint32_t to,
                                std::span<const std::byte> bytes);

}  // namespace tutti
