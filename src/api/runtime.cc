#include "src/api/runtime.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "include/tutti/tutti.h"
#include "src/api/log_hook.h"
#include "src/api/process_end.h"
#include "src/api/transports.h"
#include "src/base/log_sink.h"
#include "src/base/random.h"

namespace tutti {

namespace {

// The process's one runtime. After a fork the child begins with a new, empty one; the parent's is left where it is,
// since neither its lock nor its thread mean anything in the child.
struct Process {
  std::mutex mutex;
  std::weak_ptr<Runtime> runtime;
};

std::atomic<std::uint32_t> generation{1};
Process* process = new Process;  // never destroyed: callers may come while the program ends

void forget_in_child() {
  generation.fetch_add(1, std::memory_order_relaxed);
  process = new Process;
}

void pause_core() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

std::uint32_t usable_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&cores)));
}

// A virtual machine is shown the whole of a cache of which it has a part, so no more than this is counted on: writing
// past the caches has been measured to pay from twice as much on (docs/benchmarks.md, "What was learned").
std::uint64_t usable_cache_bytes() {
  constexpr long kMost = 128 << 20;
  const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return static_cast<std::uint64_t>(bytes > 0 ? std::min(bytes, kMost) : kMost);
}

}  // namespace

std::uint32_t Runtime::current_generation() { return generation.load(std::memory_order_relaxed); }

SharedRegions& Runtime::regions() {
  static SharedRegions* const regions = new SharedRegions;  // memory may be freed while the program ends
  return *regions;
}

std::shared_ptr<Runtime> Runtime::current() {
  const std::lock_guard lock(process->mutex);
  return process->runtime.lock();
}

Result<std::shared_ptr<Runtime>> Runtime::acquire(const Settings& settings) {
  static const int at_fork = pthread_atfork(nullptr, nullptr, forget_in_child);
  if (at_fork != 0) return Status::from_errno(at_fork, "pthread_atfork");
  const std::lock_guard lock(process->mutex);
  if (std::shared_ptr<Runtime> running = process->runtime.lock()) return running;
  // An inherited runtime is left where it is: its thread does not exist here, and waiting for it would never end.
  std::shared_ptr<Runtime> made(new Runtime, [](Runtime* runtime) {
    if (!runtime->is_inherited()) delete runtime;
  });
  TUTTI_RETURN_IF_ERROR(made->open(settings));
  process->runtime = made;
  return made;
}

Status Runtime::open(const Settings& settings) {
  Result<Log> log = make_log(settings);
  if (!log) return log.status();
  log_ = Log(settings.log, [sink = *log](LogLevel level, std::string_view area, std::string_view text) {
    if (!give_to_log_hook(level, area, text)) sink.write(level, area, "{}", text);
  });
  patience_ = Patience(settings.spin, settings.yield);
  EngineOptions options;
  Result<ProcessId> id = new_process_id();
  if (!id) return id.status();
  Result<HostId> host = this_host_id();
  if (!host) return host.status();
  options.process = *id;
  options.host = *host;
  options.pid = static_cast<std::uint32_t>(getpid());
  options.pid_namespace = own_pid_namespace();
  options.silence_limit = settings.heartbeat_timeout;
  options.has_ended = [host = *host](const ProcessAddress& address) { return has_process_ended(address, host); };
  options.process_state = [host = *host](const ProcessAddress& address) { return state_of_process(address, host); };
  options.cores = usable_cores();
  options.cache_bytes = usable_cache_bytes();
  options.host_name = host_name();
  options.connect_timeout = settings.connect_timeout;
  options.algorithms = all_algorithms();
  options.log = log_;
  auto transports = make_transports(settings, options, log_);
  if (!transports) return transports.status();
  wake_descriptor_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_descriptor_ < 0) return resource_error(errno, "eventfd");
  RecorderOptions recorder;
  recorder.enabled = settings.recorder;
  recorder.directory = settings.recorder_directory;
  recorder.operations = static_cast<std::uint32_t>(settings.recorder_entries);
  recorder.library_version = format("{}.{}.{}", TUTTI_VERSION_MAJOR, TUTTI_VERSION_MINOR, TUTTI_VERSION_PATCH);
  recorder.process = options.process;
  recorder_ = Recorder::open(recorder, monotonic_now(), log_);
  engine_ = std::make_unique<Engine>(std::move(options), *std::move(transports), *recorder_);
  engine_->wait_descriptors(descriptors_);
  thread_ = std::thread([this] { run_thread(); });
  return {};
}

Runtime::~Runtime() {
  if (thread_.joinable()) {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      thread_wakes_.notify_all();
      wake_sleepers();
    }
    thread_.join();
  }
  engine_.reset();
  if (wake_descriptor_ >= 0) close(wake_descriptor_);
}

void Runtime::enter() {
  ++active_;
  if (thread_sleeps_) wake_sleepers();  // it would be woken by every frame that this thread takes
}

void Runtime::leave() {
  --active_;
  last_active_ = monotonic_now();
  // What this thread has set going within the process, for one that sleeps, makes no descriptor readable.
  if (sleepers_ > 0 && engine_->has_own_events()) wake_sleepers();
  if (engine_->has_operations()) thread_wakes_.notify_one();
}

void Runtime::attend() {
  const std::unique_lock lock = take_lock();
  if (engine_->has_operations() && active_ == 0) thread_wakes_.notify_one();
}

void Runtime::watch(const Operation* operation, void (*notify)(void*), void* user) {
  const std::unique_lock lock = take_lock();
  if (operation->is_complete()) return notify(user);
  watches_.push_back({operation, notify, user});
}

void Runtime::tell_watchers() {
  std::erase_if(watches_, [](const Watch& watch) {
    if (!watch.operation->is_complete()) return false;
    watch.notify(watch.user);
    return true;
  });
}

void Runtime::warn_once(const std::vector<std::string>& warnings) {
  std::vector<std::string> fresh;
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& warning : warnings) {
      if (warned_.insert(warning).second) fresh.push_back(warning);
    }
  }
  for (const std::string& warning : fresh) log_.write(LogLevel::warn, "settings", "{}", warning);
}

std::size_t Runtime::turn(Instant now) {
  const Completions completions(*this);
  return engine_->progress(now);
}

void Runtime::wake_sleepers() {
  if (sleepers_ == 0 || signalled_) return;
  signalled_ = true;
  const std::uint64_t one = 1;
  static_cast<void>(!write(wake_descriptor_, &one, sizeof one));
}

// A thread that wakes up needs tens of microseconds to take a lock that it was waiting for, and one that gives it up
// only for a moment would have it again before.
void Runtime::let_others_in(std::unique_lock<std::mutex>& lock) {
  constexpr int kYieldsMax = 100;
  const int wanting = wanting_.load(std::memory_order_relaxed);
  lock.unlock();
  const Instant before = monotonic_now();
  sched_yield();
  const Instant after = monotonic_now();
  for (int i = 0; i < kYieldsMax && wanting > 0 && wanting_.load(std::memory_order_relaxed) >= wanting; ++i)
    sched_yield();
  take(lock);
  if (wanting == 0) patience_.yielded(after - before, after);
}

bool Runtime::drive(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done, Instant until) {
  if (done()) return true;
  Instant now = monotonic_now();
  Instant moved = now;
  while (true) {
    if (turn(now) > 0) {
      patience_.arrived(now - moved);
      moved = now;
    }
    if (done()) return true;
    if (now >= until) return false;
    Patience::Next next = patience_.next(now - moved, is_crowded(), now);
    if (next == Patience::Next::spin && wanting_.load(std::memory_order_relaxed) > 0) next = Patience::Next::yield;
    switch (next) {
      case Patience::Next::spin:
        pause_core();
        break;
      case Patience::Next::yield:
        let_others_in(lock);
        break;
      case Patience::Next::sleep:
        sleep(lock, until);
        break;
    }
    if (next != Patience::Next::spin && done()) return true;
    now = monotonic_now();
  }
}

void Runtime::sleep(std::unique_lock<std::mutex>& lock, Instant until) {
  constexpr Nanoseconds kLongest = std::chrono::milliseconds(50);
  const bool nothing_came = [this] {
    const Completions completions(*this);  // it looks at the boards once more
    return engine_->prepare_wait();
  }();
  if (!nothing_came) return;
  ++sleepers_;
  const Instant now = monotonic_now();
  Instant wake = std::min(until, now + kLongest);
  if (engine_->has_operations())
    wake = std::min(wake, std::max(engine_->next_timer(), now + std::chrono::milliseconds(1)));
  pollfd watched[8];
  nfds_t count = 0;
  watched[count++] = {wake_descriptor_, POLLIN, 0};
  for (const int descriptor : descriptors_) {
    if (count < std::size(watched)) watched[count++] = {descriptor, POLLIN, 0};
  }
  lock.unlock();
  const Nanoseconds left = std::max(wake - now, Nanoseconds(0));
  const timespec timeout{static_cast<time_t>(left.count() / 1'000'000'000),
                         static_cast<long>(left.count() % 1'000'000'000)};
  ppoll(watched, count, &timeout, nullptr);
  lock.lock();
  if (--sleepers_ > 0) return;
  engine_->finish_wait();
  if (!signalled_) return;
  signalled_ = false;
  std::uint64_t drained = 0;
  static_cast<void>(!read(wake_descriptor_, &drained, sizeof drained));
}

void Runtime::run_thread() {
  pthread_setname_np(pthread_self(), "tutti-progress");
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const Instant now = monotonic_now();
    const bool in_the_way = active_ > 0 || (now - last_active_ < kGrace && !engine_->has_operations());
    if (in_the_way) {
      thread_wakes_.wait_for(lock, kGrace);
      continue;
    }
    if (turn(now) > 0) {
      lock.unlock();
      sched_yield();
      lock.lock();
      continue;
    }
    thread_sleeps_ = true;
    sleep(lock, kNever);
    thread_sleeps_ = false;
  }
}

}  // namespace tutti
