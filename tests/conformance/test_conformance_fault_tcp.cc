// The fault wrapper with mild faults around TCP over loopback against the conformance suite.
#include "tests/conformance/tcp_world.h"
#include "transports/fault/fault_transport.h"

namespace tutti::conformance {

namespace {

class FaultTcpWorld final : public World {
 public:
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    auto made = make_loopback_tcp(id, 2);
    if (!made) return nullptr;
    FaultOptions faults;
    faults.seed = test_seed() + made_++;
    faults.delay_probability = 0.05;
    faults.delay_max = std::chrono::microseconds(100);
    faults.again_probability = 0.05;
    return std::make_unique<FaultTransport>(std::move(made), faults);
  }

 private:
  std::uint64_t made_ = 0;
};

}  // namespace

}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FaultTcp, std::make_unique<FaultTcpWorld>());
