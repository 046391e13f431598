// Fail-over from the verbs transport to tcp against the conformance suite.
#include "tests/conformance/verbs_world.h"
#include "transports/failover/failover.h"
#include "transports/failover/reserve.h"

namespace tutti::conformance {
namespace {

class FailoverVerbsWorld final : public VerbsWorld {
 public:
  bool lanes_end_together() const override { return true; }
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    auto verbs = VerbsWorld::make(id);
    auto tcp = make_loopback_tcp(id, 1);
    if (verbs == nullptr || tcp == nullptr) return nullptr;
    auto both = make_reserved_transport(std::move(verbs), std::move(tcp));
    if (!both) ADD_FAILURE() << both.status().text();
    return both ? make_failover_transport(*std::move(both), {.process = id, .reserve = true}) : nullptr;
  }
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FailoverVerbs, std::make_unique<FailoverVerbsWorld>());
