// Dependencies: finds, for each new step, the earlier steps it must wait for because their views overlap in memory
// and one of the two writes. Blocks are known by their Layout number.
//
// Each block is a row of equal cells, as fine as the denominators seen so far require. A cell remembers its last
// writer and who has read it since. A reader waits for the writer; a writer waits for those readers, or for the
// writer where there are none (each of the readers waits for that writer already). The work is proportional to the
// cells touched, which for the algorithms' chunks is one or a few. A block whose denominators would need more than
// kMaxCells cells is tracked with rounded-out boundaries: that can only add dependencies.
#pragma once

#include <cstdint>
#include <vector>

#include "src/schedule/schedule.h"

namespace tutti {

class Dependencies {
 public:
  static constexpr std::uint32_t kMaxCells = 1u << 22;

  // Whether end() leaves out the steps that another one in the list waits for. An executor that lets a step begin
  // before its predecessors are wholly done (by segments) needs them all: waiting for a part of B is no reason to
  // believe that all of what B waits for is done.
  enum class Keep : std::uint8_t { shortest, all };
  explicit Dependencies(Keep keep = Keep::shortest) : keep_(keep) {}

  void reserve(std::size_t steps);  // room for this many in all

  // Begins the next step; its number is one more than that of the last.
  void begin();
  // The step reads or writes this view (`view.block` is a Layout number). All of a step's reads come before its
  // writes.
  void read(const View& view);
  void write(const View& view);
  void wait_for(StepId earlier);
  // Ends the step: the steps it waits for, ascending; with Keep::shortest without those that another one waits for.
  const std::vector<StepId>& end();

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  struct Cell {
    StepId writer = kNone;
    std::uint32_t readers = kNone;  // head of a list in readers_
  };
  struct Reader {
    StepId step;
    std::uint32_t next;
  };
  struct Block {
    std::uint32_t cells = 0;  // 0: never touched
    std::uint32_t first = 0;  // in cells_
  };
  struct Span {
    Cell* begin;
    Cell* end;
  };

  Span cells_of(std::uint32_t block, const View& view);
  void refine(Block& block, std::uint32_t cells);
  void prune();

  std::vector<Block> blocks_;
  std::vector<Cell> cells_;
  std::vector<Reader> readers_;
  std::vector<StepId> waits_;
  std::vector<StepId> seen_;     // by step: the last step that took it into waits_
  std::vector<StepId> covered_;  // by step: the last step one of whose waits waits for it
  std::vector<Range> lists_;     // by step: its list in kept_
  std::vector<StepId> kept_;
  StepId step_ = kNone;  // begin() makes it 0
  Keep keep_;
};

}  // namespace tutti
