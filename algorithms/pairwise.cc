#include "algorithms/pairwise.h"

namespace tutti {
namespace {

// Makes the steps of a round wait for those of the round before.
class Rounds {
 public:
  explicit Rounds(Builder& b) : b_(b) {}

  void wait() {
    if (!begun_) return;
    b_.wait_for(send_);
    b_.wait_for(take_);
  }
  void end(StepId send, StepId take) {
    send_ = send, take_ = take;
    begun_ = true;
  }

 private:
  Builder& b_;
  StepId send_ = 0;
  StepId take_ = 0;
  bool begun_ = false;
};

}  // namespace

void pairwise_all_to_all(Builder& b) {
  const Group group = everybody(b.call());
  const std::uint32_t p = group.size();
  // In place, what arrives in the first half of the rounds goes where something still has to leave from.
  const std::uint32_t parked = b.call().in_place ? p / 2 : 0;
  const View parking = parked > 0 ? b.scratch_blocks(parked) : b.output();
  Rounds rounds(b);
  for (std::uint32_t k = 1; k < p; ++k) {
    const std::uint32_t to = group.after(k);
    const std::uint32_t from = group.before(k);
    rounds.wait();
    const StepId send = b.send(group.members[to], b.input(to));
    rounds.wait();
    const StepId take = b.receive(group.members[from], k <= parked ? parking.run(k - 1) : b.output(from));
    rounds.end(send, take);
  }
  for (std::uint32_t k = 1; k <= parked; ++k) b.copy(b.output(group.before(k)), parking.run(k - 1));
  b.copy(b.output(group.index), b.input(group.index));
}

void pairwise_reduce_scatter(Builder& b) {
  const Group group = everybody(b.call());
  const std::uint32_t p = group.size();
  if (p == 1) return b.copy(b.output(), b.input(), true);
  Rounds rounds(b);
  for (std::uint32_t k = 1; k < p; ++k) {
    const std::uint32_t to = group.after(k);
    rounds.wait();
    const StepId send = b.send(group.members[to], b.input(to));
    rounds.wait();
    const View sum = k == 1 ? b.input(group.index) : b.output();
    const StepId take = b.reduce(b.output(), {local(sum), peer(group.members[group.before(k)])}, k == p - 1);
    rounds.end(send, take);
  }
}

Counts pairwise_all_to_all_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  return {p - 1, p - 1, p - 1, 0};
}

Counts pairwise_reduce_scatter_counts(Rank ranks) {
  const auto p = static_cast<std::uint32_t>(ranks);
  return {p - 1, p - 1, p - 1, p - 1};
}

}  // namespace tutti
