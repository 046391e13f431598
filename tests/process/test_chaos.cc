// A small training that does not end when its members do: processes add to a model step by step, while others are
// killed, stopped for a moment or for too long, and started anew, at random moments from a seed. Survivors never
// differ: a step counts on all of them or on none, sums are those of exactly the members, and in the end there is one
// model.
//
// Default: 8 s for each transport. TUTTI_TEST_LONG=1: 10 minutes. TUTTI_TEST_SEED=N for other moments.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "src/base/random.h"
#include "tests/process/job.h"

namespace tutti_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kFounders = 4;
constexpr int kMost = 7;  // members and those who want to be
constexpr int kWorkersMax = 4096;
constexpr std::size_t kElements = 3000;
enum Ending { kDone = 0, kFailed = 1, kLeftBehind = 7, kTooLate = 8 };

struct Shared {
  std::atomic<int> stop;
  std::atomic<std::int64_t> refreshes;
  std::atomic<std::int64_t> joins;
  struct Result {
    std::int64_t step;
    std::uint64_t hash;
  } results[kWorkersMax];
  char failure[1024];
};

// One member. Everything that the model depends on is exact, so that one wrong or doubled step shows.
class Worker {
 public:
  Worker(int number, const std::string& store, const std::string& settings, Shared& shared)
      : number_(number), store_(store), settings_(settings), shared_(shared), model_(kElements) {}

  int run() {
    tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
    options.settings = settings_.c_str();
    options.timeout_ns = std::int64_t{20'000'000'000} * patience();
    const bool founds = number_ < kFounders;
    const tutti_status made = founds
                                  ? tutti_comm_create_from_store(&comm_, kFounders, number_, store_.c_str(), &options)
                                  : tutti_comm_join(&comm_, store_.c_str(), &options);
    if (made != TUTTI_OK) return shared_.stop != 0 ? kTooLate : fail(founds ? "create" : "join");
    if (!founds) ++shared_.joins;
    step_ = founds ? 0 : -1;
    while (true) {
      const int ended = live();
      if (ended >= 0) return ended;
      const tutti_status refreshed = tutti_comm_refresh(comm_, nullptr);
      if (refreshed == TUTTI_PEER_LOST) return kLeftBehind;
      if (refreshed != TUTTI_OK) return fail("refresh");
      ++shared_.refreshes;
    }
  }

 private:
  // Until the end (how it ended), or until the members have to be refreshed (negative).
  int live() {
    int size = 0;
    int rank = 0;
    if (tutti_comm_size(comm_, &size) != TUTTI_OK || tutti_comm_rank(comm_, &rank) != TUTTI_OK) return fail("size");
    if (!take_over(size)) return broken_ ? kFailed : -1;
    auto looked = steady_clock::now();
    std::vector<std::int64_t> data(kElements);
    while (true) {
      std::fill(data.begin(), data.end(), 1);
      data[0] = shared_.stop;
      if (tutti_all_reduce(data.data(), data.data(), data.size(), TUTTI_INT64, TUTTI_SUM, comm_, nullptr, nullptr) !=
          TUTTI_OK)
        return std::count(data.begin() + 1, data.end(), 1) == static_cast<std::ptrdiff_t>(kElements - 1)
                   ? -1
                   : fail("an input was spoilt");
      if (std::count(data.begin() + 1, data.end(), size) != static_cast<std::ptrdiff_t>(kElements - 1))
        return fail("a sum is not that of the members");
      ++step_;
      for (std::size_t e = 1; e < kElements; ++e) {
        const auto added = static_cast<std::uint64_t>(data[e] * step_) + e;
        model_[e] = static_cast<std::int64_t>(static_cast<std::uint64_t>(model_[e]) * 31 + added);
      }
      if (data[0] > 0) return finish();
      if (rank != 0 || steady_clock::now() - looked < milliseconds(30)) continue;
      looked = steady_clock::now();
      int waiting = 0;
      if (tutti_comm_waiting(comm_, &waiting) == TUTTI_OK && waiting > 0) return -1;
    }
  }

  // Whoever is new gets step and model from the first that has them; all others must be at the same step.
  bool take_over(int size) {
    std::vector<std::int64_t> steps(static_cast<std::size_t>(size));
    if (tutti_all_gather(&step_, steps.data(), 1, TUTTI_INT64, comm_, nullptr, nullptr) != TUTTI_OK) return false;
    const auto newest = std::max_element(steps.begin(), steps.end());
    for (const std::int64_t step : steps) {
      if (step != *newest && step != -1) broken_ = fail("survivors are at unlike steps") != 0;
    }
    if (broken_) return false;
    std::vector<std::int64_t> model = model_;
    const auto root = static_cast<int>(newest - steps.begin());
    if (tutti_broadcast(model.data(), model.data(), model.size(), TUTTI_INT64, root, comm_, nullptr, nullptr) !=
        TUTTI_OK)
      return false;
    if (step_ != -1 && model != model_) broken_ = fail("survivors have unlike models") != 0;
    model_ = std::move(model);
    step_ = *newest;
    return !broken_;
  }

  int finish() {
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (const std::int64_t value : model_) hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001b3ull;
    shared_.results[number_] = {step_, hash};
    tutti_comm_destroy(comm_);
    return kDone;
  }

  int fail(const char* what) {
    std::snprintf(shared_.failure, sizeof shared_.failure, "worker %d, step %lld: %s; last error: %s", number_,
                  static_cast<long long>(step_), what, tutti_last_error());
    return kFailed;
  }

  const int number_;
  const std::string& store_;
  const std::string& settings_;
  Shared& shared_;
  tutti_comm* comm_ = nullptr;
  std::int64_t step_ = 0;
  std::vector<std::int64_t> model_;
  bool broken_ = false;
};

class Chaos {
 public:
  Chaos(const std::string& transport, std::uint64_t seed)
      : random_(seed),
        store_("file://" + directory_.path()),
        settings_("TUTTI_ELASTIC=on TUTTI_LOG=error TUTTI_RECORDER=off TUTTI_TIMEOUT=" + std::to_string(patience()) +
                  "s TUTTI_HEARTBEAT_TIMEOUT=" + std::to_string(patience()) + "s TUTTI_TRANSPORTS=" + transport) {
    void* const memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared_ = new (memory) Shared{};
  }
  ~Chaos() {
    for (const auto& [pid, number] : workers_) kill(pid, SIGKILL);
    for (const auto& [pid, number] : workers_) waitpid(pid, nullptr, 0);
    munmap(shared_, sizeof(Shared));
  }

  void run(std::chrono::seconds time) {
    for (int i = 0; i < kFounders; ++i) start();
    std::this_thread::sleep_for(milliseconds(300) * patience());
    const auto end = steady_clock::now() + time;
    while (steady_clock::now() < end && started_ < kWorkersMax - 1 && !::testing::Test::HasFailure()) {
      event();
      std::this_thread::sleep_for(milliseconds(100 + random_.below(500)) * patience());
      look_after();
    }
    wake();
    std::this_thread::sleep_for(milliseconds(500) * patience());
    shared_->stop = 1;
    const auto deadline = steady_clock::now() + std::chrono::seconds(30) * patience();
    while (!workers_.empty() && steady_clock::now() < deadline) {
      look_after();
      std::this_thread::sleep_for(milliseconds(5));
    }
    EXPECT_TRUE(workers_.empty()) << workers_.size() << " processes hang";
    EXPECT_STREQ(shared_->failure, "");
    EXPECT_GE(results_.size(), 1u) << "nobody has come to the end";
    for (const int number : results_) {
      EXPECT_EQ(shared_->results[number].step, shared_->results[results_[0]].step) << "worker " << number;
      EXPECT_EQ(shared_->results[number].hash, shared_->results[results_[0]].hash) << "worker " << number;
    }
    std::printf(
        "%d processes, %d killed, %d stopped, %d left behind, %lld refreshes, %lld joins; %zu ended with step %lld\n",
        started_, kills_, stops_, left_behind_, static_cast<long long>(shared_->refreshes),
        static_cast<long long>(shared_->joins), results_.size(),
        results_.empty() ? -1ll : static_cast<long long>(shared_->results[results_[0]].step));
    EXPECT_GT(kills_ + stops_, 0);
  }

 private:
  void start() {
    const int number = started_++;
    const pid_t pid = fork();
    if (pid == 0) _exit(Worker(number, store_, settings_, *shared_).run());
    workers_[pid] = number;
  }

  pid_t any() {
    auto chosen = workers_.begin();
    std::advance(chosen, static_cast<std::ptrdiff_t>(random_.below(workers_.size())));
    return chosen->first;
  }

  void event() {
    const std::uint64_t what = random_.below(10);
    if (workers_.size() < 3 || (what < 4 && workers_.size() < kMost)) return start();
    // Who is stopped and who is killed at once may be so many that the others rightly stop, too.
    const bool one_is_away = !stopped_.empty();
    const bool for_long = what == 9 && workers_.size() >= 4;
    if (one_is_away && (what < 7 || for_long)) return;
    const pid_t pid = any();
    if (what < 7) {
      ++kills_;
      kill(pid, SIGKILL);
      stopped_.erase(pid);
    } else {  // for a moment, or for so long that the others go on without it
      ++stops_;
      kill(pid, SIGSTOP);
      stopped_[pid] = steady_clock::now() + (for_long ? milliseconds(3500) * patience() : milliseconds(200));
    }
  }

  void wake() {
    for (const auto& [pid, until] : stopped_) kill(pid, SIGCONT);
    stopped_.clear();
  }

  void look_after() {
    std::erase_if(stopped_, [](const auto& entry) {
      if (steady_clock::now() < entry.second) return false;
      kill(entry.first, SIGCONT);
      return true;
    });
    int status = 0;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG)) {
      const int number = workers_[pid];
      workers_.erase(pid);
      stopped_.erase(pid);
      if (WIFSIGNALED(status)) {
        EXPECT_EQ(WTERMSIG(status), SIGKILL) << "worker " << number;
        continue;
      }
      switch (WEXITSTATUS(status)) {
        case kDone:
          results_.push_back(number);
          break;
        case kLeftBehind:
          ++left_behind_;
          break;
        case kTooLate:
          break;
        default:
          ADD_FAILURE() << "worker " << number << " ended with " << WEXITSTATUS(status) << ": " << shared_->failure;
      }
    }
  }

  tutti::Random random_;
  TemporaryDirectory directory_;
  const std::string store_;
  const std::string settings_;
  Shared* shared_ = nullptr;
  std::map<pid_t, int> workers_;
  std::map<pid_t, steady_clock::time_point> stopped_;
  std::vector<int> results_;
  int started_ = 0;
  int kills_ = 0;
  int stops_ = 0;
  int left_behind_ = 0;
};

class ChaosTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ChaosTest, OneModelWhateverHappensToTheMembers) {
  Chaos(GetParam(), seed())
      .run(runs_long() ? std::chrono::minutes(10) : std::chrono::seconds(patience() > 1 ? 15 : 8));
}

INSTANTIATE_TEST_SUITE_P(Transports, ChaosTest, ::testing::Values("shm", "tcp"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace tutti_test
