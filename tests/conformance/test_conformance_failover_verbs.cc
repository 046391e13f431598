// Fail-over from the verbs transport to tcp against the conformance suite.
#include "tests/conformance/reserve.h"
#include "tests/conformance/verbs_world.h"

namespace tutti::conformance {
namespace {

class FailoverVerbsWorld final : public VerbsWorld {
 public:
  bool lanes_end_together() const override { return true; }
  std::unique_ptr<Transport> make(const ProcessId& id) override {
    return with_tcp_in_reserve(id, VerbsWorld::make(id));
  }
};

}  // namespace
}  // namespace tutti::conformance

TUTTI_CONFORMANCE(FailoverVerbs, std::make_unique<FailoverVerbsWorld>());
