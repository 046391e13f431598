// One side's effort to make a link: which routes, how often tried, when again. Pure: the time is handed in, and the
// sockets are elsewhere.
//
// The routes are tried in turn; after a whole round there is a rest, twice as long each time. When every route of one
// round was refused for good (another secret, another process) there is nothing to wait for, and the dial ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "transports/tcp/routes.h"

namespace tutti::tcp {

class Dial {
 public:
  // `peer` names the process in messages. REQUIRES: routes is not empty.
  Dial(std::vector<Route> routes, std::string peer, Instant began, Instant deadline);

  const Route& route() const { return routes_[current_]; }
  Instant deadline() const { return deadline_; }
  Instant next_try() const { return next_try_; }
  bool is_trying() const { return setup_ != 0; }
  std::uint64_t setup() const { return setup_; }  // the set-up of the try that goes on, or 0
  void begin_try(std::uint64_t setup);

  // The try ended without a link.
  void fail_try(std::string cause, bool definitive, Instant now);
  // The peer has or makes another connection for this lane; try again in a while in case that comes to nothing.
  void yield_to_peer(Instant now);

  bool is_hopeless() const { return hopeless_; }
  // Why there is no link: every route with what became of it. `ongoing` is what the try that goes on waits for, or
  // empty.
  Status explain(std::string_view ongoing, Instant now) const;

 private:
  void rest(Instant now);

  std::vector<Route> routes_;
  std::vector<std::string> causes_;  // of the last try of each route; empty: not tried
  std::string peer_;
  Instant began_;
  Instant deadline_;
  Instant next_try_;
  std::size_t current_ = 0;
  std::size_t tries_ = 0;
  std::size_t definitive_in_round_ = 0;
  Nanoseconds rest_ = std::chrono::milliseconds(5);
  std::uint64_t setup_ = 0;
  bool hopeless_ = false;
  bool yielded_ = false;
};

}  // namespace tutti::tcp
