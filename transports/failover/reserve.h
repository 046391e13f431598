// Reserve: two transports as one, so that fail-over can go from one to the other. Lanes are the first one's; lane
// kReserveLane is the only one of the second, on which nothing goes while the first lives (failover.h, `reserve`).
//
// What both promise holds: frames are as small, and copied up to the same size, as the stricter of them says. While
// nothing comes by the second it is asked now and then (kPause) and before each sleep, so that it costs the first no
// time.
#pragma once

#include <memory>

#include "src/base/status.h"
#include "src/transport/transport.h"

namespace tutti {

constexpr std::uint32_t kReserveLane = 16;  // the first one's are below it

// Fails where the two addresses together are too long for the rendezvous.
Result<std::unique_ptr<Transport>> make_reserved_transport(std::unique_ptr<Transport> first,
                                                           std::unique_ptr<Transport> second);

}  // namespace tutti
