// The fault wrapper with mild faults around TCP over loopback against the conformance suite.
#include "tests/conformance/conformance.h"
#include "transports/fault/fault_transport.h"
#include "transports/tcp/tcp.h"

namespace tutti::conformance {

namespace {

class FaultTcpWorld final : public World {
 public:
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    TcpOptions options;
    options.process = id;
    options.host = *this_host_id();
    options.host_name = host_name();
    options.key = *derive_key("the secret of the conformance suite", "tutti tcp v1");
    options.lanes_max = 2;
    auto made = make_tcp_transport(std::move(options));
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
  std::uint64_t made_ = 0;
};

}  // namespace

}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FaultTcp, std::make_unique<FaultTcpWorld>());
