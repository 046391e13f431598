// Script: what the ranks of a cluster call, as streams. The calls of one stream start in order; which stream of a
// rank goes on next, and when, is drawn at random. So the order in which collectives of one communicator or messages
// between one pair start is that of the program, and everything else is by chance.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/engine/call_data.h"
#include "tests/engine/cluster.h"

namespace tutti {

class Script {
 public:
  explicit Script(Cluster& cluster) : cluster_(cluster), streams_(static_cast<std::size_t>(cluster.size())) {}

  // `start` begins the call and gives its operation; null: it cannot begin yet and is asked again later.
  void add(int rank, const std::string& stream, std::function<Operation*()> start) {
    streams_[static_cast<std::size_t>(rank)][stream].push_back(std::move(start));
  }

  // Until all that living ranks call has started and ended. False when that takes too long.
  bool run(Nanoseconds limit = std::chrono::seconds(60)) {
    return cluster_.run([this] { return turn(); }, limit);
  }
  // Lets every rank begin one more call, perhaps. True when there is nothing left.
  bool turn();

  const std::vector<Operation*>& operations() const { return operations_; }

 private:
  Cluster& cluster_;
  std::vector<std::map<std::string, std::deque<std::function<Operation*()>>>> streams_;  // by rank
  std::vector<Operation*> operations_;
  std::vector<int> ranks_;  // of the operations
};

// One collective on all members of a communicator, with its data.
class CollectiveCall {
 public:
  static CallKind random_kind(Random& random, bool with_tables);

  CollectiveCall(CallKind kind, Rank ranks, Random& random);

  OperationRequest request(Rank rank);
  void set_algorithm(std::string_view name) { algorithm_ = name; }
  CallData& data() { return data_; }
  CallKind kind() const { return kind_; }
  // Frees the rank's memory, so that a sanitizer sees whoever still uses it.
  void free(Rank rank);

 private:
  CallKind kind_;
  CallData data_;
  std::string_view algorithm_;
};

}  // namespace tutti
