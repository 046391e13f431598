#include "tests/engine/elastic_trial.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "src/engine/roll.h"

namespace tutti {

ClusterOptions random_options(std::uint64_t seed) {
  Random random(seed ^ 0xe1a5);
  ClusterOptions options;
  options.elastic = true;
  options.ranks = 2 + static_cast<int>(random.below(6));
  options.one_host = random.chance(0.5);
  options.segment_bytes = random.chance(0.5) ? 64 : 1024;
  options.eager_bytes = random.chance(0.5) ? 128 : 4096;
  options.network.pending_probability = 0.5;
  options.network.rendezvous_probability = 0.5;
  if (seed % 2 == 0) options.network.lent_buffers = 1 + random.below(8);
  return options;
}

ElasticTrial::ElasticTrial(std::uint64_t seed, const ClusterOptions& options)
    : cluster_(seed, options), by_step_(options.by_step) {
  for (int i = 0; i < kCalls; ++i) {
    in_place_.push_back(cluster_.random().chance(0.5));
    counts_.push_back(1 + cluster_.random().below(cluster_.random().chance(0.5) ? 20 : 900));
  }
  const auto ranks = static_cast<std::size_t>(cluster_.size());
  buffers_.resize(ranks);
  outputs_.resize(ranks);
  operations_.assign(ranks, std::vector<Operation*>(kCalls, nullptr));
  next_.assign(ranks, 0);
  for (Rank rank = 0; rank < cluster_.size(); ++rank) {
    for (int i = 0; i < kCalls; ++i) {
      std::vector<std::int64_t> values(counts_[static_cast<std::size_t>(i)]);
      for (std::size_t e = 0; e < values.size(); ++e) values[e] = input(rank, i, e);
      buffers_[static_cast<std::size_t>(rank)].push_back(values);
      outputs_[static_cast<std::size_t>(rank)].push_back(std::vector<std::int64_t>(values.size(), -1));
    }
  }
}

Rank ElasticTrial::random_rank() {
  return static_cast<Rank>(cluster_.random().below(static_cast<std::uint64_t>(cluster_.size())));
}

Instant ElasticTrial::random_instant(std::uint64_t within_ns) {
  return cluster_.network().now() + Nanoseconds(cluster_.random().below(within_ns));
}

void ElasticTrial::destroy(Rank rank) {
  engine(rank).destroy(communicator(rank), cluster_.network().now());
  cluster_.node(rank).communicator = nullptr;
}

void ElasticTrial::revoke(Rank rank, const std::string& why) {
  engine(rank).revoke(communicator(rank), Status(Code::aborted, why, rank), cluster_.network().now());
}

void ElasticTrial::leave(Rank rank) {
  engine(rank).leave(communicator(rank), cluster_.network().now());
  cluster_.node(rank).communicator = nullptr;
}

bool ElasticTrial::run_with_a_revocation() {
  const Rank who = random_rank();
  return run({{random_instant(), [this, who] { revoke(who, "somebody wants to join"); }}});
}

bool ElasticTrial::run_until_others_are_over(Rank one) {
  return cluster_.run([&] {
    bool all = true;
    for (Rank rank = 0; rank < cluster_.size(); ++rank)
      all &= rank == one || communicator(rank)->council()->is_over();
    return all;
  });
}

void ElasticTrial::check_goes_not_on_alone(Rank one, const std::function<void()>& when_others_ended) {
  ASSERT_TRUE(run_until_others_are_over(one)) << "hangs";
  for (Rank rank = 0; rank < cluster_.size(); ++rank) {
    if (rank == one) continue;
    EXPECT_EQ(communicator(rank)->council()->verdict.lost, std::vector<Rank>{one});
    EXPECT_EQ(communicator(rank)->failure().culprit(), one);
    cluster_.crash(rank);
  }
  when_others_ended();
  ASSERT_TRUE(cluster_.run([&] { return communicator(one)->council()->is_over(); })) << "hangs";
  const Communicator& left_behind = *communicator(one);  // it may have heard of the verdict
  EXPECT_TRUE(left_behind.council()->stage == Council::Stage::stopped || left_behind.verdict_excludes_self())
      << "it went on alone";
}

bool ElasticTrial::run(std::multimap<Instant, std::function<void()>> events) {
  return cluster_.run([&] {
    while (!events.empty() && events.begin()->first <= cluster_.network().now()) {
      events.begin()->second();
      events.erase(events.begin());
    }
    bool all = events.empty();
    for (Rank rank = 0; rank < cluster_.size(); ++rank) all &= turn(rank);
    return all;
  });
}

void ElasticTrial::check(const std::set<Rank>& survivors) {
  for (int i = 0; i < kCalls; ++i) {
    const Operation* first = nullptr;
    for (const Rank rank : survivors) {
      const Operation* const mine = operation(rank, i);
      if (mine == nullptr) continue;
      ASSERT_TRUE(mine->is_complete());
      if (first == nullptr) first = mine;
      EXPECT_EQ(mine->result().text(), first->result().text())
          << "call " << i << " of rank " << rank << " ends otherwise than elsewhere";
      EXPECT_EQ(mine->result().culprit(), first->result().culprit());
      check_values(rank, i, mine->result().is_ok());
    }
    for (const Rank rank : survivors) {  // what succeeded anywhere was called everywhere
      if (first != nullptr && first->result().is_ok()) {
        EXPECT_NE(operation(rank, i), nullptr);
      }
    }
  }
}

void ElasticTrial::check_steps(const std::set<Rank>& survivors) {
  const Status* error = nullptr;  // one sentence, whoever is told
  int certain = -1;               // the last call that an agree has made certain
  for (const Rank rank : survivors) {
    for (int i = 0; i < kCalls; ++i) {
      const Operation* const mine = operation(rank, i);
      if (mine == nullptr) continue;
      ASSERT_TRUE(mine->is_complete());
      if (mine->result().is_ok()) {
        if (is_agree(i)) certain = std::max(certain, i);
        if (!is_agree(i)) check_values(rank, i, true);
        continue;
      }
      if (error == nullptr) error = &mine->result();
      EXPECT_EQ(mine->result().text(), error->text())
          << "call " << i << " of rank " << rank << " tells another story";
      EXPECT_EQ(mine->result().culprit(), error->culprit());
    }
  }
  for (const Rank rank : survivors) {
    for (int i = 0; i <= certain; ++i) {
      ASSERT_NE(operation(rank, i), nullptr) << "call " << i << " of rank " << rank;
      EXPECT_TRUE(operation(rank, i)->result().is_ok())
          << "call " << i << " of rank " << rank << " is not complete, and an agree says that it is";
    }
  }
}

std::size_t ElasticTrial::completed(Rank rank) const {
  std::size_t good = 0;
  for (const Operation* operation : operations_[static_cast<std::size_t>(rank)])
    good += operation != nullptr && operation->is_complete() && operation->result().is_ok();
  return good;
}

std::int64_t ElasticTrial::input(Rank rank, int call, std::size_t element) {
  return (std::int64_t{1} << (6 * rank)) + call * 7 + static_cast<std::int64_t>(element % 5);
}

void ElasticTrial::check_values(Rank rank, int call, bool succeeded) {
  const auto c = static_cast<std::size_t>(call);
  const auto& values = buffers_[static_cast<std::size_t>(rank)][c];
  const auto& output = in_place_[c] ? values : outputs_[static_cast<std::size_t>(rank)][c];
  for (std::size_t e = 0; e < values.size(); ++e) {
    std::int64_t sum = 0;
    for (Rank r = 0; r < cluster_.size(); ++r) sum += input(r, call, e);
    if (succeeded) {
      ASSERT_EQ(output[e], sum) << "call " << call << " of rank " << rank << ", element " << e;
    } else {
      ASSERT_EQ(values[e], input(rank, call, e)) << "call " << call << " of rank " << rank << " spoilt its input";
    }
  }
}

bool ElasticTrial::turn(Rank rank) {
  if (!is_there(rank)) return true;
  const auto r = static_cast<std::size_t>(rank);
  auto& next = next_[r];
  if (next < kCalls && cluster_.random().chance(0.2)) {
    const auto call = static_cast<std::size_t>(next);
    OperationRequest request;
    request.timeout = std::chrono::seconds(20);
    request.kind = is_agree(next) ? CallKind::agree : CallKind::all_reduce;
    if (!is_agree(next)) {
      request.type = DataType::int64;
      request.op = ReduceOp::sum;
      request.count = counts_[call];
      request.input = reinterpret_cast<const std::byte*>(buffers_[r][call].data());
      request.output =
          reinterpret_cast<std::byte*>(in_place_[call] ? buffers_[r][call].data() : outputs_[r][call].data());
      request.in_place = in_place_[call];
    }
    operations_[r][call] = cluster_.start(rank, request);
    ++next;
  }
  const Council& council = *communicator(rank)->council();
  bool all = council.stage != Council::Stage::frozen && (next == kCalls || council.is_over());
  for (const Operation* operation : operations_[r]) all &= operation == nullptr || operation->is_complete();
  return all;
}

std::set<Rank> ElasticTrial::those_alive() {
  std::set<Rank> alive;
  for (Rank rank = 0; rank < cluster_.size(); ++rank) {
    if (is_there(rank)) alive.insert(rank);
  }
  return alive;
}

std::set<Rank> ElasticTrial::survivors_by_verdict() {
  std::set<Rank> survivors;
  const Verdict* verdict = nullptr;
  for (const Rank rank : those_alive()) {
    const Council& council = *communicator(rank)->council();
    if (council.stage != Council::Stage::judged) continue;
    if (verdict == nullptr) verdict = &council.verdict;
    EXPECT_EQ(council.verdict.lost, verdict->lost);
    EXPECT_EQ(council.verdict.complete, verdict->complete);
    EXPECT_EQ(council.verdict.why.text(), verdict->why.text());
    if (!verdict->has_lost(rank)) survivors.insert(rank);
  }
  return survivors;
}

bool ElasticTrial::all_was_done() {
  const std::set<Rank> alive = those_alive();
  return std::all_of(alive.begin(), alive.end(), [&](Rank rank) {
    return communicator(rank)->failure().is_ok() && completed(rank) == std::size_t{kCalls};
  });
}

void ElasticTrial::check_roll(const std::set<Rank>& survivors) {
  for (const Rank rank : survivors) {
    EXPECT_TRUE(engine(rank).begin_next(communicator(rank), roll_call(rank), cluster_.network().now()).is_ok());
  }
  ASSERT_TRUE(cluster_.run([&] {
    return std::all_of(survivors.begin(), survivors.end(),
                       [&](Rank rank) { return communicator(rank)->council()->next.has_value(); });
  })) << "the roll does not end";
  for (const Rank rank : survivors) {
    const Council& council = *communicator(rank)->council();
    const auto roll = decode_roll(*council.next, council.survivors.size());
    ASSERT_TRUE(roll.is_ok()) << roll.status().text();
    for (std::size_t place = 0; place < council.survivors.size(); ++place) {
      const Rank each = council.survivors[place];  // some have died since the verdict
      EXPECT_EQ((*roll)[place], survivors.contains(each) ? std::optional(roll_call(each)) : std::nullopt);
    }
  }
}

}  // namespace tutti
