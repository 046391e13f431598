// Sides: processes with fail-over on a simulated network, each held to the contract by its Party, and the time that
// passes for them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/conformance/party.h"
#include "transports/failover/failover.h"
#include "transports/sim/sim_network.h"
#include "transports/sim/sim_transport.h"

namespace tutti {

class Sides {
 public:
  Sides(std::uint64_t seed, const SimOptions& options) : random_(seed), network_(seed, options) {}

  int size() const { return static_cast<int>(sides_.size()); }
  conformance::Party& side(int which) { return *sides_[static_cast<std::size_t>(which)]; }
  SimNetwork& network() { return network_; }
  Random& random() { return random_; }

  void pump() {
    std::size_t events = 0;
    for (const auto& each : sides_) events += each->poll(network_.now());
    if (events == 0) pass(std::chrono::milliseconds(20));
  }
  // To the next thing that happens, at most so far.
  void pass(Nanoseconds most) { network_.advance_to(std::min(network_.next_time(), network_.now() + most)); }
  bool run(const std::function<bool()>& done, Nanoseconds limit = std::chrono::seconds(60)) {
    for (const Instant end = network_.now() + limit; !done(); pump()) {
      if (network_.now() >= end) return false;
    }
    return true;
  }
  void run_for(Nanoseconds time) {
    run([] { return false; }, time);
  }

  struct Said {
    int side;
    LogLevel level;
    std::string text;
  };
  // What the sides have logged, in order.
  const std::vector<Said>& said() const { return said_; }

 protected:
  void add_side(FailoverOptions options) {
    options.log =
        Log(LogLevel::info, [this, which = size()](LogLevel level, std::string_view, std::string_view text) {
          said_.push_back({which, level, std::string(text)});
        });
    options.process.high = random_.next() | 1;
    options.process.low = sides_.size();
    const ProcessId id = options.process;
    sides_.push_back(
        std::make_unique<conformance::Party>(id, make_failover_transport(network_.attach(id), std::move(options))));
  }

  Random random_;
  SimNetwork network_;
  std::vector<Said> said_;
  std::vector<std::unique_ptr<conformance::Party>> sides_;
};

}  // namespace tutti
