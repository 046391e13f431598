// The socket at which a provider of libfabric's listens. Its tcp and net, of 1.17 to 2.5 at least, read a connection
// request from a socket that blocks: whoever sends the first half of one and no more stops the process for good.
#pragma once

#include <cstddef>
#include <span>

namespace tutti::ofi {

// What the listener at that address accepts waits for a millisecond at most, which ends a connection that has less to
// say than it should. Of addresses that are no socket's, nothing.
void limit_reads_of_accepted(std::span<const std::byte> address);

}  // namespace tutti::ofi
