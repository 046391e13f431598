// Whole jobs, real processes, that meet at a store which none of them hosts.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <mutex>
#include <thread>
#include <vector>

#include "src/membership/callback_store.h"
#include "src/membership/tcp_store.h"
#include "tests/membership/child_process.h"
#include "tests/membership/etcd_servers.h"
#include "tests/membership/torch_like_store.h"
#include "tests/process/job.h"

namespace tutti_test {
namespace {

// One rank's part: a communicator by `store`, an all-reduce, and another communicator at the same store.
void meet_and_add(Rank& rank, const std::string& store, const std::string& settings) {
  for (const char* const name : {"first", "second"}) {
    rank.note(std::string("creates ") + name);
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.name = name;
    options.settings = settings.c_str();
    tutti_comm* comm = nullptr;
    if (!rank.ok(tutti_comm_create_from_store(&comm, rank.size(), rank.rank(), store.c_str(), &options), "creation"))
      return;
    std::vector<float> data(1000, static_cast<float>(rank.rank() + 1));
    rank.ok(tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_FLOAT32, TUTTI_SUM, comm, nullptr, nullptr),
            "all_reduce");
    rank.check(data.front() == 6 && data.back() == 6, "the sum is wrong");
    rank.ok(tutti_comm_finalize(comm, 0), "finalize");
    rank.ok(tutti_comm_destroy(comm), "destroy");
  }
}

// The C table of a store, as a framework's binding would write it.
tutti_status give(const tutti::Result<std::string>& value, tutti_store_reply* reply) {
  const std::string& bytes = value ? *value : value.status().text();
  EXPECT_EQ(tutti_store_reply_set(reply, bytes.data(), bytes.size()), TUTTI_OK);
  return static_cast<tutti_status>(value.status().code());
}

tutti_status get_by_table(void* user, const char* key, std::int64_t timeout_ns, tutti_store_reply* reply) {
  const tutti::Instant deadline = tutti::deadline_after(tutti::monotonic_now(), tutti::Nanoseconds(timeout_ns));
  return give(static_cast<tutti::StorePrimitives*>(user)->get(key, deadline), reply);
}

tutti_status set_by_table(void* user, const char* key, const void* value, std::size_t size, std::int64_t timeout_ns,
                          tutti_store_reply* reply) {
  const tutti::Instant deadline = tutti::deadline_after(tutti::monotonic_now(), tutti::Nanoseconds(timeout_ns));
  const std::string bytes(static_cast<const char*>(value), size);
  return give(static_cast<tutti::StorePrimitives*>(user)->set_if_absent(key, bytes, deadline), reply);
}

tutti_store_callbacks table_of(tutti::StorePrimitives& primitives) {
  return {sizeof(tutti_store_callbacks), &primitives, get_by_table, set_by_table};
}

TEST(StoreJobs, MeetAtAFrameworksOwnStoreAsThreads) {
  Job job;
  job.ranks = 3;
  job.processes = 1;
  std::once_flag registered;
  tutti::TorchLikePrimitives primitives;
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    std::call_once(registered, [&] {
      const tutti_store_callbacks table = table_of(primitives);
      rank.ok(tutti_store_register("torch", &table), "register");
      rank.expect(TUTTI_INVALID, tutti_store_register("torch", &table), "the same name again");
    });
    meet_and_add(rank, "callback://torch", "TUTTI_SECRET=correct-horse");
    rank.meet();
    if (rank.rank() == 0) rank.ok(tutti_store_unregister("torch"), "unregister");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(StoreJobs, MeetAtEtcd) {
  if (const std::string missing = tutti::EtcdServers::missing(); !missing.empty()) GTEST_SKIP() << missing;
  const tutti::EtcdServers servers(1);
  Job job;
  job.ranks = 3;
  for (int again = 0; again < 2; ++again) {
    const Outcome outcome = run_job(
        job, [&](Rank& rank) { meet_and_add(rank, servers.address("jobs/mine"), "TUTTI_SECRET=correct-horse"); });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

TEST(StoreJobs, AtEtcdOthersAreNotTakenForTheirs) {
  if (const std::string missing = tutti::EtcdServers::missing(); !missing.empty()) GTEST_SKIP() << missing;
  const tutti::EtcdServers servers(1);
  Job job;
  job.ranks = 2;
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.settings = rank.rank() == 0 ? "TUTTI_SECRET=correct-horse" : "TUTTI_SECRET=battery-staple";
    options.timeout_ns = 2'000'000'000;
    tutti_comm* comm = nullptr;
    const std::string store = servers.address("jobs");
    const tutti_status got = tutti_comm_create_from_store(&comm, 2, rank.rank(), store.c_str(), &options);
    rank.check(got != TUTTI_OK, "two secrets made one communicator");
    // Who comes second is told of the secret; the first learns only that nobody comes.
    const std::string why = tutti_last_error();
    rank.expect_text(why, {store});
    if (why.find("nobody wrote who knows this process's secret (TUTTI_SECRET)") != std::string::npos)
      rank.shared().counters[0].fetch_add(1);
    rank.meet();
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  EXPECT_GE(outcome.counters[0], 1);
}

#ifdef TUTTI_STORE_PROGRAM
TEST(StoreJobs, MeetAtATuttiStore) {
  const TemporaryDirectory directory;
  tutti::ChildProcess program({TUTTI_STORE_PROGRAM, "--host", "127.0.0.1"}, directory.path() + "/output",
                              {"TUTTI_SECRET=correct-horse"});
  const std::string address = program.first_line();
  ASSERT_TRUE(address.starts_with("tcp://")) << address;
  Job job;
  job.ranks = 3;
  for (int again = 0; again < 2; ++again) {  // the store outlives a job and serves the next
    const Outcome outcome =
        run_job(job, [&](Rank& rank) { meet_and_add(rank, address, "TUTTI_SECRET=correct-horse"); });
    EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 0) << program.output();
}

// Each process has a connection of its own to what stands for the framework's store.
class TcpPrimitives final : public tutti::StorePrimitives {
 public:
  explicit TcpPrimitives(const std::string& address) : store_(*tutti::TcpStore::create(address, "framework's")) {}
  tutti::Result<std::string> get(const std::string& key, tutti::Instant deadline) override {
    return store_->get(key, deadline);
  }
  tutti::Result<std::string> set_if_absent(const std::string& key, const std::string& value,
                                           tutti::Instant deadline) override {
    const auto swap = store_->set_if_absent(key, value, deadline);
    if (!swap) return swap.status();
    return *swap->value;
  }
  std::string address() const override { return store_->address(); }

 private:
  std::unique_ptr<tutti::TcpStore> store_;
};

TEST(StoreJobs, MeetAtAFrameworksOwnStoreAsProcessesAndAreToldWhenItIsGone) {
  const TemporaryDirectory directory;
  tutti::ChildProcess program({TUTTI_STORE_PROGRAM, "--host", "127.0.0.1"}, directory.path() + "/output",
                              {"TUTTI_SECRET=framework's"});
  const std::string address = program.first_line();
  Job job;
  job.ranks = 3;
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    TcpPrimitives primitives(address);
    const tutti_store_callbacks table = table_of(primitives);
    if (!rank.ok(tutti_store_register("framework", &table), "register")) return;
    meet_and_add(rank, "callback://framework", "TUTTI_SECRET=ours");
    rank.meet();
    if (rank.rank() == 0) program.signal(SIGKILL);
    rank.meet();
    tutti_comm* comm = nullptr;
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.settings = "TUTTI_SECRET=ours";
    const tutti_status got = tutti_comm_create_from_store(&comm, 3, rank.rank(), "callback://framework", &options);
    rank.expect(TUTTI_PEER_LOST, got, "the creation without the framework's store");
    rank.expect_text(tutti_last_error(), {"callback://framework", address});
    rank.ok(tutti_store_unregister("framework"), "unregister");
    rank.expect(TUTTI_INVALID, tutti_store_unregister("framework"), "unregister again");
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}

TEST(StoreJobs, AreToldWhenTheirTuttiStoreIsKilledWhileTheyWaitForOthers) {
  const TemporaryDirectory directory;
  tutti::ChildProcess program({TUTTI_STORE_PROGRAM, "--host", "127.0.0.1"}, directory.path() + "/output");
  const std::string address = program.first_line();
  Job job;
  job.ranks = 3;
  const Outcome outcome = run_job(job, [&](Rank& rank) {
    meet_and_add(rank, address, "");
    rank.meet();
    if (rank.rank() == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      program.signal(SIGKILL);
      return;
    }
    tutti_comm* comm = nullptr;
    const tutti_status got = tutti_comm_create_from_store(&comm, 3, rank.rank(), address.c_str(), nullptr);
    rank.expect(TUTTI_PEER_LOST, got, "the creation without a store");
    rank.expect_text(tutti_last_error(), {address});
  });
  EXPECT_TRUE(outcome.is_clean()) << outcome.text();
}
#endif

}  // namespace
}  // namespace tutti_test
