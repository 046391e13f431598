// The conformance suite on the tcp transport, over this host's loopback.
#include "tests/conformance/conformance.h"
#include "transports/tcp/tcp.h"

namespace tutti::conformance {
namespace {

class TcpWorld final : public World {
 public:
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    TcpOptions options;
    options.process = id;
    options.host = *this_host_id();
    options.host_name = host_name();
    options.key = *derive_key("the secret of the conformance suite", "tutti tcp v1");
    options.lanes_max = 4;
    auto transport = make_tcp_transport(std::move(options));
    if (!transport) ADD_FAILURE() << transport.status().text();
    return transport ? *std::move(transport) : nullptr;
  }
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(Tcp, std::make_unique<TcpWorld>());
