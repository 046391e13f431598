// The conformance suite on the tcp transport, over this host's loopback: bare, and inside TLS by both ways to show
// who one is.
#include "tests/conformance/conformance.h"
#include "tests/tls/certificates.h"
#include "transports/tcp/tcp.h"

namespace tutti::conformance {
namespace {

class TcpWorld final : public World {
 public:
  explicit TcpWorld(std::shared_ptr<const TlsContext> tls) : tls_(std::move(tls)) {}

  std::unique_ptr<Transport> make(const ProcessId& id) override {
    TcpOptions options;
    options.process = id;
    options.host = *this_host_id();
    options.host_name = host_name();
    options.key = *derive_key("the secret of the conformance suite", "tutti tcp v1");
    options.tls = tls_;
    options.tls_key = *derive_key("the secret of the conformance suite", "tutti tcp tls v1");
    options.lanes_max = 4;
    auto transport = make_tcp_transport(std::move(options));
    if (!transport) ADD_FAILURE() << transport.status().text();
    return transport ? *std::move(transport) : nullptr;
  }

 private:
  const std::shared_ptr<const TlsContext> tls_;
};

std::unique_ptr<World> make_world_with_certificates() {
  const Certificates certificates;
  certificates.issue("node");
  return std::make_unique<TcpWorld>(make_context(certificates.options("node")));
}

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(Tcp, std::make_unique<TcpWorld>(nullptr));
TUTTI_CONFORMANCE(TcpTlsKey, std::make_unique<TcpWorld>(psk_context()));
TUTTI_CONFORMANCE(TcpTlsCertificates, make_world_with_certificates());
