#include "src/planning/cost_model.h"

#include <algorithm>
#include <vector>

namespace tutti {

namespace {

constexpr double kReducedBytesPerNs = 25;  // one operand of a reduction, one core
constexpr double kCopiedBytesPerNs = 10;   // within a rank, one core
constexpr double kCacheBytes = 2 << 20;    // moved bytes per host at which half the gain of caches is gone
constexpr double kBoardRoundNs = 250;      // publish, and see what another core has published
constexpr double kBoardCrowdedRoundNs = 5'000;
constexpr double kBoardMemberNs = 60;  // look at one more member's cell
constexpr double kFillPasses = 1.5;    // one rank reads a segment, then another what came of it, which is in a cache
constexpr Rank kRanksLookedAt = 16;

// A share grows up to here, so that it stays one: nine of whatever it counts.
double above_one(double count) { return std::clamp(count - 1, 0.0, 8.0); }

double blocks_in(const Program& program, const View& view) {
  const double part = static_cast<double>(view.hi - view.lo) / view.den;
  if (view.buffer != Buffer::scratch) return part * view.blocks;
  double blocks = 0;
  for (std::uint32_t b = view.block; b < view.block + view.blocks; ++b) {
    const View& like = program.scratch[b];
    blocks += static_cast<double>(like.hi - like.lo) / like.den * like.blocks;
  }
  return part * blocks;
}

double between(double from, double to, double share) { return from + (to - from) * share; }

struct Part {
  double ns;
  std::string_view name;
};

Cost total_of(std::initializer_list<Part> parts) {
  Cost cost;
  double sum = 0;
  double most = -1;
  for (const Part& part : parts) {
    sum += part.ns;
    if (part.ns <= most) continue;
    most = part.ns;
    cost.limit = part.name;
  }
  cost.time = Nanoseconds(static_cast<std::int64_t>(sum));
  return cost;
}

}  // namespace

const Medium& shared_memory_medium() {
  static constexpr Medium medium{.name = "shared memory",
                                 .round_ns = 2'000,
                                 .crowded_round_ns = 1'500,
                                 .message_ns = 300,
                                 .crowded_message_ns = 1'500,
                                 .bytes_per_ns = 10,
                                 .cached_bytes_per_ns = 26,
                                 .machine_bytes_per_ns = 10.5,
                                 .relay_share = 0.1,
                                 .in_flight_share = 0,
                                 .destination_share = 0};
  return medium;
}

const Medium& loopback_medium() {
  static constexpr Medium medium{.name = "loopback",
                                 .round_ns = 6'000,
                                 .crowded_round_ns = 4'500,
                                 .message_ns = 4'000,
                                 .crowded_message_ns = 5'000,
                                 .bytes_per_ns = 2.3,
                                 .cached_bytes_per_ns = 3.4,
                                 .machine_bytes_per_ns = 6,
                                 .relay_share = 0,
                                 .in_flight_share = 0.15,
                                 .destination_share = 0.05};
  return medium;
}

const Medium& network_medium() {
  static constexpr Medium medium{.name = "network",
                                 .round_ns = 15'000,
                                 .crowded_round_ns = 15'000,
                                 .message_ns = 5'000,
                                 .crowded_message_ns = 5'000,
                                 .bytes_per_ns = 1.25,
                                 .cached_bytes_per_ns = 1.25,
                                 .machine_bytes_per_ns = 6,
                                 .relay_share = 0,
                                 .in_flight_share = 0,
                                 .destination_share = 0.05};
  return medium;
}

Demand demand_of(const Algorithm& algorithm, Rank ranks) {
  Demand demand;
  demand.busiest = algorithm.expected(ranks);
  const Rank looked_at = std::min(ranks, kRanksLookedAt);
  std::vector<Rank> destinations;
  for (Rank i = 0; i < looked_at; ++i) {
    Call call;
    call.what = algorithm.what;
    call.ranks = ranks;
    call.rank = static_cast<Rank>(static_cast<std::int64_t>(i) * ranks / looked_at);
    const Program program = make_program(algorithm, call);
    // Rank 0 is the root of what has one, and like no other.
    const double stands_for = i == 0 ? 1 : static_cast<double>(ranks - 1) / (looked_at - 1);
    double reduced = 0;
    double received = 0;
    destinations.clear();
    for (const Step& step : program.steps) {
      const double blocks = blocks_in(program, step.kind == StepKind::send ? step.source : step.target);
      if (step.kind == StepKind::send) {
        demand.messages += stands_for * step.peers.count;
        demand.sent += stands_for * step.peers.count * blocks;
        const auto peers = program.peers_of(step);
        destinations.insert(destinations.end(), peers.begin(), peers.end());
      } else if (step.kind == StepKind::reduce) {
        reduced += (step.operands.count + 1) / 3.0 * blocks;
        for (const Operand& operand : program.operands_of(step)) received += operand.peer >= 0 ? blocks : 0;
      } else if (step.kind == StepKind::receive) {
        received += blocks;
      } else if (step.kind == StepKind::copy) {
        demand.copied += stands_for * blocks;
      }
    }
    demand.reduced += stands_for * reduced;
    demand.busiest_received = std::max(demand.busiest_received, received);
    demand.busiest_reduced = std::max(demand.busiest_reduced, reduced);
    std::sort(destinations.begin(), destinations.end());
    const auto distinct = std::unique(destinations.begin(), destinations.end()) - destinations.begin();
    demand.destinations = std::max(demand.destinations, static_cast<std::uint32_t>(distinct));
  }
  return demand;
}

Cost estimate(const Demand& demand, std::uint64_t block_bytes, const Shape& shape, std::uint32_t lanes) {
  const bool in_memory = shape.shared_memory && shape.hosts == 1;
  const Medium& medium = in_memory ? shared_memory_medium() : shape.hosts == 1 ? loopback_medium() : network_medium();
  const bool crowded = shape.ranks_per_core > 1;
  const auto bytes = static_cast<double>(block_bytes);
  const double hosts = shape.hosts;
  const double cores = std::max(1.0, shape.ranks / hosts / shape.ranks_per_core);
  const Counts& busiest = demand.busiest;
  const double rounds = busiest.rounds;

  // What all ranks of a host ask of its cores, and what the busiest rank has to do one after the other.
  const double rounds_ns = rounds * (crowded ? medium.crowded_round_ns : medium.round_ns);
  const double messages_ns = std::max(static_cast<double>(busiest.messages), demand.messages / hosts / cores) *
                             (crowded ? medium.crowded_message_ns : medium.message_ns);
  const double moved = demand.sent * bytes / hosts;
  const double uncached = 1 - 1 / (1 + moved / kCacheBytes);
  const double rate = between(medium.cached_bytes_per_ns, medium.bytes_per_ns, uncached);
  const double host_rate = between(medium.cached_bytes_per_ns * cores,
                                   std::min(medium.bytes_per_ns * cores, medium.machine_bytes_per_ns), uncached);
  const double in_flight = rounds == 0 ? 1 : static_cast<double>(busiest.messages) / rounds;
  const double longer = 1 + medium.relay_share * above_one(rounds) + medium.in_flight_share * above_one(in_flight) +
                        medium.destination_share * above_one(demand.destinations);
  const double link_ns = in_memory ? demand.busiest_received * bytes * longer / rate
                                   : busiest.sent.value() * bytes * longer / (rate * lanes);
  const double host_ns = moved * longer / host_rate;
  // What is sent on has to come first: a chain of rounds starts to stream when its first segment is through all of
  // it. Ranks that share a core fill such gaps with each other's work.
  const double message = busiest.messages == 0 ? 0 : busiest.sent.value() * bytes / busiest.messages;
  const double fill_ns = !in_memory || crowded || rounds < 2
                             ? 0
                             : (rounds - 1) * kFillPasses * std::min<double>(message, kMemorySegmentBytes) / rate;
  const double copies_ns = demand.copied * bytes / hosts / cores / kCopiedBytesPerNs;
  const double reduce_ns =
      std::max(demand.busiest_reduced, demand.reduced / hosts / cores) * bytes / kReducedBytesPerNs;
  return total_of({{rounds_ns + fill_ns, "latency"},
                   {messages_ns, "messages"},
                   {std::max(link_ns, host_ns), link_ns >= host_ns ? "bandwidth" : "memory bandwidth"},
                   {copies_ns, "copies"},
                   {reduce_ns, "reductions"}});
}

Cost estimate_board(std::uint64_t input_bytes, const Shape& shape) {
  const bool crowded = shape.ranks_per_core > 1;
  const double read = static_cast<double>(input_bytes) * shape.ranks;
  return total_of({{crowded ? kBoardCrowdedRoundNs : kBoardRoundNs, "latency"},
                   {shape.ranks * kBoardMemberNs, "messages"},
                   {read / shared_memory_medium().cached_bytes_per_ns, "bandwidth"},
                   {read / kReducedBytesPerNs, "reductions"}});
}

}  // namespace tutti
