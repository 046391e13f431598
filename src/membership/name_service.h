// The addresses of a host by its name. The system's look-up has no deadline, and may take minutes where a name
// service does not answer; so it runs in a thread of its own, which is left behind when the time is over.
#pragma once

#include <netdb.h>

#include <memory>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "src/membership/tcp_socket.h"

namespace tutti {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// `flags` are getaddrinfo's. AGAIN where a later attempt may help, with the system's words: the name is not known
// yet, or nothing was answered by the deadline. An address in numbers needs no thread and no time.
Result<AddressList> look_up(const HostPort& address, int flags, Instant deadline);

}  // namespace tutti
