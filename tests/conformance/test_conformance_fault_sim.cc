// The fault wrapper around the simulated network against the conformance suite: doing nothing, and with the mild
// faults that a correct transport could also show (events late, links stalled for a while, refusals without a
// reason).
#include "tests/conformance/sim_world.h"
#include "transports/fault/fault_transport.h"

namespace tutti::conformance {

namespace {

std::unique_ptr<World> faulty(const FaultOptions& faults) {
  SimOptions options;
  options.segment_bytes = 64 * 1024;
  return std::make_unique<SimWorld>(
      options, [faults](std::unique_ptr<Transport> transport, const ProcessId&, std::uint64_t number) {
        FaultOptions own = faults;
        own.seed = test_seed() + number;
        return std::make_unique<FaultTransport>(std::move(transport), own);
      });
}

FaultOptions mild() {
  FaultOptions faults;
  faults.delay_probability = 0.2;
  faults.delay_max = std::chrono::microseconds(300);
  faults.again_probability = 0.1;
  faults.stall_probability = 0.01;
  faults.stall_max = std::chrono::milliseconds(2);
  return faults;
}

}  // namespace

}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FaultDoingNothing, faulty(FaultOptions{}));
TUTTI_CONFORMANCE(FaultMild, faulty(mild()));
