#include "tests/engine/cluster.h"

#include <algorithm>
#include <numeric>

namespace tutti {

namespace {

SimOptions network_options(const ClusterOptions& options) {
  SimOptions network = options.network;
  network.segment_bytes = options.one_host ? 1 << 20 : 0;
  return network;
}

}  // namespace

Cluster::Cluster(std::uint64_t seed, const ClusterOptions& options)
    : random_(seed), network_(seed, network_options(options)) {
  std::vector<MemberSpec> members;
  for (int rank = 0; rank < options.ranks; ++rank) {
    Node node;
    node.id.high = random_.next() | 1;
    node.id.low = static_cast<std::uint64_t>(rank);
    node.recorder = Recorder::none();
    EngineOptions engine;
    engine.process = node.id;
    engine.host.low = options.one_host ? 1 : static_cast<std::uint64_t>(rank) + 1;
    engine.pid = 100 + static_cast<std::uint32_t>(rank);
    engine.host_name = options.one_host ? "host" : "host" + std::to_string(rank);
    engine.cores = 2;
    engine.algorithms = all_algorithms();
    std::vector<std::unique_ptr<Transport>> transports;
    transports.push_back(network_.attach(node.id));
    node.engine = std::make_unique<Engine>(std::move(engine), std::move(transports), *node.recorder);
    members.push_back({node.engine->address(), node.engine->reserve_board(options.board_bytes)});
    nodes_.push_back(std::move(node));
  }
  for (int rank = 0; rank < options.ranks; ++rank) {
    CommunicatorSpec spec;
    spec.id = 77;
    spec.name = "sim";
    spec.rank = rank;
    spec.members = members;
    spec.timeout = options.timeout;
    spec.eager_bytes = options.eager_bytes;
    spec.board_bytes = options.board_bytes;
    spec.segment_bytes = options.segment_bytes;
    node(rank).communicator = *node(rank).engine->create(std::move(spec), network_.now());
  }
}

Cluster::~Cluster() {
  for (Node& node : nodes_) node.engine.reset();
}

Operation* Cluster::start(int rank, const OperationRequest& request) {
  const Result<Operation*> started = node(rank).engine->start(node(rank).communicator, request, network_.now());
  return started ? *started : nullptr;
}

void Cluster::step() {
  std::vector<int> order(nodes_.size());
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  std::size_t done = 0;
  for (const int rank : order) {
    if (node(rank).alive) done += node(rank).engine->progress(network_.now());
  }
  if (done > 0) return;
  Instant next = network_.next_time();
  for (const Node& each : nodes_) {
    if (each.alive && each.engine->has_operations()) next = std::min(next, each.engine->next_timer());
  }
  if (next == kNever) return;
  network_.advance_to(std::max(next, network_.now()));
}

bool Cluster::run(const std::function<bool()>& done, Nanoseconds limit) {
  const Instant end = network_.now() + limit;
  while (!done()) {
    if (network_.now() >= end) return false;
    step();
  }
  return true;
}

void Cluster::crash(int rank) {
  node(rank).alive = false;
  network_.crash(node(rank).id);
}

}  // namespace tutti
