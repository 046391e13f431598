#include "src/schedule/atoms.h"

#include <algorithm>
#include <numeric>

#include "src/schedule/well_formed.h"

namespace tutti {
namespace {

constexpr std::uint64_t kGridMax = 1u << 22;

// Calls act(view) for every view of the program, told as a part of a whole block.
template <typename Act>
void for_each_coverage(const Program& program, const Act& act) {
  for (const Step& step : program.steps) {
    if (step.kind != StepKind::send) act(coverage(program, step.target));
    if (step.kind == StepKind::send || step.kind == StepKind::copy) act(coverage(program, step.source));
  }
  for (const Operand& operand : program.operands) {
    if (operand.peer == Operand::kLocal) act(coverage(program, operand.view));
  }
}

}  // namespace

Atoms::Atoms(const Schedule& schedule) {
  grid_ = 1;
  std::uint32_t last = 1;
  for (const Program& program : schedule.programs) {
    for_each_coverage(program, [&](const View& view) {
      if (view.den == last || grid_ == 0) return;
      last = view.den;
      grid_ = std::lcm(grid_, std::uint64_t{view.den});
      if (grid_ > kGridMax) grid_ = 0;
    });
  }
  boundaries_ = {{0, 1}, {1, 1}};
  if (grid_ > 0) table_.assign(grid_ + 1, 0);
  for (const Program& program : schedule.programs) {
    for_each_coverage(program, [&](const View& view) {
      if (grid_ > 0) {
        table_[view.lo * (grid_ / view.den)] = 1;
        table_[view.hi * (grid_ / view.den)] = 1;
      } else {
        boundaries_.push_back({view.lo, view.den});
        boundaries_.push_back({view.hi, view.den});
      }
    });
  }
  if (grid_ > 0) {
    table_[0] = table_[grid_] = 1;
    boundaries_.clear();
    for (std::uint32_t i = 0; i <= grid_; ++i) {
      if (table_[i] == 0) continue;
      table_[i] = static_cast<std::uint32_t>(boundaries_.size());
      boundaries_.push_back({i, static_cast<std::uint32_t>(grid_)});
    }
    return;
  }
  const auto less = [](const Boundary& a, const Boundary& b) {
    return std::uint64_t{a.num} * b.den < std::uint64_t{b.num} * a.den;
  };
  std::sort(boundaries_.begin(), boundaries_.end(), less);
  const auto same = [&](const Boundary& a, const Boundary& b) { return !less(a, b) && !less(b, a); };
  boundaries_.erase(std::unique(boundaries_.begin(), boundaries_.end(), same), boundaries_.end());
}

std::uint32_t Atoms::find(std::uint32_t num, std::uint32_t den) const {
  if (grid_ > 0) return table_[num * (grid_ / den)];
  const auto at = std::lower_bound(boundaries_.begin(), boundaries_.end(), Boundary{num, den},
                                   [](const Boundary& a, const Boundary& b) {
                                     return std::uint64_t{a.num} * b.den < std::uint64_t{b.num} * a.den;
                                   });
  return static_cast<std::uint32_t>(at - boundaries_.begin());
}

Atoms::Span Atoms::of(const Program& program, const View& view) const {
  const View covered = coverage(program, view);
  return {find(covered.lo, covered.den), find(covered.hi, covered.den)};
}

View Atoms::view(Buffer buffer, std::uint32_t block, std::uint32_t atom) const {
  View view{buffer, block};
  const Boundary lo = boundaries_[atom];
  const Boundary hi = boundaries_[atom + 1];
  const std::uint64_t den = std::lcm(std::uint64_t{lo.den}, std::uint64_t{hi.den});
  std::uint64_t num_lo = lo.num * (den / lo.den);
  std::uint64_t num_hi = hi.num * (den / hi.den);
  const std::uint64_t divisor = std::gcd(std::gcd(num_lo, num_hi), den);
  if (den / divisor > UINT32_MAX) return view;
  view.lo = static_cast<std::uint32_t>(num_lo / divisor);
  view.hi = static_cast<std::uint32_t>(num_hi / divisor);
  view.den = static_cast<std::uint32_t>(den / divisor);
  return view;
}

}  // namespace tutti
