// The conformance suite on the tcp transport, over this host's loopback: bare, and inside TLS by both ways to show
// who one is.
#include "tests/conformance/tcp_world.h"
#include "tests/tls/certificates.h"

namespace tutti::conformance {
namespace {

class TcpWorld final : public World {
 public:
  explicit TcpWorld(std::shared_ptr<const TlsContext> tls) : tls_(std::move(tls)) {}

  std::unique_ptr<Transport> make(const ProcessId& id) override { return make_loopback_tcp(id, 4, tls_); }

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
