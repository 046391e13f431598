#include "transports/tcp/dial.h"

#include <algorithm>

#include "src/base/format.h"

namespace tutti::tcp {

namespace {
constexpr Nanoseconds kRestMax = std::chrono::seconds(1);
constexpr std::size_t kRoutesTold = 4;  // in a sentence; more are counted
}  // namespace

Dial::Dial(std::vector<Route> routes, std::string peer, Instant began, Instant deadline)
    : routes_(std::move(routes)),
      causes_(routes_.size()),
      peer_(std::move(peer)),
      began_(began),
      deadline_(deadline),
      next_try_(began) {}

void Dial::begin_try(std::uint64_t setup) {
  setup_ = setup;
  yielded_ = false;
  ++tries_;
}

void Dial::fail_try(std::string cause, bool definitive, Instant now) {
  setup_ = 0;
  causes_[current_] = std::move(cause);
  if (definitive) ++definitive_in_round_;
  next_try_ = now;
  current_ = (current_ + 1) % routes_.size();
  if (current_ != 0) return;
  hopeless_ = definitive_in_round_ == routes_.size();
  definitive_in_round_ = 0;
  rest(now);
}

void Dial::yield_to_peer(Instant now) {
  setup_ = 0;
  yielded_ = true;
  rest(now);
}

void Dial::rest(Instant now) {
  next_try_ = deadline_after(now, rest_);
  rest_ = std::min(2 * rest_, kRestMax);
}

Status Dial::explain(std::string_view ongoing, Instant now) const {
  std::string told;
  std::size_t count = 0;
  for (std::size_t i = 0; i < routes_.size(); ++i) {
    const bool goes_on = i == current_ && !ongoing.empty();
    if (causes_[i].empty() && !goes_on) continue;
    if (++count > kRoutesTold) continue;
    const Route& route = routes_[i];
    told +=
        format("{}from {} {} to {}: {}", told.empty() ? "" : "; ", route.interface, to_string(route.source),
               to_string(route.destination), goes_on ? format("no answer yet, waiting for {}", ongoing) : causes_[i]);
  }
  if (count > kRoutesTold) told += format("; and {} more ways", count - kRoutesTold);
  if (yielded_) told += told.empty() ? "the peer's own connection did not come about" : "";
  const std::string_view advice = hopeless_ ? "Give every process of the job the same secret and address list"
                                            : "Check that it runs, and that a firewall lets its port through";
  return Status(hopeless_ ? Code::invalid : Code::timeout,
                format("tcp: no connection to {}: {}; {} {} in {}. No link was made. {}", peer_, told, tries_,
                       tries_ == 1 ? "try" : "tries", format_duration(now - began_), advice));
}

}  // namespace tutti::tcp
