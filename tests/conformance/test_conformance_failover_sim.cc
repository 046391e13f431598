// Fail-over around the simulated network against the conformance suite: with lanes that can stand in for each other,
// and with one.
#include "tests/conformance/sim_world.h"
#include "transports/failover/failover.h"

namespace tutti::conformance {

namespace {

class FailoverWorld final : public SimWorld {
 public:
  using SimWorld::SimWorld;
  bool lanes_end_together() const override { return true; }
};

std::unique_ptr<World> with_lanes(std::uint32_t lanes) {
  SimOptions options;
  options.lanes_max = lanes;
  return std::make_unique<FailoverWorld>(
      options, [](std::unique_ptr<Transport> transport, const ProcessId& id, std::uint64_t) {
        return make_failover_transport(std::move(transport), {.process = id});
      });
}

}  // namespace

}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FailoverFourLanes, with_lanes(4));
TUTTI_CONFORMANCE(FailoverOneLane, with_lanes(1));
