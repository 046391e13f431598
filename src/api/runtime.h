// Runtime: what one process of the library has: an engine behind one lock, the thread that keeps it moving while
// nobody waits, and how waiting is done. Made with the first communicator, ended with the last.
//
// Who makes progress. A thread that waits for something drives the engine itself: it spins for a moment, then yields
// its core between turns, then sleeps on the transports' descriptors, each for as long as it has paid before
// (patience.h); the lock is held during a turn only. When nobody waits, the progress thread does the same, but sleeps
// at once. While callers come and go quickly it stays out of their way (kGrace), so that a blocking call costs no
// hand-over between threads.
//
// Forking. A child inherits neither the thread nor the peers' trust: after a fork everything made before it is
// `inherited` and refused, and a new Runtime is made when the child asks for a communicator of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "src/api/patience.h"
#include "src/base/log.h"
#include "src/base/random.h"
#include "src/base/settings.h"
#include "src/diagnosis/recorder.h"
#include "src/engine/engine.h"
#include "src/memory/shared_regions.h"

namespace tutti {

class Runtime {
 public:
  // The process's runtime; made with these settings if there is none. Settings of the process as a whole (transports,
  // log, recorder) are those of whoever came first.
  static Result<std::shared_ptr<Runtime>> acquire(const Settings& settings);
  // The running one, or null.
  static std::shared_ptr<Runtime> current();
  // Memory for tutti_mem_alloc; lives as long as the process.
  static SharedRegions& regions();

  virtual ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Made before a fork, seen after it.
  bool is_inherited() const { return generation_ != current_generation(); }

  // Calls `act(engine, now)` under the lock.
  template <typename Act>
  auto with_engine(Act&& act) {
    const std::unique_lock lock = take_lock();
    const Completions completions(*this);
    return act(*engine_, now());
  }

  // Starts under the lock and drives until `done()` or `until`, all in one go: the path of a blocking call.
  template <typename Start>
  Result<Operation*> start_and_wait(Start&& start) {
    std::unique_lock lock = take_lock();
    enter();
    Result<Operation*> operation = [&] {
      const Completions completions(*this);
      return start(*engine_, now());
    }();
    if (operation)
      drive(
          lock, [&] { return (*operation)->is_complete(); }, kNever);
    leave();
    return operation;
  }

  // Drives until done() or until the instant passes; true if done. done() is called under the lock.
  template <typename Done>
  bool wait(Done&& done, Instant until) {
    std::unique_lock lock = take_lock();
    enter();
    const bool result = drive(lock, done, until);
    leave();
    return result;
  }

  // Drives until everything that links have taken has left this process.
  void wait_drained(Instant until) {
    wait([this] { return engine_->is_drained(); }, until);
  }

  // Operations were started that nobody waits for yet.
  void attend();

  // Calls notify(user) under the lock when the operation is complete, at once if it is; before anybody else can see
  // that under the lock, so never for one that was released.
  void watch(const Operation* operation, void (*notify)(void*), void* user);

  // Where the time and nonces come from.
  virtual Instant now() const { return monotonic_now(); }
  virtual Status random(std::span<std::byte> out) { return secure_random(out); }

  const Log& log() const { return log_; }
  // Logs each sentence once, however many communicators are made with these settings.
  void warn_once(const std::vector<std::string>& warnings);
  const std::string& recorder_path() const { return recorder_->path(); }
  // Ranks share cores: waiting gives way at once.
  void set_crowded(bool crowded) { crowded_.store(crowded, std::memory_order_relaxed); }
  bool is_crowded() const { return crowded_.load(std::memory_order_relaxed); }

 protected:
  // Around an engine that somebody else drives, in another time: tests/simulation has a whole cluster in one thread.
  Runtime(std::unique_ptr<Engine> engine, Log log) : log_(std::move(log)), engine_(std::move(engine)) {}
  // With the lock held, also when it returns. What is done while it waits may call into this runtime.
  virtual bool drive(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done, Instant until);

 private:
  Runtime() = default;
  Status open(const Settings& settings);
  std::unique_lock<std::mutex> take_lock() {
    std::unique_lock lock(mutex_, std::defer_lock);
    take(lock);
    return lock;
  }
  void take(std::unique_lock<std::mutex>& lock) {
    if (lock.try_lock()) return;
    wanting_.fetch_add(1, std::memory_order_relaxed);
    lock.lock();
    wanting_.fetch_sub(1, std::memory_order_relaxed);
  }
  // Gives up the lock and the core, at least for a moment.
  void let_others_in(std::unique_lock<std::mutex>& lock);
  static std::uint32_t current_generation();

  // Operations that end while this lives are told to those who watch them, and wake whoever sleeps for them.
  class Completions {
   public:
    explicit Completions(Runtime& runtime) : runtime_(runtime), before_(runtime.engine_->completed()) {}
    ~Completions() {
      if (runtime_.engine_->completed() == before_) return;
      if (runtime_.sleepers_ > 0) runtime_.wake_sleepers();
      if (!runtime_.watches_.empty()) runtime_.tell_watchers();
    }
    Completions(const Completions&) = delete;
    Completions& operator=(const Completions&) = delete;

   private:
    Runtime& runtime_;
    const std::uint64_t before_;
  };

  // All with the lock held; sleep releases it meanwhile.
  void enter();
  void leave();
  std::size_t turn(Instant now);
  void sleep(std::unique_lock<std::mutex>& lock, Instant until);
  void wake_sleepers();
  void tell_watchers();
  void run_thread();

  struct Watch {
    const Operation* operation;
    void (*notify)(void*);
    void* user;
  };

  static constexpr Nanoseconds kGrace = std::chrono::milliseconds(3);

  const std::uint32_t generation_ = current_generation();
  Log log_;
  std::unique_ptr<Recorder> recorder_;
  std::unique_ptr<Engine> engine_;
  Patience patience_{Nanoseconds(0), Nanoseconds(0)};
  std::atomic<bool> crowded_{false};

  std::mutex mutex_;
  std::condition_variable thread_wakes_;
  std::thread thread_;
  bool stop_ = false;
  bool thread_sleeps_ = false;  // in sleep(), not on thread_wakes_
  int active_ = 0;              // callers' threads that drive
  Instant last_active_{};
  int sleepers_ = 0;
  bool signalled_ = false;
  std::vector<Watch> watches_;  // of operations that are not complete
  std::set<std::string> warned_;
  int wake_descriptor_ = -1;
  std::vector<int> descriptors_;
  std::atomic<int> wanting_{0};  // callers' threads that wait for the lock
};

}  // namespace tutti
