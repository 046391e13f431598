// A transport with a tcp connection in reserve, as tests wrap it: what it loses goes on over that, and back.
#pragma once

#include "tests/conformance/tcp_world.h"
#include "transports/failover/failover.h"
#include "transports/failover/reserve.h"

namespace tutti::conformance {

// Null, and the test has failed, if it cannot be made; null for null, too. `options` without process and reserve.
inline std::unique_ptr<Transport> with_tcp_in_reserve(const ProcessId& id, std::unique_ptr<Transport> preferred,
                                                      FailoverOptions options = {}) {
  auto tcp = make_loopback_tcp(id, 1);
  if (preferred == nullptr || tcp == nullptr) return nullptr;
  auto both = make_reserved_transport(std::move(preferred), std::move(tcp));
  if (!both) ADD_FAILURE() << both.status().text();
  options.process = id;
  options.reserve = true;
  return both ? make_failover_transport(*std::move(both), options) : nullptr;
}

}  // namespace tutti::conformance
