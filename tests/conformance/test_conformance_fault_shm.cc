// The fault wrapper with mild faults around shared memory against the conformance suite.
#include "tests/conformance/conformance.h"
#include "transports/fault/fault_transport.h"
#include "transports/shm/shm.h"

namespace tutti::conformance {

namespace {

class FaultShmWorld final : public World {
 public:
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    ShmOptions options;
    options.process = id;
    options.host = HostId{{1, 2}};
    options.key.fill(std::byte{42});
    options.regions = &regions_;
    auto made = make_shm_transport(std::move(options));
    if (!made) ADD_FAILURE() << made.status().text();
    if (!made) return nullptr;
    FaultOptions faults;
    faults.seed = test_seed() + made_++;
    faults.delay_probability = 0.05;
    faults.delay_max = std::chrono::microseconds(100);
    faults.again_probability = 0.05;
    return std::make_unique<FaultTransport>(*std::move(made), faults);
  }

 private:
  SharedRegions regions_;
  std::uint64_t made_ = 0;
};

}  // namespace

}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FaultShm, std::make_unique<FaultShmWorld>());
