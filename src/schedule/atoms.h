// Atoms: the elementary intervals between all the boundaries that a schedule's views use. A step covers whole atoms,
// so what holds for an atom holds for each of its elements, whatever their number. One set serves every block,
// because data never changes its place within its block (see "equally long" in schedule.h).
#pragma once

#include <cstdint>
#include <vector>

#include "src/schedule/schedule.h"

namespace tutti {

class Atoms {
 public:
  struct Span {
    std::uint32_t begin;
    std::uint32_t end;
  };

  // REQUIRES: the schedule is well formed.
  explicit Atoms(const Schedule& schedule);

  std::uint32_t size() const { return static_cast<std::uint32_t>(boundaries_.size() - 1); }

  // The atoms of each block that the view covers; of a scratch block like a part, only those within the part count.
  Span of(const Program& program, const View& view) const;

  // One atom of `block`, as a view.
  View view(Buffer buffer, std::uint32_t block, std::uint32_t atom) const;

 private:
  struct Boundary {
    std::uint32_t num;
    std::uint32_t den;
  };
  std::uint32_t find(std::uint32_t num, std::uint32_t den) const;

  std::vector<Boundary> boundaries_;  // ascending, each once
  // Where all denominators divide a moderate number, boundary num/den is found at table_[num * (grid_ / den)].
  std::uint64_t grid_ = 0;
  std::vector<std::uint32_t> table_;
};

}  // namespace tutti
