#include "tests/simulation/calls.h"

#include <algorithm>
#include <bit>

#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti {

namespace {

std::uint64_t stir(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a * 0x9e3779b97f4a7c15ull ^ (b + 0xbf58476d1ce4e5b9ull);
  z = (z ^ (z >> 31)) * 0x94d049bb133111ebull;
  return z ^ (z >> 29);
}

double as_float(std::uint64_t element) { return static_cast<double>(element >> 11) * 0x1.0p-53; }

}  // namespace

std::string SeenView::text() const {
  std::string text = format("epoch {} ({:016x}) of", epoch, id);
  for (const int member : members) text += format(" {}", member);
  return text;
}

PlannedCall::PlannedCall(const SeenView& view, int rank, unsigned number)
    : view_(view.id), number_(number), rank_(rank), size_(static_cast<int>(view.members.size())) {
  Random random(stir(view.id, number));
  const double which = random.unit();
  what_ = which < 0.55   ? What::sum
          : which < 0.65 ? What::float_sum
          : which < 0.75 ? What::gather
          : which < 0.85 ? What::scatter
          : which < 0.92 ? What::exchange
          : which < 0.96 ? What::broadcast
                         : What::agree;
  root_ = static_cast<int>(random.below(view.members.size()));
  in_place_ = random.chance(0.6);
  const std::size_t most = random.chance(0.5) ? 16 : what_ == What::sum ? 700 : 100;
  count_ = 1 + random.below(most);
  const bool is_blocked = what_ == What::scatter || what_ == What::exchange || what_ == What::gather;
  if (is_blocked && size_ > 8) count_ = 1 + count_ % 8;
  const int self = view.members[static_cast<std::size_t>(rank)];
  input_.assign(in_place_ ? std::max(blocks_in(), blocks_out()) * count_ : blocks_in() * count_, 0);
  if (!in_place_) output_.assign(blocks_out() * count_, 0x5555);
  for (std::size_t i = 0; puts_in() && i < blocks_in() * count_; ++i) own()[i] = element(self, i);
}

std::size_t PlannedCall::blocks_in() const {
  if (what_ == What::agree) return 0;
  return what_ == What::scatter || what_ == What::exchange ? static_cast<std::size_t>(size_) : 1;
}

std::size_t PlannedCall::blocks_out() const {
  if (what_ == What::agree) return 0;
  return what_ == What::gather || what_ == What::exchange ? static_cast<std::size_t>(size_) : 1;
}

// Where this rank's input begins.
std::uint64_t* PlannedCall::own() {
  const bool inside = in_place_ && what_ == What::gather;
  return input_.data() + (inside ? static_cast<std::size_t>(rank_) * count_ : 0);
}

const std::uint64_t* PlannedCall::result() const {
  if (!in_place_) return output_.data();
  return input_.data() + (what_ == What::scatter ? static_cast<std::size_t>(rank_) * count_ : 0);
}

std::uint64_t PlannedCall::element(int process, std::size_t index) const {
  const std::uint64_t bits = stir(stir(view_, number_), stir(static_cast<std::uint64_t>(process), index));
  return what_ == What::float_sum ? std::bit_cast<std::uint64_t>(as_float(bits)) : bits;
}

tutti_status PlannedCall::start(tutti_comm* comm, const tutti_call& options, tutti_request** request) {
  const void* const in = own();
  void* const out = const_cast<std::uint64_t*>(result());
  switch (what_) {
    case What::sum:
      return tutti_all_reduce(in, out, count_, TUTTI_UINT64, TUTTI_SUM, comm, &options, request);
    case What::float_sum:
      return tutti_all_reduce(in, out, count_, TUTTI_FLOAT64, TUTTI_SUM, comm, &options, request);
    case What::gather:
      return tutti_all_gather(in, out, count_, TUTTI_UINT64, comm, &options, request);
    case What::scatter:
      return tutti_reduce_scatter(in, out, count_, TUTTI_UINT64, TUTTI_SUM, comm, &options, request);
    case What::exchange:
      return tutti_all_to_all(in, out, count_, TUTTI_UINT64, comm, &options, request);
    case What::broadcast:
      return tutti_broadcast(in, out, count_, TUTTI_UINT64, root_, comm, &options, request);
    case What::agree:
      return tutti_comm_agree(comm, &options, request);
  }
  return TUTTI_INTERNAL;
}

std::string PlannedCall::text() const {
  constexpr const char* kNames[] = {"sum",        "sum of floats", "all-gather", "reduce-scatter",
                                    "all-to-all", "broadcast",     "agree"};
  return format("call {}, {} of {}{}", number_, kNames[static_cast<std::size_t>(what_)], count_,
                in_place_ ? " in place" : "");
}

std::uint64_t PlannedCall::expected(const SeenView& view, std::size_t index) const {
  const auto block = static_cast<std::size_t>(rank_) * count_;
  std::uint64_t sum = 0;
  switch (what_) {
    case What::sum:
    case What::float_sum:
      for (const int member : view.members) sum += element(member, index);
      return sum;
    case What::scatter:
      for (const int member : view.members) sum += element(member, block + index);
      return sum;
    case What::gather:
      return element(view.members[index / count_], index % count_);
    case What::exchange:
      return element(view.members[index / count_], block + index % count_);
    case What::broadcast:
      return element(view.members[static_cast<std::size_t>(root_)], index);
    case What::agree:
      return 0;
  }
  return sum;
}

std::string PlannedCall::check_result(const SeenView& view) const {
  for (std::size_t i = 0; i < blocks_out() * count_; ++i) {
    const std::uint64_t found = result()[i];
    if (what_ == What::float_sum) {
      double sum = 0;
      for (const int member : view.members) sum += std::bit_cast<double>(element(member, i));
      const double off = std::bit_cast<double>(found) - sum;
      if (off < 1e-9 && off > -1e-9) continue;
    } else if (found == expected(view, i)) {
      continue;
    }
    return format("{} has {:016x} as element {}, which is not what the members of {} have put in", text(), found, i,
                  view.text());
  }
  return {};
}

std::string PlannedCall::check_input(const SeenView& view) const {
  const std::uint64_t* const in = const_cast<PlannedCall*>(this)->own();
  const int self = view.members[static_cast<std::size_t>(rank_)];
  for (std::size_t i = 0; puts_in() && i < blocks_in() * count_; ++i) {
    if (in[i] != element(self, i)) return format("{} is undone, but element {} of its input is another", text(), i);
  }
  return {};
}

std::uint64_t PlannedCall::hash_of_result() const {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < blocks_out() * count_; ++i) hash = stir(hash, result()[i]);
  return hash;
}

}  // namespace tutti
