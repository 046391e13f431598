#include "tests/engine/cluster.h"

#include <algorithm>
#include <numeric>

#include "transports/failover/failover.h"
#include "transports/self/self_transport.h"

namespace tutti {

namespace {

// A wrapper that holds events back has no time of its own: while it may, the clock moves in steps of this length.
constexpr Nanoseconds kFaultStep = std::chrono::microseconds(50);

SimOptions network_options(const ClusterOptions& options) {
  SimOptions network = options.network;
  network.segment_bytes = options.one_host ? 1 << 20 : 0;
  return network;
}

}  // namespace

Cluster::Cluster(std::uint64_t seed, const ClusterOptions& options)
    : options_(options), random_(seed), network_(seed, network_options(options)) {
  const int processes = (options.ranks + options.ranks_per_process - 1) / options.ranks_per_process;
  for (int number = 0; number < processes; ++number) add_process(number);
  std::vector<MemberSpec> members;
  for (int rank = 0; rank < options.ranks; ++rank) {
    Process& process = processes_[static_cast<std::size_t>(rank / options.ranks_per_process)];
    nodes_.push_back({process.id, process.engine.get(), nullptr, true});
    members.push_back({process.engine->address(), process.engine->reserve_board(options.board_bytes)});
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
    spec.elastic = options.elastic;
    spec.stragglers = options.stragglers;
    spec.by_step = options.by_step;
    spec.minimum = options.minimum;
    node(rank).communicator = *node(rank).engine->create(spec, network_.now());
  }
}

Cluster::~Cluster() {
  for (Process& process : processes_) process.engine.reset();
}

void Cluster::add_process(int number) {
  Process process;
  process.id.high = random_.next() | 1;
  process.id.low = static_cast<std::uint64_t>(number);
  RecorderOptions recorder;
  recorder.enabled = !options_.record_in.empty();
  recorder.directory = options_.record_in;
  recorder.process = process.id;
  process.recorder = Recorder::open(recorder, network_.now(), Log());
  EngineOptions engine;
  engine.process = process.id;
  engine.host.low = options_.one_host ? 1 : static_cast<std::uint64_t>(number) + 1;
  engine.pid = 100 + static_cast<std::uint32_t>(number);
  engine.host_name = options_.one_host ? "host" : "host" + std::to_string(number);
  engine.cores = 2;
  if (number % 2 == 0) engine.cache_bytes = 0;  // writes past its caches, whatever the size
  engine.algorithms = all_algorithms();
  engine.has_ended = [this](const ProcessAddress& address) {  // as a process of the same host can tell
    const auto same = [&](const Process& each) { return each.id == address.process; };
    const auto found = std::find_if(processes_.begin(), processes_.end(), same);
    return options_.one_host && found != processes_.end() && !found->alive;
  };
  engine.process_state = [this](const ProcessAddress& address) {
    const auto same = [&](const Process& each) { return each.id == address.process; };
    const auto found = std::find_if(processes_.begin(), processes_.end(), same);
    if (!options_.one_host || found == processes_.end() || !found->alive) return '\0';
    return found->running ? 'S' : 'T';
  };
  engine.log = Log(LogLevel::warn, [this, number](LogLevel, std::string_view, std::string_view text) {
    log_.emplace_back(text);
    lines_.push_back({number, network_.now(), std::string(text)});
  });
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::make_unique<SelfTransport>(process.id));
  transports.push_back(network_.attach(process.id));
  if (options_.fault) {
    FaultOptions fault = *options_.fault;
    fault.seed = random_.next();
    transports.back() = std::make_unique<FaultTransport>(std::move(transports.back()), fault);
  }
  if (options_.failover) {
    FailoverOptions failover;
    failover.process = process.id;
    failover.relays = options_.relays;
    transports.back() = make_failover_transport(std::move(transports.back()), failover);
  }
  process.engine = std::make_unique<Engine>(std::move(engine), std::move(transports), *process.recorder);
  processes_.push_back(std::move(process));
}

const std::string& Cluster::record(int rank) const {
  return processes_[static_cast<std::size_t>(rank / options_.ranks_per_process)].recorder->path();
}

Operation* Cluster::start(int rank, const OperationRequest& request) {
  const Result<Operation*> started = node(rank).engine->start(node(rank).communicator, request, network_.now());
  return started ? *started : nullptr;
}

std::vector<std::uint64_t> Cluster::reserve_boards(const std::vector<Rank>& members) {
  std::vector<std::uint64_t> offsets;
  for (const Rank rank : members) offsets.push_back(node(rank).engine->reserve_board(options_.board_bytes));
  return offsets;
}

void Cluster::step() {
  std::vector<std::size_t> order(processes_.size());
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.below(i)]);
  std::size_t done = 0;
  for (const std::size_t index : order) {
    Process& process = processes_[index];
    if (process.alive && process.running) done += process.engine->progress(network_.now());
  }
  if (done > 0) return;
  Instant next = network_.next_time();
  for (const Process& process : processes_) {
    if (process.alive && process.running && process.engine->has_operations())
      next = std::min(next, process.engine->next_timer());
  }
  if (options_.fault) next = std::min(next, network_.now() + kFaultStep);
  if (next == kNever) next = network_.now() + std::chrono::milliseconds(1);
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

void Cluster::run_for(Nanoseconds time) {
  run([] { return false; }, time);
}

void Cluster::set_running(int rank, bool running) {
  for (Process& process : processes_) {
    if (process.id == node(rank).id) process.running = running;
  }
}

void Cluster::crash(int rank) {
  for (Node& each : nodes_) each.alive &= each.id != node(rank).id;
  for (Process& process : processes_) process.alive &= process.id != node(rank).id;
  network_.crash(node(rank).id);
}

}  // namespace tutti
