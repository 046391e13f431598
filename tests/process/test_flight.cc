// Many operations at once: on one communicator, on many, from many threads; waiting for them in any order; receivers
// that come late.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <thread>

#include "tests/process/elements.h"
#include "tests/process/job.h"
#include "tests/sanitized.h"

namespace tutti_test {
namespace {

struct Draw {
  std::uint64_t state;
  std::uint64_t below(std::uint64_t bound) {
    state = mix(state, 0xf11e);
    return state % bound;
  }
};

// One operation with its buffers: element j of rank r's input is base + r + j.
struct Flight {
  enum Kind { reduce_all, gather_all, broadcast, to_next } kind = reduce_all;
  std::size_t count = 0;
  int root = 0;
  std::int64_t base = 0;
  std::vector<std::int64_t> input;
  std::vector<std::int64_t> output;
  tutti_request* request = nullptr;
  tutti_request* other = nullptr;  // to_next: the receive
  std::string text() const {
    constexpr const char* kNames[] = {"all_reduce", "all_gather", "broadcast", "send to the next"};
    return std::string(kNames[kind]) + " of " + std::to_string(count) + " from " + std::to_string(base);
  }
};

Flight make_flight(Draw& draw, int me, int ranks, std::int64_t base) {
  constexpr std::size_t kCounts[] = {1, 2, 7, 100, 511, 1024, 3000, 20000};
  Flight flight;
  flight.kind = static_cast<Flight::Kind>(draw.below(4));
  flight.count = kCounts[draw.below(std::size(kCounts))];
  flight.root = static_cast<int>(draw.below(static_cast<std::uint64_t>(ranks)));
  flight.base = base;
  flight.input.resize(flight.count);
  std::iota(flight.input.begin(), flight.input.end(), base + me);
  flight.output.assign(flight.count * (flight.kind == Flight::gather_all ? static_cast<std::size_t>(ranks) : 1), -1);
  return flight;
}

tutti_status start(Flight& f, int me, int ranks, tutti_comm* comm) {
  switch (f.kind) {
    case Flight::reduce_all:
      return tutti_all_reduce(f.input.data(), f.output.data(), f.count, TUTTI_INT64, TUTTI_SUM, comm, nullptr,
                              &f.request);
    case Flight::gather_all:
      return tutti_all_gather(f.input.data(), f.output.data(), f.count, TUTTI_INT64, comm, nullptr, &f.request);
    case Flight::broadcast:
      return tutti_broadcast(f.input.data(), f.output.data(), f.count, TUTTI_INT64, f.root, comm, nullptr,
                             &f.request);
    case Flight::to_next:
      break;
  }
  const tutti_status sent =
      tutti_send(f.input.data(), f.count, TUTTI_INT64, (me + 1) % ranks, comm, nullptr, &f.request);
  if (sent != TUTTI_OK) return sent;
  return tutti_receive(f.output.data(), f.count, TUTTI_INT64, (me + ranks - 1) % ranks, comm, nullptr, &f.other);
}

void check(Rank& rank, const Flight& f, int me, int ranks) {
  for (std::size_t i = 0; i < f.output.size(); ++i) {
    const auto j = static_cast<std::int64_t>(i % f.count);
    std::int64_t expected = 0;
    if (f.kind == Flight::reduce_all) expected = ranks * (f.base + j) + ranks * (ranks - 1) / 2;
    if (f.kind == Flight::gather_all) expected = f.base + j + static_cast<std::int64_t>(i / f.count);
    if (f.kind == Flight::broadcast) expected = f.base + j + f.root;
    if (f.kind == Flight::to_next) expected = f.base + j + (me + ranks - 1) % ranks;
    if (f.output[i] != expected) {
      return rank.fail(f.text() + ": element " + std::to_string(i) + " is " + std::to_string(f.output[i]) +
                       ", expected " + std::to_string(expected));
    }
  }
}

// Posts `total` operations and waits for them in an order of its own.
void fly(Rank& rank, tutti_comm* comm, int me, int ranks, int total, std::uint64_t with_seed) {
  Draw draw{with_seed};
  std::vector<std::unique_ptr<Flight>> flights;
  for (int i = 0; i < total; ++i) {
    flights.push_back(std::make_unique<Flight>(make_flight(draw, me, ranks, 1000 * i)));
    rank.note("posts number " + std::to_string(i) + ", " + flights.back()->text());
    if (!rank.ok(start(*flights.back(), me, ranks, comm), flights.back()->text())) return;
  }
  std::vector<std::size_t> order(flights.size());
  std::iota(order.begin(), order.end(), 0u);
  Draw own{with_seed + static_cast<std::uint64_t>(me) + 1};
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[own.below(i)]);
  for (const std::size_t i : order) {
    Flight& f = *flights[i];
    rank.note("waits for number " + std::to_string(i) + ", " + f.text());
    rank.ok(tutti_request_wait(&f.request, -1), "wait for " + f.text());
    rank.ok(tutti_request_wait(&f.other, -1), "wait for the receive of " + f.text());
    rank.check(f.request == nullptr && f.other == nullptr, "a request is not NULL after the wait");
    check(rank, f, me, ranks);
  }
}

void leave(Rank& rank, tutti_comm* comm) {
  rank.note("leaves");
  rank.ok(tutti_comm_finalize(comm, 0), "finalize");
  rank.ok(tutti_comm_destroy(comm), "destroy");
}

class Flights : public testing::TestWithParam<const char*> {
 protected:
  Job job(int ranks) const {
    Job job;
    job.ranks = ranks;
    const std::string layout = GetParam();
    if (layout == "threads") {
      job.processes = 1;
    } else {
      job.settings = "TUTTI_TRANSPORTS=" + layout;
    }
    job.settings += " TUTTI_TIMEOUT=" + std::to_string(20 * patience()) + "s";
    return job;
  }
};

TEST_P(Flights, CompleteInAnyOrderOfWaiting) {
  const Outcome outcome = run_job(job(3), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    for (int round = 0; round < 3; ++round)
      fly(rank, comm, rank.rank(), 3, 64, mix(seed(), static_cast<std::uint64_t>(round)));
    fly(rank, comm, rank.rank(), 3, patience() > 1 ? 300 : 1000, mix(seed(), 99));
    leave(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Flights, OfSeveralCommunicatorsDoNotDisturbEachOther) {
  constexpr int kThreads = 4;
  const Outcome outcome = run_job(job(3), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    tutti_comm* own[kThreads] = {};
    for (tutti_comm*& one : own) {
      if (!rank.ok(tutti_comm_duplicate(comm, &one, nullptr), "duplicate")) return;
    }
    // Failures are told through one Rank per thread, since a Rank is one thread's.
    std::vector<std::thread> threads;
    std::vector<std::unique_ptr<Rank>> tellers;
    for (int t = 0; t < kThreads; ++t) tellers.push_back(std::make_unique<Rank>(rank));
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Rank& teller = *tellers[static_cast<std::size_t>(t)];
        const std::uint64_t chosen = mix(seed(), static_cast<std::uint64_t>(t));
        for (int round = 0; round < 4; ++round)
          fly(teller, own[t], rank.rank(), 3, 40, chosen + static_cast<std::uint64_t>(round));
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& teller : tellers) rank.check(!teller->has_failed(), "a thread of this rank failed");
    for (tutti_comm* one : own) leave(rank, one);
    leave(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Flights, On64CommunicatorsAtOnce) {
  constexpr int kComms = 64;
  const Outcome outcome = run_job(job(3), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    std::vector<tutti_comm*> comms(kComms);
    for (tutti_comm*& one : comms) {
      if (!rank.ok(tutti_comm_duplicate(comm, &one, nullptr), "duplicate")) return;
    }
    std::vector<std::int64_t> inputs(kComms);
    std::vector<std::int64_t> outputs(kComms);
    std::vector<tutti_request*> requests(kComms);
    // Every rank starts with another communicator: order matters within one only.
    for (std::size_t i = 0; i < kComms; ++i) {
      const std::size_t c = (i * 7 + static_cast<std::size_t>(rank.rank()) * 21) % kComms;
      inputs[c] = static_cast<std::int64_t>(c) * 10 + rank.rank();
      rank.ok(tutti_all_reduce(&inputs[c], &outputs[c], 1, TUTTI_INT64, TUTTI_SUM, comms[c], nullptr, &requests[c]),
              "all_reduce");
    }
    rank.ok(tutti_request_wait_all(kComms, requests.data(), -1), "wait_all");
    for (std::size_t c = 0; c < kComms; ++c)
      rank.check(outputs[c] == static_cast<std::int64_t>(c) * 30 + 3,
                 "communicator " + std::to_string(c) + " has " + std::to_string(outputs[c]));
    for (tutti_comm* one : comms) rank.ok(tutti_comm_destroy(one), "destroy");
    leave(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Flights, OfALateReceiverAreHeldInBoundedMemory) {
  const Outcome outcome = run_job(job(2), [](Rank& rank) {
    constexpr int kMessages = tutti::kIsSanitized ? 4000 : 8000;  // more than is held in any case
    constexpr std::size_t kCount = 1024;                          // 8 KiB, sent without being asked for
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    rank.meet();
    const std::int64_t before = memory_in_use();
    std::vector<std::int64_t> data(kCount);
    if (rank.rank() == 0) {
      std::vector<std::vector<std::int64_t>> inputs;
      for (std::int64_t i = 0; i < 16; ++i) inputs.emplace_back(kCount, i);
      std::vector<tutti_request*> requests(kMessages, nullptr);
      rank.note("floods");
      for (std::size_t i = 0; i < kMessages; ++i)
        rank.ok(tutti_send(inputs[i % 16].data(), kCount, TUTTI_INT64, 1, comm, nullptr, &requests[i]), "send");
      rank.meet();
      // Other traffic goes on although nobody receives.
      tutti_request* sum = nullptr;
      std::int64_t one = 1;
      std::int64_t two = 0;
      rank.ok(tutti_all_reduce(&one, &two, 1, TUTTI_INT64, TUTTI_SUM, comm, nullptr, &sum), "all_reduce");
      rank.ok(tutti_request_wait(&sum, -1), "wait beside the flood");
      rank.check(two == 2, "the sum beside the flood is wrong");
      rank.ok(tutti_request_wait_all(requests.size(), requests.data(), -1), "wait for the sends");
    } else {
      rank.note("is late");
      rank.meet();
      std::int64_t one = 1;
      std::int64_t two = 0;
      rank.ok(tutti_all_reduce(&one, &two, 1, TUTTI_INT64, TUTTI_SUM, comm, nullptr, nullptr), "all_reduce");
      const std::int64_t grown = memory_in_use() - before;
      rank.check(grown < (24 << 20), "a late receiver grew by " + std::to_string(grown) + " bytes of a flood of " +
                                         std::to_string(kMessages * kCount * 8));
      for (int i = 0; i < kMessages; ++i) {
        data.assign(kCount, -1);
        if (!rank.ok(tutti_receive(data.data(), kCount, TUTTI_INT64, 0, comm, nullptr, nullptr), "receive")) return;
        if (!rank.check(data.front() == i % 16 && data.back() == i % 16,
                        "message " + std::to_string(i) + " is wrong"))
          return;
      }
    }
    leave(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST_P(Flights, CanBeWaitedForOneByOneAndGivenUpOn) {
  const Outcome outcome = run_job(job(2), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    constexpr std::size_t kCount = 100000;
    std::vector<std::int64_t> a(kCount, rank.rank());
    std::vector<std::int64_t> b(kCount, -1);
    if (rank.rank() == 0) {
      tutti_request* requests[3] = {};
      rank.ok(tutti_receive(b.data(), kCount, TUTTI_INT64, 1, comm, nullptr, &requests[1]), "receive");
      int index = 7;
      int done = 7;
      rank.expect(TUTTI_TIMEOUT, tutti_request_wait(&requests[1], 20'000'000), "a wait of 20 ms");
      rank.expect_text(tutti_last_error(), {"20 ms", "goes on"});
      rank.check(requests[1] != nullptr, "the request is gone after a timeout");
      rank.expect(TUTTI_TIMEOUT, tutti_request_wait_any(3, requests, &index, 1'000'000), "wait_any of 1 ms");
      rank.check(index == -1, "wait_any set an index without a completion");
      rank.expect(TUTTI_TIMEOUT, tutti_request_wait_all(3, requests, 0), "wait_all of 0 ns");
      rank.ok(tutti_request_test(&requests[1], &done), "test");
      rank.check(done == 0, "test says that an operation is done which cannot be");
      rank.meet();
      rank.ok(tutti_request_wait_any(3, requests, &index, -1), "wait_any");
      rank.check(index == 1 && requests[1] == nullptr, "wait_any gave index " + std::to_string(index));
      rank.check(b.front() == 1 && b.back() == 1, "the message is wrong");
      rank.ok(tutti_request_wait_any(3, requests, &index, -1), "wait_any of nothing");
      rank.check(index == -1, "wait_any of nothing gave an index");
      rank.ok(tutti_request_wait_all(3, requests, -1), "wait_all of nothing");
    } else {
      rank.meet();
      tutti_request* request = nullptr;
      rank.ok(tutti_send(a.data(), kCount, TUTTI_INT64, 0, comm, nullptr, &request), "send");
      int done = 0;
      while (done == 0 && rank.ok(tutti_request_test(&request, &done), "test")) std::this_thread::yield();
      rank.check(request == nullptr, "the request is not NULL after the test that found it complete");
    }
    leave(rank, comm);
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

// Somebody is told once, whoever completes the operation: the progress thread, a wait, a test, a failure; and at once
// where it is complete.
TEST_P(Flights, TellOnceThatTheyAreComplete) {
  const Outcome outcome = run_job(job(2), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    std::atomic<int> told{0};
    const auto count = [](void* user) { ++*static_cast<std::atomic<int>*>(user); };
    int element = rank.rank();
    tutti_request* request = nullptr;
    if (rank.rank() == 0) {
      rank.ok(tutti_receive(&element, 1, TUTTI_INT32, 1, comm, nullptr, &request), "receive");
      rank.ok(tutti_request_notify(request, count, &told), "notify");
      rank.check(told == 0, "told of an operation that cannot be complete");
    }
    rank.meet();
    if (rank.rank() == 1) {
      rank.ok(tutti_send(&element, 1, TUTTI_INT32, 0, comm, nullptr, nullptr), "send");
    } else {
      while (told == 0) std::this_thread::yield();  // by the progress thread: nobody waits
      rank.ok(tutti_request_notify(request, count, &told), "notify of what is complete");
      rank.check(told == 2, "not told at once");
      rank.ok(tutti_request_wait(&request, -1), "wait");
      rank.check(element == 1, "the message is wrong");
    }
    rank.ok(tutti_barrier(comm, nullptr, &request), "barrier");
    rank.ok(tutti_request_notify(request, count, &told), "notify");
    rank.ok(tutti_request_wait(&request, -1), "wait");
    rank.check(told == (rank.rank() == 0 ? 3 : 1), "not told before the wait returned");
    for (int i = 0; i < 200; ++i) {  // by the progress thread, also as it goes to sleep
      const int before = told;
      rank.ok(tutti_barrier(comm, nullptr, &request), "barrier");
      rank.ok(tutti_request_notify(request, count, &told), "notify");
      while (told == before) std::this_thread::yield();
      rank.ok(tutti_request_wait(&request, -1), "wait");
    }
    told = told - 200;
    rank.ok(tutti_receive(&element, 1, TUTTI_INT32, 1 - rank.rank(), comm, nullptr, &request), "receive");
    rank.ok(tutti_request_notify(request, count, &told), "notify");
    rank.meet();
    rank.ok(tutti_comm_destroy(comm), "destroy");
    const tutti_status ended = tutti_request_wait(&request, -1);
    rank.check(ended == TUTTI_ABORTED || ended == TUTTI_PEER_LOST, "a receive of what is destroyed has succeeded");
    rank.check(told == (rank.rank() == 0 ? 4 : 2), "not told of a failure");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

// Nobody waits for a receive of this rank's: whoever goes with one pending, or goes though others have one pending
// from it, disturbs nobody.
TEST_P(Flights, ReceivesThatAreGivenUpDisturbNobody) {
  const Outcome outcome = run_job(job(3), [](Rank& rank) {
    tutti_comm* const comm = rank.create();
    if (comm == nullptr) return;
    int element = rank.rank();
    tutti_request* request = nullptr;
    rank.ok(tutti_barrier(comm, nullptr, nullptr), "barrier");
    if (rank.rank() == 0) {
      rank.ok(tutti_receive(&element, 1, TUTTI_INT32, 1, comm, nullptr, &request), "receive");
      rank.ok(tutti_comm_destroy(comm), "destroy");
      rank.expect(TUTTI_ABORTED, tutti_request_wait(&request, -1), "the receive");
      rank.meet();
      return;
    }
    int nothing = 0;
    tutti_request* vain = nullptr;
    rank.ok(tutti_receive(&nothing, 1, TUTTI_INT32, 0, comm, nullptr, &vain), "receive of who goes");
    if (rank.rank() == 1)
      rank.ok(tutti_receive(&element, 1, TUTTI_INT32, 2, comm, nullptr, &request), "receive of who stays");
    rank.meet();
    rank.expect(TUTTI_PEER_LOST, tutti_request_wait(&vain, -1), "the receive of who has gone");
    rank.expect(TUTTI_PEER_LOST, tutti_receive(&nothing, 1, TUTTI_INT32, 0, comm, nullptr, nullptr), "another one");
    if (rank.rank() == 2) rank.ok(tutti_send(&element, 1, TUTTI_INT32, 1, comm, nullptr, nullptr), "send");
    rank.ok(tutti_request_wait(&request, -1), "wait");
    rank.check(element == 2, "the message is wrong");
    rank.ok(tutti_comm_error(comm, nullptr, 0), "the communicator of those who stay");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

INSTANTIATE_TEST_SUITE_P(Over, Flights, testing::Values("shm", "tcp", "threads"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace tutti_test
