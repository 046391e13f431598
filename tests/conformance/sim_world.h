// SimWorld: a simulated network as a conformance world. `wrap` may put another transport around each.
#pragma once

#include <functional>

#include "tests/conformance/conformance.h"
#include "transports/sim/sim_network.h"
#include "transports/sim/sim_transport.h"

namespace tutti::conformance {

class SimWorld : public World {
 public:
  using Wrap =
      std::function<std::unique_ptr<Transport>(std::unique_ptr<Transport>, const ProcessId&, std::uint64_t number)>;

  explicit SimWorld(const SimOptions& options, Wrap wrap = nullptr)
      : network_(test_seed(), options), wrap_(std::move(wrap)) {}

  std::unique_ptr<Transport> make(const ProcessId& id) override {
    std::unique_ptr<Transport> transport = network_.attach(id);
    return wrap_ ? wrap_(std::move(transport), id, made_++) : std::move(transport);
  }
  bool has_virtual_clock() const override { return true; }
  Instant now() override { return network_.now(); }
  void rest() override {
    if (!network_.advance()) network_.advance_to(network_.now() + Nanoseconds(1'000'000));
  }

 private:
  SimNetwork network_;
  Wrap wrap_;
  std::uint64_t made_ = 0;
};

}  // namespace tutti::conformance
