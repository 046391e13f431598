// The C++ header: every operation in both forms, ownership, and exceptions, on three ranks.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <tutti/tutti.hpp>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

void use_all(Rank& rank) {
  using Ints = std::vector<int>;
  using Counts = std::vector<std::size_t>;
  tutti::Comm comm = tutti::Comm::from_store(3, rank.rank(), rank.store(), "cpp", "TUTTI_TIMEOUT=30s");
  const int me = comm.rank();
  rank.check(comm.size() == 3 && comm, "size");
  const Ints mine(6, me + 1);
  Ints same(6);
  comm.all_reduce(mine, same);
  rank.check(same == Ints(6, 6), "all_reduce");
  comm.start_all_reduce(mine, same, TUTTI_MAX).wait();
  rank.check(same == Ints(6, 3), "start_all_reduce");
  Ints none;
  comm.reduce(mine, me == 1 ? same : none, 1, TUTTI_PRODUCT);
  rank.check(me != 1 || same == Ints(6, 6), "reduce");
  comm.start_reduce(mine, me == 1 ? same : none, 1).wait();
  std::array<double, 2> pair{me + 0.5, 1};
  comm.broadcast(pair, 2);
  rank.check(pair[0] == 2.5, "broadcast");
  comm.start_broadcast(pair, 0).wait();
  Ints all(18);
  comm.all_gather(mine, all);
  rank.check(all[0] == 1 && all[17] == 3, "all_gather");
  comm.start_all_gather(mine, all).wait();
  const Counts counts{1, 2, 3};
  const auto own = static_cast<std::size_t>(me);
  Ints six(6);
  comm.all_gather_v(tutti::view(mine.data(), counts[own]), six, counts);
  rank.check(six == Ints({1, 2, 2, 3, 3, 3}), "all_gather_v");
  comm.start_all_gather_v(tutti::view(mine.data(), counts[own]), six, counts).wait();
  Ints two(2);
  comm.reduce_scatter(mine, two);
  rank.check(two == Ints({6, 6}), "reduce_scatter");
  comm.start_reduce_scatter(mine, two).wait();
  Ints part(counts[own]);
  comm.reduce_scatter_v(mine, part, counts);
  rank.check(part == Ints(counts[own], 6), "reduce_scatter_v");
  comm.start_reduce_scatter_v(mine, part, counts).wait();
  comm.all_to_all(mine, six);
  rank.check(six == Ints({1, 1, 2, 2, 3, 3}), "all_to_all");
  comm.start_all_to_all(mine, six).wait();
  const Counts equal(3, counts[own]);
  comm.all_to_all_v(all, equal, six, counts);
  comm.start_all_to_all_v(all, equal, six, counts).wait();
  comm.gather(two, me == 0 ? six : none, 0);
  comm.start_gather(two, me == 0 ? six : none, 0).wait();
  comm.gather_v(part, me == 0 ? six : none, counts, 0);
  comm.start_gather_v(part, me == 0 ? six : none, counts, 0).wait();
  rank.check(me != 0 || six == Ints(6, 6), "gather_v");
  comm.scatter(me == 2 ? mine : none, two, 2);
  rank.check(two == Ints({3, 3}), "scatter");
  comm.start_scatter(me == 2 ? mine : none, two, 2).wait();
  comm.scatter_v(me == 2 ? mine : none, counts, part, 2);
  rank.check(part == Ints(counts[own], 3), "scatter_v");
  comm.start_scatter_v(me == 2 ? mine : none, counts, part, 2).wait();
  comm.barrier();
  tutti::Request late = comm.start_barrier();
  while (!late.is_done()) continue;

  tutti::Group group;
  tutti::Request sent = comm.start_send(mine, (me + 1) % 3);
  tutti::Request received = comm.start_receive(same, (me + 2) % 3);
  comm.send(two, me);
  comm.receive(two, me);
  std::vector<tutti::Request> moved;
  moved.push_back(std::move(sent));
  group.end();
  received.wait_for(std::chrono::seconds(30));
  moved[0].wait();
  rank.check(same == Ints(6, (me + 2) % 3 + 1), "send and receive");

  tutti::Memory<float> shared(1000);
  for (float& x : shared) x = 1;
  tutti::Call call;
  const float factor = 2;
  call.scalar = &factor;
  call.algorithm = "ring";
  comm.all_reduce(shared, shared, TUTTI_PREMULTIPLIED_SUM, call);
  rank.check(shared[999] == 6, "premultiplied_sum");
  const std::uint16_t half = 0x3c00;
  std::uint16_t halves = 0;
  comm.all_reduce({&half, 1, TUTTI_FLOAT16}, {&halves, 1, TUTTI_FLOAT16});
  rank.check(halves == 0x4200, "float16");

  const tutti::Comm split = comm.split(me == 1 ? TUTTI_NO_COLOR : 0, 0, "few");
  rank.check((split.c() == nullptr) == (me == 1), "split");
  tutti::Comm twin = comm.duplicate();
  twin.barrier();
  rank.check(comm.stragglers().empty(), "somebody is late");
  rank.check(comm.explain(TUTTI_ALL_REDUCE, 10, TUTTI_FLOAT32).find("all_reduce") != std::string::npos, "explain");
  rank.check(comm.settings().find("TUTTI_TIMEOUT") != std::string::npos, "settings");
  comm.check_error();

  try {
    comm.all_reduce(mine, two);
    rank.fail("lengths that differ were taken");
  } catch (const tutti::Error& error) {
    rank.check(error.status() == TUTTI_INVALID, error.what());
  }
  try {
    comm.broadcast(same, 7);
    rank.fail("a root that is none was taken");
  } catch (const tutti::Error& error) {
    rank.expect_text(error.what(), {"root is 7"});
  }
  twin.destroy();
  rank.check(!twin, "a destroyed Comm still has its communicator");
  tutti::Comm other = std::move(comm);
  other.finalize();
}

TEST(Cpp, UsesEveryOperationInBothForms) {
  Job job;
  job.ranks = 3;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    try {
      use_all(rank);
    } catch (const tutti::Error& error) {
      rank.fail(std::string("an exception: ") + error.what());
    }
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Cpp, MakesCommunicatorsFromAnIdAndTheEnvironmentAndAborts) {
  Job job;
  job.ranks = 1;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    const tutti::Comm by_id = tutti::Comm::from_id(1, tutti::Comm::unique_id(), 0);
    const tutti::Comm by_environment = tutti::Comm::from_environment("env", "TUTTI_TIMEOUT=5s");
    by_environment.abort("enough");
    try {
      by_environment.check_error();
      rank.fail("an aborted communicator is not wrong");
    } catch (const tutti::Error& error) {
      rank.check(error.status() == TUTTI_ABORTED, error.what());
      rank.expect_text(error.what(), {"enough", "env"});
    }
    by_id.barrier();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Cpp, AStateIsWhatTheCStateIs) {
  Job job;
  job.ranks = 3;
  const Outcome outcome = run_job(job, [](Rank& rank) {
    tutti::Comm comm = tutti::Comm::from_store(3, rank.rank(), rank.store(), "cpp", "TUTTI_TIMEOUT=30s");
    std::vector<float> weights(1000, static_cast<float>(rank.rank()));
    std::vector<double> moments(10, 1);
    std::vector<double> moments_now(10, rank.rank());
    tutti::State state("model");
    state.add("weights", weights);
    state.add("moments", moments);
    state.add("scratch", tutti::view(moments.data(), 0));
    state.move("moments", moments_now.data());
    state.remove("scratch");
    if (rank.rank() == 1) state.set_revision(17);
    const tutti_state_report report = state.synchronize(comm, true);
    rank.check(report.receivers == 2 && state.revision() == 17 && state.c() != nullptr, "the report is wrong");
    rank.check(weights[999] == 1 && moments_now[9] == 1 && moments[0] == 1, "the content is wrong");
    try {
      state.add("weights", moments);
      rank.fail("a name was taken twice");
    } catch (const tutti::Error& error) {
      rank.check(error.status() == TUTTI_INVALID, error.what());
      rank.expect_text(error.what(), {"tutti_state_add", "state model", "weights"});
    }
    comm.finalize();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

}  // namespace
}  // namespace tutti_test
