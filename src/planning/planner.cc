#include "src/planning/planner.h"

#include <algorithm>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr std::uint32_t kNetworkSegmentBytes = 256 << 10;
constexpr std::uint64_t kLaneBytes = 1 << 20;  // below this per lane, another lane costs more than it brings
constexpr std::size_t kAlternativesShown = 3;

Program sample_program(const Algorithm& algorithm, Rank ranks) {
  Call call;
  call.what = algorithm.what;
  call.ranks = ranks;
  return make_program(algorithm, call);
}

// Whether every view of the algorithm's programs is a single block, so that blocks may lie anywhere.
bool moves_single_blocks(const Program& program) {
  const auto single = [](const View& view) { return view.blocks <= 1; };
  return std::all_of(program.steps.begin(), program.steps.end(),
                     [&](const Step& step) { return single(step.source) && single(step.target); }) &&
         std::all_of(program.scratch.begin(), program.scratch.end(), single);
}

// Whether blocks may also have unlike sizes: scratch is shaped like one block and holds another one later.
bool serves_unlike_blocks(const Program& program) { return moves_single_blocks(program) && program.scratch.empty(); }

}  // namespace

Result<Planner> Planner::make(std::span<const Algorithm> algorithms, const Shape& shape, std::string_view forced) {
  Planner planner(algorithms, shape);
  planner.forced_text_ = forced;
  while (!forced.empty()) {
    const std::size_t comma = forced.find(',');
    const std::string_view item = forced.substr(0, comma);
    forced = comma == std::string_view::npos ? std::string_view() : forced.substr(comma + 1);
    const std::size_t equals = item.find('=');
    bool known = false;
    for (const Algorithm& algorithm : algorithms) {
      if (equals == std::string_view::npos || name(algorithm.what) != item.substr(0, equals) ||
          algorithm.name != item.substr(equals + 1))
        continue;
      planner.forced_[algorithm.what] = std::string(algorithm.name);
      known = true;
    }
    if (!known) {
      return Status(Code::invalid, format("TUTTI_ALGORITHM has \"{}\"; expected items such as all_reduce=ring "
                                          "(tutti_comm_explain lists an operation's algorithms)",
                                          item));
    }
  }
  return planner;
}

bool Planner::can_serve(const Algorithm& algorithm, const PlanQuery& query) const {
  if (algorithm.what != query.what) return false;
  if (query.blocks == BlockKnowledge::uniform) return true;
  if (query.blocks == BlockKnowledge::own_only)
    return algorithm.name == "direct" || (query.what == Collective::all_to_all && algorithm.name == "pairwise");
  return facts_of(algorithm).serves_unlike_blocks;
}

const Planner::Facts& Planner::facts_of(const Algorithm& algorithm) const {
  auto& facts = facts_[&algorithm];
  if (!facts) {
    const Program program = sample_program(algorithm, shape_.ranks);
    facts = Facts{demand_of(algorithm, shape_.ranks), moves_single_blocks(program), serves_unlike_blocks(program)};
  }
  return *facts;
}

bool Planner::board_serves(const PlanQuery& query) const {
  if (!shape_.has_board || query.blocks != BlockKnowledge::uniform) return false;
  const bool blocked_input = query.what == Collective::all_to_all || query.what == Collective::reduce_scatter ||
                             query.what == Collective::scatter;
  const std::uint64_t input =
      blocked_input ? query.block_bytes * static_cast<std::uint64_t>(shape_.ranks) : query.block_bytes;
  return input <= shape_.board_bytes;
}

std::uint32_t Planner::lanes_for(const PlanQuery& query, const Algorithm& algorithm) const {
  if (shape_.network_lanes <= 1 || query.blocks != BlockKnowledge::uniform) return 1;
  const std::uint64_t wanted = query.block_bytes / kLaneBytes;
  if (wanted <= 1) return 1;
  // A lane has a share of each block, so that a run of blocks is not contiguous in it.
  if (!facts_of(algorithm).moves_single_blocks) return 1;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, shape_.network_lanes));
}

std::uint32_t Planner::segment_bytes() const {
  if (shape_.segment_bytes != 0) return (shape_.segment_bytes + 63) / 64 * 64;
  return shape_.shared_memory && shape_.hosts == 1 ? kMemorySegmentBytes : kNetworkSegmentBytes;
}

std::vector<Planner::Candidate> Planner::candidates(const PlanQuery& query) const {
  std::vector<Candidate> found;
  for (const Algorithm& algorithm : algorithms_) {
    if (!can_serve(algorithm, query)) continue;
    found.push_back(
        {&algorithm, estimate(facts_of(algorithm).demand, query.block_bytes, shape_, lanes_for(query, algorithm))});
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Candidate& a, const Candidate& b) { return a.cost.time < b.cost.time; });
  return found;
}

std::string Planner::names_for(const PlanQuery& query) const {
  std::string names;
  for (const Algorithm& algorithm : algorithms_) {
    if (can_serve(algorithm, query)) names += format("{}{}", names.empty() ? "" : ", ", algorithm.name);
  }
  return names;
}

Result<Plan> Planner::plan(const PlanQuery& query, std::string_view algorithm) const {
  const std::vector<Candidate> found = candidates(query);
  const auto forced = forced_.find(query.what);
  const bool own_choice = algorithm.empty() && (forced == forced_.end() || query.blocks != BlockKnowledge::uniform);
  if (algorithm.empty() && !own_choice) algorithm = forced->second;
  auto chosen = found.begin();
  if (!own_choice)
    chosen =
        std::find_if(found.begin(), found.end(), [&](const Candidate& c) { return c.algorithm->name == algorithm; });
  if (chosen == found.end()) {
    return Status(Code::invalid, format("{} has no algorithm \"{}\" for this call; there are: {}", name(query.what),
                                        algorithm, names_for(query)));
  }
  Plan plan;
  plan.segment_bytes = segment_bytes();
  plan.board = own_choice && board_serves(query);
  if (plan.board)
    chosen =
        std::find_if(found.begin(), found.end(), [](const Candidate& c) { return c.algorithm->name == "direct"; });
  const std::uint32_t lanes = plan.board ? 1 : lanes_for(query, *chosen->algorithm);
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    plan.lanes.push_back({chosen->algorithm, lane * 65536u / lanes, (lane + 1) * 65536u / lanes});
  }
  const Cost cost = plan.board ? estimate_board(query.block_bytes, shape_) : chosen->cost;
  plan.predicted = cost.time;
  plan.why = format("{} {}: {}{}{}, predicted {}, limit {}{}", name(query.what), format_bytes(query.block_bytes),
                    chosen->algorithm->name, plan.board ? " through the board" : "",
                    lanes > 1 ? format(" over {} lanes", lanes) : "", format_duration(cost.time), cost.limit,
                    own_choice ? "" : " (asked for)");
  std::size_t shown = 0;
  for (const Candidate& other : found) {
    if (other.algorithm == chosen->algorithm && !plan.board) continue;
    plan.why +=
        format("{} {} {}", shown == 0 ? "; next best" : ",", other.algorithm->name, format_duration(other.cost.time));
    if (++shown == kAlternativesShown) break;
  }
  return plan;
}

}  // namespace tutti
