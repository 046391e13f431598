// Fail-over around the tcp transport against the conformance suite, over this host's loopback.
#include "tests/conformance/conformance.h"
#include "transports/failover/failover.h"
#include "transports/tcp/tcp.h"

namespace tutti::conformance {
namespace {

class FailoverTcpWorld final : public World {
 public:
  bool lanes_end_together() const override { return true; }
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    TcpOptions options;
    options.process = id;
    options.host = *this_host_id();
    options.host_name = host_name();
    options.key = *derive_key("the secret of the conformance suite", "tutti tcp v1");
    options.lanes_max = 4;
    auto made = make_tcp_transport(std::move(options));
    if (!made) ADD_FAILURE() << made.status().text();
    return made ? make_failover_transport(*std::move(made), {.process = id}) : nullptr;
  }
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FailoverTcp, std::make_unique<FailoverTcpWorld>());
