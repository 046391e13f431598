// CompiledMachine: an executor of compiled lanes that has nothing in common with the engine's. It works on plain
// memory, takes messages from a map, and runs one segment of any step whose needs hold, in an order drawn at random,
// some steps always as late as possible. What comes out right under every order has sufficient needs. All sends of a
// group send what the first of them to run has read: what comes out right has groups that may share.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "src/base/random.h"
#include "src/engine/compile.h"

namespace tutti {

class CompiledMachine {
 public:
  // One rank: its lanes and its memory, in int32. For in-place calls input and output point into one row.
  struct Node {
    std::vector<CompiledLane> lanes;
    std::int32_t* input = nullptr;
    std::int32_t* output = nullptr;
  };

  CompiledMachine(std::vector<Node>& nodes, Random& random);

  // Runs everything. Empty when all steps ended, else a sentence about what could not go on.
  std::string run();

 private:
  struct Task {
    std::size_t rank;
    std::size_t lane;
    std::uint32_t step;
    bool lazy;
  };
  using MessageKey = std::tuple<std::size_t, std::size_t, std::size_t, std::uint32_t>;  // lane, from, to, number

  using GroupKey = std::tuple<std::size_t, std::size_t, std::uint32_t, std::uint32_t>;  // rank, lane, group, segment

  bool is_ready(const Task& task) const;
  void run_segment(const Task& task);
  bool has_come(const Task& task, const Inbound& inbound, std::uint32_t segment) const;
  const std::vector<std::int32_t>& come(const Task& task, const Inbound& inbound, std::uint32_t segment) const;
  std::int32_t* at(const Task& task, const Place& place, std::uint32_t segment);
  const CompiledLane& lane_of(const Task& task) const { return nodes_[task.rank].lanes[task.lane]; }
  std::uint32_t& done(const Task& task) { return done_[task.rank][task.lane][task.step]; }
  std::uint32_t done(const Task& task) const { return done_[task.rank][task.lane][task.step]; }

  std::vector<Node>& nodes_;
  Random& random_;
  std::vector<std::vector<std::vector<std::uint32_t>>> done_;  // segments, by rank, lane, step
  std::vector<std::vector<std::vector<std::int32_t>>> scratch_;
  std::map<MessageKey, std::vector<std::vector<std::int32_t>>> sent_;
  std::map<GroupKey, std::vector<std::int32_t>> staged_;
  std::vector<Task> tasks_;
};

}  // namespace tutti
