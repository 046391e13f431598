#include "src/schedule/dependencies.h"

#include <algorithm>
#include <numeric>

namespace tutti {

void Dependencies::reserve(std::size_t steps) {
  seen_.reserve(steps);
  covered_.reserve(steps);
  lists_.reserve(steps);
  kept_.reserve(steps);
  readers_.reserve(steps);
}

void Dependencies::begin() {
  ++step_;
  seen_.push_back(kNone);
  covered_.push_back(kNone);
  waits_.clear();
}

void Dependencies::wait_for(StepId earlier) {
  if (earlier == kNone || earlier == step_ || seen_[earlier] == step_) return;
  seen_[earlier] = step_;
  waits_.push_back(earlier);
}

void Dependencies::refine(Block& block, std::uint32_t cells) {
  const auto first = static_cast<std::uint32_t>(cells_.size());
  if (block.cells == 0) {
    cells_.resize(cells_.size() + cells);
  } else {
    const std::uint32_t factor = cells / block.cells;
    cells_.reserve(cells_.size() + cells);
    for (std::uint32_t i = 0; i < block.cells; ++i) {
      const Cell cell = cells_[block.first + i];
      cells_.insert(cells_.end(), factor, cell);
    }
  }
  block = {cells, first};
}

Dependencies::Span Dependencies::cells_of(std::uint32_t number, const View& view) {
  if (number >= blocks_.size()) blocks_.resize(number + 1);
  Block& block = blocks_[number];
  if (block.cells == 0) {
    refine(block, std::min(view.whole() ? 1 : view.den, kMaxCells));
  } else if (!view.whole() && block.cells % view.den != 0) {
    const std::uint64_t finer = std::lcm<std::uint64_t>(block.cells, view.den);
    if (finer <= kMaxCells) refine(block, static_cast<std::uint32_t>(finer));
  }
  const std::uint64_t cells = block.cells;
  const std::uint64_t begin = view.lo * cells / view.den;
  const std::uint64_t end = (view.hi * cells + view.den - 1) / view.den;
  Cell* const first = cells_.data() + block.first;
  return {first + begin, first + end};
}

void Dependencies::read(const View& view) {
  for (std::uint32_t i = 0; i < view.blocks; ++i) {
    const Span span = cells_of(view.block + i, view);
    for (Cell* cell = span.begin; cell != span.end; ++cell) {
      wait_for(cell->writer);
      if (cell->readers != kNone && readers_[cell->readers].step == step_) continue;
      readers_.push_back({step_, cell->readers});
      cell->readers = static_cast<std::uint32_t>(readers_.size() - 1);
    }
  }
}

void Dependencies::write(const View& view) {
  for (std::uint32_t i = 0; i < view.blocks; ++i) {
    const Span span = cells_of(view.block + i, view);
    for (Cell* cell = span.begin; cell != span.end; ++cell) {
      bool read_by_others = false;
      for (std::uint32_t r = cell->readers; r != kNone; r = readers_[r].next) {
        read_by_others |= readers_[r].step != step_;
        wait_for(readers_[r].step);
      }
      if (!read_by_others) wait_for(cell->writer);
      *cell = {step_, kNone};
    }
  }
}

void Dependencies::prune() {
  constexpr std::size_t kWorthIt = 64;  // longer lists are fans of independent steps, where nothing would go
  if (waits_.size() < 2 || waits_.size() > kWorthIt) return;
  for (const StepId wait : waits_) {
    const Range list = lists_[wait];
    if (list.count > kWorthIt) continue;
    for (std::uint32_t i = 0; i < list.count; ++i) covered_[kept_[list.begin + i]] = step_;
  }
  std::erase_if(waits_, [this](StepId wait) { return covered_[wait] == step_; });
}

const std::vector<StepId>& Dependencies::end() {
  std::sort(waits_.begin(), waits_.end());
  if (keep_ == Keep::shortest) prune();
  lists_.push_back({static_cast<std::uint32_t>(kept_.size()), static_cast<std::uint32_t>(waits_.size())});
  kept_.insert(kept_.end(), waits_.begin(), waits_.end());
  return waits_;
}

}  // namespace tutti
