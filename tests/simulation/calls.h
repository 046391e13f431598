// What the members of a view call, one after the other, and what must come of it: everything follows from the view's
// number and the call's, so that all members call the same without a word. Elements are hashes of who puts them in,
// where and when: a sum tells whose elements are in it, and of which call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "include/tutti/tutti.h"

namespace tutti {

// A communicator as its members see it: who they are, by the numbers of their processes.
struct SeenView {
  std::uint64_t id = 0;
  std::uint64_t epoch = 0;
  std::vector<int> members;

  bool operator==(const SeenView&) const = default;
  std::string text() const;
};

enum class What : std::uint8_t { sum, float_sum, gather, scatter, exchange, broadcast, agree };

class PlannedCall {
 public:
  // The call with this number of a view, by the member of this rank.
  PlannedCall(const SeenView& view, int rank, unsigned number);

  tutti_status start(tutti_comm* comm, const tutti_call& options, tutti_request** request);

  unsigned number() const { return number_; }
  bool is_agree() const { return what_ == What::agree; }
  std::string text() const;
  // Empty, or what is wrong. Of a call that has succeeded: its result.
  std::string check_result(const SeenView& view) const;
  // Of one that has not: what went in is there again.
  std::string check_input(const SeenView& view) const;
  std::uint64_t hash_of_result() const;
  bool is_alike_everywhere() const { return what_ == What::sum || what_ == What::float_sum || what_ == What::gather; }

 private:
  std::size_t blocks_in() const;   // of the input, each of count_ elements
  std::size_t blocks_out() const;  // of the output
  std::uint64_t element(int process, std::size_t index) const;
  bool puts_in() const { return what_ != What::broadcast || rank_ == root_; }
  const std::uint64_t* result() const;
  std::uint64_t* own();
  std::uint64_t expected(const SeenView& view, std::size_t index) const;

  std::uint64_t view_;
  unsigned number_;
  int rank_;
  int size_;
  What what_ = What::sum;
  int root_ = 0;
  std::size_t count_ = 1;
  bool in_place_ = false;
  std::vector<std::uint64_t> input_;   // in place: the only buffer
  std::vector<std::uint64_t> output_;  // empty in place
};

}  // namespace tutti
