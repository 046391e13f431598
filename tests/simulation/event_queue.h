// EventQueue: what happens in a simulation and when; things of the same instant in the order in which they were put
// in.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "src/base/clock.h"

namespace tutti {

class EventQueue {
 public:
  void put(Instant at, std::function<void()> act) { events_.push({at, ++numbers_, std::move(act)}); }
  bool empty() const { return events_.empty(); }
  Instant next() const { return events_.empty() ? kNever : events_.top().at; }
  // The first one, taken out. REQUIRES: !empty()
  std::function<void()> take() {
    std::function<void()> act = events_.top().act;
    events_.pop();
    return act;
  }

 private:
  struct Event {
    Instant at;
    std::uint64_t number;
    std::function<void()> act;
    bool operator>(const Event& other) const { return at != other.at ? at > other.at : number > other.number; }
  };

  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t numbers_ = 0;
};

}  // namespace tutti
