// The conformance suite on UCX's transport, over TCP on this host: UCX's shared memory cannot withdraw what is under
// way, which the contract asks for.
#include "tests/conformance/tcp_world.h"
#include "transports/ucx/ucx.h"

namespace tutti::conformance {
namespace {

class UcxWorld final : public World {
 public:
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    UcxOptions options;
    options.fabric.process = id;
    options.fabric.host_name = host_name();
    options.transports = "tcp";
    auto made = make_ucx_transport(make_loopback_tcp(id, 1), std::move(options));
    EXPECT_TRUE(made.is_ok()) << made.status().text();
    return std::move(*made);
  }
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(Ucx, std::make_unique<UcxWorld>());
