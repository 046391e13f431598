// Fail-over around the tcp transport against the conformance suite, over this host's loopback.
#include "tests/conformance/tcp_world.h"
#include "transports/failover/failover.h"

namespace tutti::conformance {
namespace {

class FailoverTcpWorld final : public World {
 public:
  bool lanes_end_together() const override { return true; }
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    auto made = make_loopback_tcp(id, 4);
    return made ? make_failover_transport(std::move(made), {.process = id}) : nullptr;
  }
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FailoverTcp, std::make_unique<FailoverTcpWorld>());
