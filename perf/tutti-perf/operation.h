// One operation to measure: a collective with its type, size and buffers on this rank. Knows what goes in, how the
// library is called, and what must come out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "perf/tutti-perf/collective.h"
#include "perf/tutti-perf/elements.h"
#include "perf/tutti-perf/session.h"

namespace tutti_perf {

struct Case {
  Kind kind = Kind::all_reduce;
  tutti_datatype type = TUTTI_FLOAT32;
  tutti_op op = TUTTI_SUM;
  int root = 0;
  std::uint64_t size_bytes = 0;
};

// The buffers of one operation in flight. Each holds Case::size_bytes.
struct Buffers {
  std::byte* input = nullptr;
  std::byte* output = nullptr;
};

class Operation {
 public:
  Operation(const Case& what, int rank, int ranks, tutti_comm* comm, const tutti_call& call);

  // The count that the caller passes, as the table shows it.
  std::size_t count() const;

  // Where the data is read and written; in place, both lie in `buffers.output`.
  Buffers place(const Buffers& buffers, bool in_place) const;

  // Fills the input and spoils the output.
  void prepare(const Buffers& placed, bool in_place, std::uint64_t seed) const;
  // How many elements of this rank's output are wrong after an operation on what `prepare` wrote; out of place, also
  // how many of its input were changed.
  std::size_t count_wrong(const Buffers& placed, bool in_place, std::uint64_t seed) const;

  // Reductions of floats whose sums round: fills the input so.
  bool rounds() const;
  void prepare_rounding(const Buffers& placed, std::uint64_t seed) const;

  std::size_t output_bytes() const;

  // Runs it to its end.
  tutti_status run(const Buffers& placed) const;
  // Starts it; `requests` has room for two.
  tutti_status start(const Buffers& placed, tutti_request** requests) const;

 private:
  // A run of elements in a buffer, and where in the table of test data it begins.
  struct Run {
    std::size_t offset;
    std::size_t count;
    std::size_t start;
  };
  std::vector<Run> input_runs() const;
  std::vector<Run> output_runs() const;
  std::size_t count_wrong(const std::byte* buffer, const std::vector<Run>& runs, const Table& table) const;
  Table input_table(std::uint64_t seed) const;
  Table output_table(std::uint64_t seed) const;
  std::size_t own_count() const {
    return counts_.size() == 1 ? counts_[0] : counts_[static_cast<std::size_t>(rank_)];
  }
  std::size_t total() const { return offsets_.back(); }
  bool is_root() const { return rank_ == case_.root; }
  tutti_status call(const Buffers& placed, tutti_request** request) const;
  tutti_status call_uneven(const Buffers& placed, tutti_request** request) const;
  tutti_status exchange(const Buffers& placed, tutti_request** requests) const;

  Case case_;
  int rank_;
  int ranks_;
  tutti_comm* comm_;
  tutti_call call_;
  std::vector<std::byte> scalar_;
  std::size_t element_bytes_;
  std::vector<std::size_t> counts_;    // of the blocks, or the one count
  std::vector<std::size_t> offsets_;   // of the blocks
  std::vector<std::size_t> exchange_;  // all_to_all_v: what this rank sends to each, and receives from each
};

}  // namespace tutti_perf
