#include "perf/limits/hand_over.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <ctime>

#include "perf/limits/machine.h"
#include "perf/limits/pair.h"

namespace tutti_limits {

namespace {

constexpr double kPatience_s = 10;  // without a word from the other process
constexpr std::uint32_t kChecks = 1u << 16;

// Counts up: even values are the parent's to answer, odd ones the child's. On a cache line of its own.
struct alignas(64) Ball {
  std::atomic<std::uint32_t> value{0};
};

// Each waits until the ball has `value`; false if the other process keeps silent for kPatience_s.
bool spin(Ball& ball, std::uint32_t value) {
  const double begin = now_s();
  for (std::uint32_t i = 1; ball.value.load(std::memory_order_acquire) != value; ++i) {
    if (i % kChecks == 0 && now_s() - begin > kPatience_s) return false;
  }
  return true;
}

bool yield(Ball& ball, std::uint32_t value) {
  const double begin = now_s();
  for (std::uint32_t i = 1; ball.value.load(std::memory_order_acquire) != value; ++i) {
    sched_yield();
    if (i % kChecks == 0 && now_s() - begin > kPatience_s) return false;
  }
  return true;
}

bool sleep_on(Ball& ball, std::uint32_t value) {
  const timespec patience{static_cast<time_t>(kPatience_s), 0};
  for (std::uint32_t now; (now = ball.value.load(std::memory_order_acquire)) != value;) {
    if (syscall(SYS_futex, &ball.value, FUTEX_WAIT, now, &patience, nullptr, 0) != 0 && errno == ETIMEDOUT)
      return false;
  }
  return true;
}

void put(Ball& ball, std::uint32_t value) { ball.value.store(value, std::memory_order_release); }

void put_and_wake(Ball& ball, std::uint32_t value) {
  put(ball, value);
  syscall(SYS_futex, &ball.value, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

struct Method {
  const char* name;
  bool (*wait)(Ball&, std::uint32_t);
  void (*give)(Ball&, std::uint32_t);
  bool needs_two_cores;
};

Named measure(const Method& method, const Effort& effort) {
  Named result{method.name, {}};
  const std::vector<int>& cores = usable_cores();
  if (method.needs_two_cores && cores.size() < 2) {
    result.figure.missing = "there is one core only";
    return result;
  }
  const Shared shared(sizeof(Ball));
  if (!shared.data()) {
    result.figure.missing = "shared memory could not be had: " + system_words(errno);
    return result;
  }
  Ball& ball = *new (shared.data()) Ball;
  const Pinned pinned(cores.front());
  const Child child([&] {
    pin_to(method.needs_two_cores ? cores[1] : cores.front());
    for (std::uint32_t turn = 1; method.wait(ball, turn); turn += 2) method.give(ball, turn + 1);
  });
  if (!child.runs()) {
    result.figure.missing = "a child process could not be made: " + system_words(errno);
    return result;
  }
  std::vector<double> times;
  std::uint32_t turn = 0;
  for (int i = -1; i < effort.repetitions; ++i) {  // the first warms up
    std::uint64_t rounds = 0;
    const double begin = now_s();
    double took = 0;
    do {
      for (int k = 0; k < 16; ++k) {
        method.give(ball, turn + 1);
        if (!method.wait(ball, turn + 2)) {
          result.figure.missing = "the other process gave no answer for 10 s";
          return result;
        }
        turn += 2;
      }
      rounds += 16;
      took = now_s() - begin;
    } while (took < effort.seconds);
    if (i >= 0) times.push_back(took / static_cast<double>(2 * rounds) * 1e6);
  }
  result.figure.sample = sample_of(times);
  return result;
}

}  // namespace

std::vector<Named> measure_hand_over(const Effort& effort) {
  std::vector<Named> results;
  for (const Method& method :
       {Method{kSpin, spin, put, true}, Method{kYield, yield, put, false},
        Method{kFutexOne, sleep_on, put_and_wake, false}, Method{kFutexTwo, sleep_on, put_and_wake, true}}) {
    results.push_back(measure(method, effort));
  }
  return results;
}

}  // namespace tutti_limits
