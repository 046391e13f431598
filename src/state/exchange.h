// Exchange: one rank's part in the transfers of a shared state: which of them it may begin now. Between two ranks
// they begin in the order of the plan at both ends, as messages match by order; a chunk that has to be passed on
// waits until it is there; some of each pair are under way at a time, so that links stay busy and memory stays
// bounded.
//
// It ends whatever the order in which transfers do: one of chunk c waits for none but such of chunks before c, and of
// c itself for those by which it comes to the sender.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "src/state/transfer_plan.h"

namespace tutti {

class Exchange {
 public:
  Exchange(std::uint32_t self, std::uint32_t chunks) : self_(self), is_awaited_(chunks) {}

  // Those of this rank, in the order of the plan, before anything else.
  void add(const Transfer& transfer);
  // One to begin now; nothing: until one that was begun has ended.
  std::optional<Transfer> next();
  void ended(const Transfer& transfer);

  std::size_t receives() const { return receives_; }
  std::size_t sends() const { return sends_; }

 private:
  struct Stream {
    std::deque<Transfer> waiting;
    std::size_t under_way = 0;
  };
  Stream& stream_of(const Transfer& transfer);
  std::size_t window() const;

  const std::uint32_t self_;
  std::map<std::pair<std::uint32_t, bool>, Stream> streams_;  // by the other rank, and whether this one sends
  std::vector<bool> is_awaited_;                              // by chunk: comes from another rank
  std::size_t receives_ = 0;
  std::size_t sends_ = 0;
};

}  // namespace tutti
