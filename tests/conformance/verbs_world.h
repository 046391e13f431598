// The verbs transport as the conformance suite needs it: on this machine's RDMA ports where TUTTI_TEST_RDMA is set
// (in perf/lab/vm, which has some), otherwise on two ports of the implementation in
// tests/transport_verbs/fake_verbs.h.
#pragma once

#include <cstdlib>

#include "tests/conformance/tcp_world.h"
#include "tests/transport_verbs/fake_verbs.h"
#include "transports/verbs/connector.h"
#include "transports/verbs/verbs.h"

namespace tutti::conformance {

class VerbsWorld : public World {
 public:
  VerbsWorld() {
    if (!is_real_) verbs::reset_fake_verbs({verbs::fake_port("fake0"), verbs::fake_port("fake1")});
  }
  ~VerbsWorld() override {
    for (const std::string& breach : verbs::fake_breaches()) ADD_FAILURE() << breach;
    EXPECT_EQ(verbs::fake_pinned_bytes(), 0u);
  }

  std::unique_ptr<Transport> make(const ProcessId& id) override {
    VerbsOptions options;
    options.process = id;
    options.host_name = host_name();
    if (const char* const by = std::getenv("TUTTI_VERBS_CONNECT"); is_real_ && by != nullptr)
      options.make_connector = [](const auto ports) { return verbs::make_rdma_cm(ports, Log()); };
    options.make_control = [id]() -> Result<std::unique_ptr<Transport>> { return make_loopback_tcp(id, 4); };
    auto made = is_real_ ? make_verbs_transport(std::move(options))
                         : make_verbs_transport(std::move(options), verbs::fake_library());
    if (!made) ADD_FAILURE() << made.status().text();
    return made ? *std::move(made) : nullptr;
  }

 private:
  const bool is_real_ = std::getenv("TUTTI_TEST_RDMA") != nullptr;
};

}  // namespace tutti::conformance
