// The conformance suite on libfabric's transport, over the providers that need no NIC of their own.
#include "tests/conformance/tcp_world.h"
#include "transports/ofi/ofi.h"

namespace tutti::conformance {
namespace {

using Domains = std::vector<std::string>;

class OfiWorld final : public World {
 public:
  OfiWorld(std::string provider, Domains domains) : provider_(std::move(provider)), domains_(std::move(domains)) {}

  std::unique_ptr<Transport> make(const ProcessId& id) override {
    OfiOptions options;
    options.fabric.process = id;
    options.fabric.host_name = host_name();
    options.provider = provider_;
    options.domains = domains_;
    auto made = make_ofi_transport(make_loopback_tcp(id, 1), std::move(options));
    EXPECT_TRUE(made.is_ok()) << made.status().text();
    return std::move(*made);
  }

 private:
  const std::string provider_;
  const Domains domains_;
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(OfiTcp, std::make_unique<OfiWorld>("tcp;ofi_rxm", Domains{}));
TUTTI_CONFORMANCE(OfiTcpConnected, std::make_unique<OfiWorld>("tcp", Domains{"all"}));
TUTTI_CONFORMANCE(OfiNetConnected, std::make_unique<OfiWorld>("net", Domains{}));
TUTTI_CONFORMANCE(OfiShm, std::make_unique<OfiWorld>("shm", Domains{}));
