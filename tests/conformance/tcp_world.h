// The tcp transport of this host's loopback as the conformance suite needs it: alone, or for others to wrap.
#pragma once

#include "tests/conformance/conformance.h"
#include "transports/tcp/tcp.h"

namespace tutti::conformance {

// Null, and the test has failed, if it cannot be made.
inline std::unique_ptr<Transport> make_loopback_tcp(const ProcessId& id, std::uint32_t lanes_max,
                                                    std::shared_ptr<const TlsContext> tls = nullptr) {
  TcpOptions options;
  options.process = id;
  options.host = *this_host_id();
  options.host_name = host_name();
  options.key = *derive_key("the secret of the conformance suite", "tutti tcp v1");
  options.tls = std::move(tls);
  options.tls_key = *derive_key("the secret of the conformance suite", "tutti tcp tls v1");
  options.lanes_max = lanes_max;
  auto made = make_tcp_transport(std::move(options));
  if (!made) ADD_FAILURE() << made.status().text();
  return made ? *std::move(made) : nullptr;
}

}  // namespace tutti::conformance
