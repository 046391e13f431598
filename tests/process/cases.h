// One call of one collective with all its arguments, as a value: every rank makes the same one, runs its part, and
// holds the result against what it computes itself. Memory before and behind the buffers, and inputs that are not in
// place, must be as they were.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/process/elements.h"
#include "tests/process/job.h"

namespace tutti_test {

enum class Kind {
  all_reduce,
  reduce,
  broadcast,
  all_gather,
  reduce_scatter,
  all_to_all,
  gather,
  scatter,
  all_gather_v,
  reduce_scatter_v,
  all_to_all_v,
  gather_v,
  scatter_v,
  barrier,
  exchange  // a group of sends and receives between all, also to oneself
};
constexpr int kKinds = 15;
std::string_view name_of(Kind kind);
bool reduces(Kind kind);

enum class Completion { blocking, request, grouped };

struct Case {
  Kind kind = Kind::all_reduce;
  tutti_datatype type = TUTTI_FLOAT32;
  tutti_op op = TUTTI_SUM;
  Family family = Family::exact;
  std::size_t count = 0;
  int root = 0;
  bool in_place = false;
  bool shared_memory = false;  // tutti_mem_alloc
  bool spaced = false;         // kinds with tables: blocks in reverse order, with gaps
  std::size_t misaligned = 0;  // bytes
  Completion completion = Completion::blocking;
  std::string algorithm;  // empty: Tutti's choice
  std::uint64_t seed = 0;
  std::string text() const;
};

// Buffers of one rank, reused from case to case.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  // Room for `bytes`, `misaligned` bytes off a page, with guards around it.
  std::byte* place(bool shared, std::size_t bytes, std::size_t misaligned);
  bool guards_are_whole() const;

 private:
  struct Memory {
    std::byte* begin = nullptr;
    std::size_t bytes = 0;
  };
  Memory memory_[2];
  std::byte* placed_ = nullptr;
  std::size_t placed_bytes_ = 0;
};

struct Buffers {
  Arena input;
  Arena output;
};

struct Result {
  tutti_status status = TUTTI_OK;
  std::uint64_t digest = 0;  // of the output; the same on all ranks where all get the same
};

// Runs this rank's part. Whatever is wrong with the result is the rank's failure; a status other than OK is returned
// and judged by the caller.
Result run_case(Rank& rank, tutti_comm* comm, int me, int ranks, const Case& c, Buffers& buffers);

}  // namespace tutti_test
