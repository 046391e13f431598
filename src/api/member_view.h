// MemberView: who goes on in an elastic communicator after its members have changed. The same at every member; who
// joins gets it as its boarding pass. Bytes from elsewhere are parsed defensively.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/api/invitation.h"
#include "src/base/status.h"

namespace tutti {

using Blobs = std::vector<std::string>;

std::string encode_blobs(const Blobs& blobs);
// INTERNAL: that is no list.
Result<Blobs> decode_blobs(std::string_view bytes);

std::string text_of(const Invitation& invitation);
Result<Invitation> invitation_of(std::string_view text);

struct MemberView {
  struct Seat {
    Invitation member;
    int slot = 0;  // its number for as long as it is a member
    bool joins = false;
  };

  std::uint64_t id = 0;
  std::uint64_t epoch = 0;
  std::vector<Seat> seats;  // by rank

  int free_slot() const;  // the lowest that nobody has
  std::size_t stayed() const;
  int rank_of(const ProcessId& process, std::uint64_t nonce) const;  // -1: it is no member

  std::string encode() const;
  static Result<MemberView> decode(std::string_view bytes);
};

}  // namespace tutti
