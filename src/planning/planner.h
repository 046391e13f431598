// Planner: chooses a plan by predicted cost among the algorithms handed in, and says why. Pure and deterministic:
// ranks with equal shapes and settings make equal plans. Not thread-safe; one per communicator.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "src/base/status.h"
#include "src/planning/cost_model.h"
#include "src/planning/plan.h"

namespace tutti {

class Planner {
 public:
  // `forced`: "all_reduce=ring,all_gather=bruck", or "" (the setting TUTTI_ALGORITHM). INVALID names what is unknown.
  static Result<Planner> make(std::span<const Algorithm> algorithms, const Shape& shape, std::string_view forced);

  // `algorithm` non-empty: this one and no other. INVALID if there is none of that name for the collective or it
  // cannot serve the query; the sentence lists those that can.
  Result<Plan> plan(const PlanQuery& query, std::string_view algorithm = {}) const;

  const Shape& shape() const { return shape_; }
  const std::string& forced() const { return forced_text_; }

 private:
  struct Facts {
    Demand demand;
    bool moves_single_blocks;   // so that blocks may lie anywhere
    bool serves_unlike_blocks;  // and have sizes of their own
  };
  struct Candidate {
    const Algorithm* algorithm;
    Cost cost;
  };

  Planner(std::span<const Algorithm> algorithms, const Shape& shape) : algorithms_(algorithms), shape_(shape) {}
  const Facts& facts_of(const Algorithm& algorithm) const;
  bool can_serve(const Algorithm& algorithm, const PlanQuery& query) const;
  bool board_serves(const PlanQuery& query) const;
  std::vector<Candidate> candidates(const PlanQuery& query) const;
  std::uint32_t lanes_for(const PlanQuery& query, const Algorithm& algorithm) const;
  std::uint32_t segment_bytes() const;
  std::string names_for(const PlanQuery& query) const;

  std::span<const Algorithm> algorithms_;
  Shape shape_;
  std::map<Collective, std::string> forced_;
  std::string forced_text_;
  mutable std::map<const Algorithm*, std::optional<Facts>> facts_;  // made when first needed
};

}  // namespace tutti
