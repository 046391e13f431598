// What the two ends of a new connection tell each other once both have proved that they know the key. Fixed size, so
// that who reads exactly one never reads into the frames behind it.
//
// The dialer says `hello`. The acceptor answers `refuse`, or, by which process id is smaller: `go` (the acceptor's
// is: it decides, and the link is open) or `offer` (the dialer's is: it decides and answers `go`, or closes). Because
// one of the two processes, always the same, decides about every connection of the pair, both agree on which is the
// link.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/base/ids.h"
#include "src/base/status.h"

namespace tutti::tcp {

constexpr std::size_t kGreetingBytes = 160;
constexpr std::uint32_t kLanesLimit = 64;  // a lane number at or above it is refused

struct Greeting {
  enum class Kind : std::uint16_t { hello = 1, offer = 2, go = 3, refuse = 4 };
  enum class Reason : std::uint32_t {
    none = 0,
    other_process = 1,  // the process that was meant does not listen here
    frame_limit = 2,    // the two processes have different bounds on a frame
    lane = 3,           // no such lane
    not_now = 4,        // another connection for this lane exists or is about to: no fault
  };

  Kind kind = Kind::hello;
  Reason reason = Reason::none;
  ProcessId from;
  ProcessId to;
  std::uint32_t lane = 0;
  std::uint32_t pid = 0;
  std::uint64_t frame_bytes_max = 0;
  // How many links this lane has had. hello: as many as the dialer knew of when it began to dial. go: with this one.
  std::uint64_t generation = 0;
  std::string host_name;
  bool operator==(const Greeting&) const = default;
};

std::vector<std::byte> encode(const Greeting& greeting);
// REQUIRES: kGreetingBytes bytes. `peer` names the sender in errors.
Result<Greeting> parse_greeting(std::span<const std::byte> bytes, const std::string& peer);

}  // namespace tutti::tcp
