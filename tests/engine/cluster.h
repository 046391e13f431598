// A whole cluster of engines in one thread, over the simulated network and its virtual clock. One seed decides
// everything: delays, forms of delivery, the order in which the engines get their turns.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "algorithms/catalog.h"
#include "src/engine/engine.h"
#include "transports/fault/fault_transport.h"
#include "transports/sim/sim_network.h"
#include "transports/sim/sim_transport.h"

namespace tutti {

struct ClusterOptions {
  int ranks = 2;
  int ranks_per_process = 1;
  bool elastic = false;
  bool by_step = false;       // elastic: outcomes are certain at agrees
  std::uint32_t minimum = 1;  // elastic
  bool one_host = false;      // with segments, so that small operations go over boards
  std::uint64_t eager_bytes = 1024;
  std::uint64_t board_bytes = 512;
  std::uint32_t segment_bytes = 256;
  Nanoseconds timeout = std::chrono::seconds(20);
  StragglerPolicy stragglers;
  SimOptions network;
  bool failover = false;              // lanes outlive their connections: see transports/failover/
  bool relays = false;                // with failover: third processes stand in for links
  std::string record_in;              // a directory for the processes' flight recorders; empty: they keep nothing
  std::optional<FaultOptions> fault;  // wrapped around every process's way to the network
};

class Cluster {
 public:
  struct Node {
    ProcessId id;
    Engine* engine = nullptr;
    Communicator* communicator = nullptr;
    bool alive = true;
  };

  Cluster(std::uint64_t seed, const ClusterOptions& options);
  ~Cluster();

  int size() const { return static_cast<int>(nodes_.size()); }
  Node& node(int rank) { return nodes_[static_cast<std::size_t>(rank)]; }
  SimNetwork& network() { return network_; }
  Random& random() { return random_; }
  const std::vector<std::string>& log() const { return log_; }  // warnings and errors of all engines
  // Where the flight recorder of the rank's process is.
  const std::string& record(int rank) const;
  struct Line {
    int process = 0;
    Instant at{};
    std::string text;
  };
  const std::vector<Line>& lines() const { return lines_; }  // the same, with whose they are and when they came

  Operation* start(int rank, const OperationRequest& request);
  // Room on every member's board for a communicator of these ranks, for create_from.
  std::vector<std::uint64_t> reserve_boards(const std::vector<Rank>& members);
  // Runs until done() or until `limit` of virtual time has passed; true if done.
  bool run(const std::function<bool()>& done, Nanoseconds limit = std::chrono::seconds(60));
  void run_for(Nanoseconds time);
  // One round of turns, then the clock moves if all were idle.
  void step();
  void crash(int rank);                              // its process, with all ranks in it
  void stop(int rank) { set_running(rank, false); }  // gets no turn until it is resumed
  void resume(int rank) { set_running(rank, true); }

 private:
  struct Process {
    ProcessId id;
    std::unique_ptr<Recorder> recorder;
    std::unique_ptr<Engine> engine;
    bool alive = true;
    bool running = true;
  };

  void add_process(int number);
  void set_running(int rank, bool running);

  ClusterOptions options_;
  Random random_;
  SimNetwork network_;
  std::vector<std::string> log_;
  std::vector<Line> lines_;
  std::vector<Process> processes_;
  std::vector<Node> nodes_;
};

}  // namespace tutti
