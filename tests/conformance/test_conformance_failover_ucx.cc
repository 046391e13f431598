// Fail-over from UCX's transport to tcp against the conformance suite.
#include "tests/conformance/reserve.h"
#include "transports/ucx/ucx.h"

namespace tutti::conformance {
namespace {

class FailoverUcxWorld final : public World {
 public:
  bool lanes_end_together() const override { return true; }
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    UcxOptions options;
    options.fabric.process = id;
    options.fabric.host_name = host_name();
    options.transports = "tcp";
    auto fabric = make_ucx_transport(make_loopback_tcp(id, 1), std::move(options));
    if (!fabric) ADD_FAILURE() << fabric.status().text();
    return fabric ? with_tcp_in_reserve(id, *std::move(fabric)) : nullptr;
  }
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FailoverUcx, std::make_unique<FailoverUcxWorld>());
