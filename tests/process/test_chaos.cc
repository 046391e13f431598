// A small training that does not end when its members do (chaos_member.h): processes of one host are killed, stopped
// for a moment or for too long, and started anew, at random moments from a seed. Survivors never differ: a step
// counts on all of them or on none, sums are those of exactly the members, and in the end there is one model.
// tests/lab does the same on several hosts, where links fail as well.
//
// Default: 8 s for each transport. TUTTI_TEST_LONG=1: 10 minutes. TUTTI_TEST_SEED=N for other moments.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <map>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "src/base/random.h"
#include "tests/process/chaos_member.h"
#include "tests/process/job.h"

namespace tutti_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kFounders = 4;
constexpr int kMost = 7;  // members and those who want to be
constexpr int kWorkersMax = 4096;

struct Shared {
  Orders orders[kWorkersMax];
  std::atomic<std::int64_t> views;
  std::atomic<std::int64_t> joins;
  struct Result {
    std::int64_t step;
    std::uint64_t hash;
  } results[kWorkersMax];
  char failure[1024];
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
    for (const auto& [pid, number] : workers_) shared_->orders[number].stop = 1;
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
        "%d processes, %d killed, %d asked to leave, %d stopped, %d left behind, %lld views, %lld joins; %zu ended "
        "with "
        "step %lld\n",
        started_, kills_, leaves_, stops_, left_behind_, static_cast<long long>(shared_->views),
        static_cast<long long>(shared_->joins), results_.size(),
        results_.empty() ? -1ll : static_cast<long long>(shared_->results[results_[0]].step));
    EXPECT_GT(kills_ + stops_, 0);
  }

 private:
  void start() {
    const int number = started_++;
    const pid_t pid = fork();
    if (pid == 0) _exit(work(number));
    workers_[pid] = number;
  }

  int work(int number) {
    const bool founds = number < kFounders;
    Place place{store_, settings_, kFounders, founds ? number : -1, std::int64_t{20'000'000'000} * patience()};
    ChaosMember member(std::move(place), shared_->orders[number],
                       {.on_view =
                            [&, is_new = true](const View& view) mutable {
                              if (view.rank == 0) ++shared_->views;
                              if (std::exchange(is_new, false) && !founds) ++shared_->joins;
                            },
                        .on_step = [](std::int64_t) {},
                        .on_failure =
                            [&](const std::string& text) {
                              std::snprintf(shared_->failure, sizeof shared_->failure, "worker %d, %s", number,
                                            text.c_str());
                            }});
    const int ending = member.run();
    shared_->results[number] = {member.step(), member.hash()};
    return ending;
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
    const bool leaves = what == 5 || what == 6;
    const bool for_long = what == 9 && workers_.size() >= 4;
    if (one_is_away && (what < 7 || for_long)) return;
    const pid_t pid = any();
    if (leaves) {
      ++leaves_;
      shared_->orders[workers_[pid]].leave = 1;
    } else if (what < 7) {
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
        case kLeft:
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
  int leaves_ = 0;
  int left_behind_ = 0;
};

class ChaosTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ChaosTest, OneModelWhateverHappensToTheMembers) {
  Chaos(GetParam(), seed()).run(runs_long() ? std::chrono::minutes(10) : std::chrono::seconds(8));
}

INSTANTIATE_TEST_SUITE_P(Transports, ChaosTest, ::testing::Values("shm", "tcp"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace tutti_test
