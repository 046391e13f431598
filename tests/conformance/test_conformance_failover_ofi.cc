// Fail-over from libfabric's transport to tcp against the conformance suite.
#include "tests/conformance/reserve.h"
#include "transports/ofi/ofi.h"

namespace tutti::conformance {
namespace {

class FailoverOfiWorld final : public World {
 public:
  explicit FailoverOfiWorld(std::string provider) : provider_(std::move(provider)) {}
  bool lanes_end_together() const override { return true; }
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    OfiOptions options;
    options.fabric.process = id;
    options.fabric.host_name = host_name();
    options.provider = provider_;
    auto fabric = make_ofi_transport(make_loopback_tcp(id, 1), std::move(options));
    if (!fabric) ADD_FAILURE() << fabric.status().text();
    return fabric ? with_tcp_in_reserve(id, *std::move(fabric)) : nullptr;
  }

 private:
  const std::string provider_;
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FailoverOfi, std::make_unique<FailoverOfiWorld>("tcp;ofi_rxm"));
TUTTI_CONFORMANCE(FailoverOfiConnected, std::make_unique<FailoverOfiWorld>("tcp"));
