// Calls that do not match between ranks: every rank gets INVALID with a sentence that names both calls, whatever path
// the operation takes, and a rank that does not call at all is named when the others' time is over.
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

using Call = std::function<tutti_status(tutti_comm*, float* in, float* out)>;

constexpr std::size_t kRoom = 1 << 20;  // elements

struct Disagreement {
  const char* name;
  Call most;
  Call odd;  // of rank 1
  std::initializer_list<std::string> named;
};

Call reduce_all(std::size_t count, tutti_datatype type = TUTTI_FLOAT32, tutti_op op = TUTTI_SUM,
                const char* algorithm = nullptr) {
  return [=](tutti_comm* comm, float* in, float* out) {
    tutti_call call = TUTTI_CALL_INIT;
    call.algorithm = algorithm;
    return tutti_all_reduce(in, out, count, type, op, comm, &call, nullptr);
  };
}

Call broadcast(std::size_t count, int root) {
  return [=](tutti_comm* comm, float* in, float* out) {
    return tutti_broadcast(in, out, count, TUTTI_FLOAT32, root, comm, nullptr, nullptr);
  };
}

Call gather_all(std::size_t count) {
  return [=](tutti_comm* comm, float* in, float* out) {
    return tutti_all_gather(in, out, count, TUTTI_FLOAT32, comm, nullptr, nullptr);
  };
}

const Disagreement kDisagreements[] = {
    {"SmallCount", reduce_all(10), reduce_all(11), {"count 10", "count 11"}},
    {"LargeCount", reduce_all(200000), reduce_all(200001), {"count 200000", "count 200001"}},
    {"SmallAgainstLarge", reduce_all(10), reduce_all(200000), {"count 10", "count 200000"}},
    {"LargeAgainstSmall", reduce_all(200000), reduce_all(10), {"count 10", "count 200000"}},
    {"SmallType", reduce_all(8), reduce_all(8, TUTTI_INT32), {"float32", "int32"}},
    {"LargeType", reduce_all(200000), reduce_all(200000, TUTTI_INT32), {"float32", "int32"}},
    {"SmallOp", reduce_all(8), reduce_all(8, TUTTI_FLOAT32, TUTTI_MAX), {"sum", "max"}},
    {"LargeOp", reduce_all(200000), reduce_all(200000, TUTTI_FLOAT32, TUTTI_MAX), {"sum", "max"}},
    {"SmallKind", reduce_all(8), gather_all(8), {"all_reduce", "all_gather"}},
    {"LargeKind", reduce_all(100000), gather_all(100000), {"all_reduce", "all_gather"}},
    {"SmallRoot", broadcast(8, 0), broadcast(8, 2), {"root 0", "root 2"}},
    {"LargeRoot", broadcast(200000, 0), broadcast(200000, 2), {"root 0", "root 2"}},
    {"Algorithm",
     reduce_all(200000, TUTTI_FLOAT32, TUTTI_SUM, "ring"),
     reduce_all(200000, TUTTI_FLOAT32, TUTTI_SUM, "halving_doubling"),
     {"algorithm"}},
    {"AlgorithmAgainstNone", reduce_all(8), reduce_all(8, TUTTI_FLOAT32, TUTTI_SUM, "ring"), {"algorithm"}},
    {"Barrier",
     [](tutti_comm* comm, float*, float*) { return tutti_barrier(comm, nullptr, nullptr); },
     reduce_all(1),
     {"barrier", "all_reduce"}},
};

class Mismatch : public testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(Mismatch, GivesInvalidOnEveryRankAndNamesBothCalls) {
  const auto [layout, index] = GetParam();
  const Disagreement& d = kDisagreements[index];
  Job job;
  job.ranks = 3;
  const std::string transport = layout;
  if (transport == "threads") {
    job.processes = 1;
  } else {
    job.settings = "TUTTI_TRANSPORTS=" + transport;
  }
  job.settings += " TUTTI_TIMEOUT=" + std::to_string(20 * patience()) + "s";
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    std::vector<float> in(kRoom, 1);
    std::vector<float> out(kRoom);
    rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    rank.meet();  // a failure ends all that is in flight, also the end of a barrier that others have left
    rank.note("calls what does not match");
    tutti_status got = (rank.rank() == 1 ? d.odd : d.most)(comm, in.data(), out.data());
    // A rank whose own part was complete learns it from its next call.
    if (got == TUTTI_OK) {
      rank.note("makes its next call");
      got = tutti_barrier(comm, nullptr, nullptr);
    }
    if (rank.expect(TUTTI_INVALID, got, d.name)) {
      rank.expect_text(tutti_last_error(), d.named);
      rank.expect_text(tutti_last_error(), {"dp0", "rank 1"});
    }
    rank.expect(TUTTI_INVALID, tutti_comm_error(comm, nullptr, 0), "comm_error");
    rank.note("leaves");
    rank.meet();
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

INSTANTIATE_TEST_SUITE_P(Of, Mismatch,
                         testing::Combine(testing::Values("shm", "tcp", "threads"),
                                          testing::Range(0, static_cast<int>(std::size(kDisagreements)))),
                         [](const auto& instance) {
                           return std::string(kDisagreements[std::get<1>(instance.param)].name) + "Over" +
                                  std::get<0>(instance.param);
                         });

class Points : public testing::TestWithParam<const char*> {};

TEST_P(Points, OfOtherCountsDoNotMatch) {
  for (const std::size_t odd : {std::size_t{9}, std::size_t{300000}}) {
    Job job;
    job.settings = std::string("TUTTI_TRANSPORTS=") + GetParam() + " TUTTI_TIMEOUT=20s";
    const Outcome outcome = run_job(job, [&](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      std::vector<float> data(kRoom);
      const tutti_status got = rank.rank() == 0
                                   ? tutti_send(data.data(), odd, TUTTI_FLOAT32, 1, comm, nullptr, nullptr)
                                   : tutti_receive(data.data(), 8, TUTTI_FLOAT32, 0, comm, nullptr, nullptr);
      // A send may complete before it is received.
      if (rank.rank() == 1 || got != TUTTI_OK) {
        rank.expect(TUTTI_INVALID, got, "a message of another length");
        rank.expect_text(tutti_last_error(), {"8", std::to_string(odd), "rank 0", "rank 1"});
      }
      rank.meet();
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

TEST_P(Points, OfTablesThatDisagreeDoNotMatch) {
  Job job;
  job.settings = std::string("TUTTI_TRANSPORTS=") + GetParam() + " TUTTI_TIMEOUT=20s";
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    std::vector<float> in(100);
    std::vector<float> out(100);
    // Rank 0 sends 3 to rank 1, which expects 4.
    const std::size_t sends[] = {1, rank.rank() == 0 ? 3u : 1u};
    const std::size_t receives[] = {rank.rank() == 0 ? 1u : 4u, 1};
    tutti_status got = tutti_all_to_all_v(in.data(), sends, nullptr, out.data(), receives, nullptr, TUTTI_FLOAT32,
                                          comm, nullptr, nullptr);
    if (got == TUTTI_OK) got = tutti_barrier(comm, nullptr, nullptr);
    rank.expect(TUTTI_INVALID, got, "all_to_all_v");
    rank.expect_text(tutti_last_error(), {"3", "4", "all_to_all_v"});
    rank.meet();
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Points, NameWhoDoesNotCome) {
  for (const std::size_t count : {std::size_t{4}, std::size_t{500000}}) {
    Job job;
    job.ranks = 3;
    job.settings = std::string("TUTTI_TRANSPORTS=") + GetParam() + " TUTTI_TIMEOUT=60s";
    const Outcome outcome = run_job(job, [&](Rank& rank) {
      tutti_comm* const comm = rank.create("dp0");
      if (comm == nullptr) return;
      rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
      rank.meet();
      if (rank.rank() != 1) {
        std::vector<float> data(count);
        tutti_call call = TUTTI_CALL_INIT;
        call.timeout_ns = 1'500'000'000;
        rank.expect(TUTTI_TIMEOUT,
                    tutti_all_reduce(data.data(), data.data(), count, TUTTI_FLOAT32, TUTTI_SUM, comm, &call, nullptr),
                    "an all_reduce that rank 1 does not call");
        rank.expect_text(tutti_last_error(), {"dp0", "rank 1", "all_reduce", "has not called", "1.5 s"});
      }
      rank.meet();
      rank.ok(tutti_comm_destroy(comm), "destroy");
    });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

INSTANTIATE_TEST_SUITE_P(Over, Points, testing::Values("shm", "tcp"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace tutti_test
