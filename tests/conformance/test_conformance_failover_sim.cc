// Fail-over around the simulated network against the conformance suite: with lanes that can stand in for each other,
// with one, and with one that may be relayed.
#include "tests/conformance/sim_world.h"
#include "transports/failover/failover.h"

namespace tutti::conformance {

namespace {

class FailoverWorld final : public SimWorld {
 public:
  using SimWorld::SimWorld;
  bool lanes_end_together() const override { return true; }
};

std::unique_ptr<World> with_lanes(std::uint32_t lanes, bool relays = false) {
  SimOptions options;
  options.lanes_max = lanes;
  return std::make_unique<FailoverWorld>(
      options, [relays](std::unique_ptr<Transport> transport, const ProcessId& id, std::uint64_t) {
        FailoverOptions failover;
        failover.process = id;
        failover.relays = relays;
        return make_failover_transport(std::move(transport), failover);
      });
}

}  // namespace

}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FailoverFourLanes, with_lanes(4));
TUTTI_CONFORMANCE(FailoverOneLane, with_lanes(1));
TUTTI_CONFORMANCE(FailoverRelays, with_lanes(1, true));
