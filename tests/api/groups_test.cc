// Groups: what is noted, when it starts, and what happens when something in it is wrong.
#include <gtest/gtest.h>

#include "tests/process/job.h"

namespace tutti_test {
namespace {

constexpr auto kType = TUTTI_INT32;

Outcome pair(const std::function<void(Rank&, tutti_comm*)>& function) {
  Job job;
  job.settings = "TUTTI_TIMEOUT=30s";
  return run_job(job, [&](Rank& rank) {
    tutti_comm* const comm = rank.create("dp0");
    if (comm == nullptr) return;
    function(rank, comm);
    int x = 1;
    int y = 0;
    rank.ok(tutti_all_reduce(&x, &y, 1, kType, TUTTI_SUM, comm, nullptr, nullptr), "a call after the group");
    rank.check(y == 2, "the sum after the group is wrong");
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
}

TEST(Groups, StartSendsAndReceivesThatWouldBlockEachOther) {
  const Outcome outcome = pair([](Rank& rank, tutti_comm* comm) {
    std::vector<int> out(200000, rank.rank() + 1);
    std::vector<int> in(200000, -1);
    int self_in = -1;
    const int me = rank.rank();
    rank.ok(tutti_group_begin(), "begin");
    rank.ok(tutti_send(out.data(), out.size(), kType, 1 - me, comm, nullptr, nullptr), "send");
    rank.ok(tutti_send(&me, 1, kType, me, comm, nullptr, nullptr), "send to itself");
    rank.ok(tutti_group_begin(), "an inner begin");
    rank.ok(tutti_receive(in.data(), in.size(), kType, 1 - me, comm, nullptr, nullptr), "receive");
    rank.ok(tutti_group_end(), "an inner end");
    rank.ok(tutti_receive(&self_in, 1, kType, me, comm, nullptr, nullptr), "receive from itself");
    rank.check(in[0] == -1 && self_in == -1, "something moved before the outermost end");
    rank.ok(tutti_group_end(), "end");
    rank.check(in.front() == 2 - me && in.back() == 2 - me && self_in == me, "the messages are wrong");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Groups, HandOutRequestsAtTheEnd) {
  const Outcome outcome = pair([](Rank& rank, tutti_comm* comm) {
    int x[3] = {1, 2, 3};
    int y[3] = {};
    tutti_request* requests[3] = {};
    rank.ok(tutti_group_begin(), "begin");
    for (int i = 0; i < 3; ++i) {
      // The call struct may be gone when the group ends.
      tutti_call call = TUTTI_CALL_INIT;
      const int factor = 10;
      call.scalar = &factor;
      std::string algorithm = "ring";
      call.algorithm = i == 2 ? algorithm.c_str() : nullptr;
      rank.ok(tutti_all_reduce(&x[i], &y[i], 1, kType, TUTTI_PREMULTIPLIED_SUM, comm, &call,
                               i == 1 ? nullptr : &requests[i]),
              "all_reduce");
      algorithm.assign("no more");
      rank.check(requests[i] == nullptr, "a request before the end of the group");
    }
    rank.ok(tutti_group_end(), "end");
    rank.check(requests[0] != nullptr && requests[1] == nullptr && requests[2] != nullptr, "the wrong requests");
    rank.check(y[1] == 40, "the one without a request is not complete at the end");
    rank.ok(tutti_request_wait_all(3, requests, -1), "wait_all");
    rank.check(y[0] == 20 && y[2] == 60, "the sums are wrong");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Groups, StartNothingWhenOneIsWrong) {
  const Outcome outcome = pair([](Rank& rank, tutti_comm* comm) {
    int x = 1;
    int y = -1;
    tutti_request* request = nullptr;
    rank.ok(tutti_group_begin(), "begin");
    rank.ok(tutti_all_reduce(&x, &y, 1, kType, TUTTI_SUM, comm, nullptr, &request), "a good call");
    rank.expect(TUTTI_INVALID, tutti_send(&x, 1, kType, 17, comm, nullptr, nullptr), "a bad one");
    rank.expect_text(tutti_last_error(), {"peer is 17"});
    rank.expect(TUTTI_INVALID, tutti_send(&x, 1, static_cast<tutti_datatype>(50), 0, comm, nullptr, nullptr),
                "another");
    rank.expect(TUTTI_INVALID, tutti_group_end(), "end");
    rank.expect_text(tutti_last_error(), {"peer is 17"});  // the first
    rank.check(request == nullptr && y == -1, "the good one was started");

    tutti_call call = TUTTI_CALL_INIT;
    call.algorithm = "telepathy";  // is found out when the group ends
    rank.ok(tutti_group_begin(), "begin");
    rank.ok(tutti_all_reduce(&x, &y, 1, kType, TUTTI_SUM, comm, nullptr, &request), "a good call");
    static_cast<void>(tutti_all_reduce(&x, &y, 1, kType, TUTTI_SUM, comm, &call, nullptr));
    rank.expect(TUTTI_INVALID, tutti_group_end(), "end with an algorithm that is none");
    rank.expect_text(tutti_last_error(), {"telepathy"});
    rank.check(request == nullptr && y == -1, "the good one was started");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(Groups, AllowNoChangeOfCommunicators) {
  const Outcome outcome = pair([](Rank& rank, tutti_comm* comm) {
    tutti_comm* other = nullptr;
    rank.expect(TUTTI_INVALID, tutti_group_end(), "an end without a begin");
    rank.ok(tutti_group_begin(), "begin");
    rank.expect(TUTTI_INVALID, tutti_comm_split(comm, 0, 0, &other, nullptr), "split");
    rank.expect_text(tutti_last_error(), {"tutti_comm_split", "tutti_group_begin"});
    rank.expect(TUTTI_INVALID, tutti_comm_duplicate(comm, &other, nullptr), "duplicate");
    rank.expect(TUTTI_INVALID, tutti_comm_destroy(comm), "destroy");
    rank.expect(TUTTI_INVALID, tutti_comm_finalize(comm, 0), "finalize");
    rank.expect(TUTTI_INVALID, rank.try_create(&other), "create");
    rank.ok(tutti_group_end(), "end of an empty group");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

}  // namespace
}  // namespace tutti_test
