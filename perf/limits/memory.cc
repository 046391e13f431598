#include "perf/limits/memory.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "perf/limits/machine.h"
#include "perf/limits/pair.h"

// The plain loops of the passes, compiled for the vectors of whatever processor they run on. (clang has no such
// functions that are not inlined; what it builds has the loops for the least processor only.)
#if defined(__x86_64__) && !defined(__clang__)
#define FOR_EVERY_PROCESSOR __attribute__((noinline, target_clones("default", "avx2", "avx512f")))
#else
#define FOR_EVERY_PROCESSOR __attribute__((noinline))
#endif

namespace tutti_limits {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

FOR_EVERY_PROCESSOR void add(float* __restrict a, const float* __restrict b, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) a[i] += b[i];
}

FOR_EVERY_PROCESSOR void sum(float* __restrict c, const float* __restrict a, const float* __restrict b,
                             std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) c[i] = a[i] + b[i];
}

FOR_EVERY_PROCESSOR std::uint64_t read_words(const std::uint64_t* a, std::size_t count) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < count; ++i) total += a[i];
  return total;
}

// An array in huge pages where the kernel has them: a bound must not suffer from small ones.
class Array {
 public:
  explicit Array(std::uint64_t bytes) : bytes_((bytes + kHugePage - 1) / kHugePage * kHugePage) {
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    madvise(memory, bytes_, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(memory);
    std::memset(data_, 0, bytes_);
  }
  ~Array() { munmap(data_, bytes_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  float* floats() const { return reinterpret_cast<float*>(data_); }
  const std::uint64_t* words() const { return reinterpret_cast<const std::uint64_t*>(data_); }

 private:
  std::byte* data_ = nullptr;
  std::uint64_t bytes_;
};

class Arrays {
 public:
  explicit Arrays(std::uint64_t bytes) : bytes_(bytes), a_(bytes), b_(bytes), c_(bytes) {}

  void go_through(Pass pass) {
    const std::size_t count = bytes_ / sizeof(float);
    switch (pass) {
      case Pass::copy:
        std::memcpy(a_.floats(), b_.floats(), bytes_);
        break;
      case Pass::add:
        add(a_.floats(), b_.floats(), count);
        break;
      case Pass::sum:
        sum(c_.floats(), a_.floats(), b_.floats(), count);
        break;
      case Pass::read:
        total_ = read_words(a_.words(), bytes_ / sizeof(std::uint64_t));
        break;
    }
    // The memory is "used": without this the compiler may leave out passes whose result is overwritten.
    asm volatile("" : : "r"(a_.floats()), "r"(c_.floats()), "r"(total_) : "memory");
  }

 private:
  std::uint64_t bytes_;
  Array a_, b_, c_;
  std::uint64_t total_ = 0;
};

// Threads that wait for each other by spinning: all have a core of their own.
class Start {
 public:
  explicit Start(int threads) : threads_(threads) {}
  void wait() {
    const int round = arrived_.fetch_add(1) / threads_;
    while (arrived_.load() / threads_ == round) {
    }
  }

 private:
  const int threads_;
  std::atomic<int> arrived_{0};
};

struct Span {
  double begin = 0;
  double end = 0;
};

std::uint64_t passes_in(Arrays& arrays, Pass pass, double seconds) {
  arrays.go_through(pass);
  std::uint64_t passes = 1;
  for (;;) {
    const double begin = now_s();
    for (std::uint64_t i = 0; i < passes; ++i) arrays.go_through(pass);
    const double took = now_s() - begin;
    if (took > seconds / 8) return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(passes * seconds / took));
    passes *= 2;
  }
}

}  // namespace

MemoryRate measure_memory(Pass pass, int threads, std::uint64_t bytes, const Effort& effort) {
  const std::vector<int>& cores = usable_cores();
  std::vector<std::vector<Span>> spans(effort.repetitions, std::vector<Span>(threads));
  std::atomic<std::uint64_t> passes{0};
  Start start(threads);
  const auto work = [&](int self) {
    pin_to(cores[static_cast<std::size_t>(self) % cores.size()]);
    Arrays arrays(bytes);
    const std::uint64_t own = passes_in(arrays, pass, effort.seconds);
    std::uint64_t most = passes.load();
    while (own > most && !passes.compare_exchange_weak(most, own)) {
    }
    for (std::vector<Span>& repetition : spans) {
      start.wait();
      const std::uint64_t count = passes;
      Span& span = repetition[static_cast<std::size_t>(self)];
      span.begin = now_s();
      for (std::uint64_t i = 0; i < count; ++i) arrays.go_through(pass);
      span.end = now_s();
    }
  };
  std::vector<std::thread> others;
  for (int i = 0; i < threads; ++i) others.emplace_back(work, i);
  for (std::thread& other : others) other.join();
  std::vector<double> rates;
  for (const std::vector<Span>& repetition : spans) {
    Span all = repetition.front();
    for (const Span& span : repetition) all = {std::min(all.begin, span.begin), std::max(all.end, span.end)};
    rates.push_back(static_cast<double>(threads * passes.load() * bytes) / (all.end - all.begin) / 1e9);
  }
  return {pass, threads, bytes, sample_of(rates)};
}

SizedRate measure_process_vm_readv(std::uint64_t bytes, const Effort& effort) {
  SizedRate rate{bytes, {}};
  Array ours(bytes), theirs(bytes);
  const std::vector<int>& cores = usable_cores();
  const Pinned pinned(cores.front());
  const Child child([&] {
    std::memset(theirs.floats(), 1, bytes);  // pages of its own
    for (;;) pause();
  });
  if (!child.runs()) {
    rate.gbps.missing = "a child process could not be made: " + system_words(errno);
    return rate;
  }
  const iovec local{ours.floats(), bytes}, remote{theirs.floats(), bytes};
  const auto read = [&] {
    const ssize_t got = process_vm_readv(child.pid(), &local, 1, &remote, 1, 0);
    if (got == static_cast<ssize_t>(bytes)) return true;
    rate.gbps.missing = got < 0 ? "the kernel refuses it: " + system_words(errno) : "the kernel reads only a part";
    return false;
  };
  std::vector<double> rates;
  for (int i = 0; i < effort.repetitions && read(); ++i) {
    std::uint64_t passes = 0;
    const double begin = now_s();
    double took = 0;
    do {
      if (!read()) return rate;
      ++passes;
      took = now_s() - begin;
    } while (took < effort.seconds);
    rates.push_back(static_cast<double>(passes * bytes) / took / 1e9);
  }
  if (rate.gbps.is_there()) rate.gbps.sample = sample_of(rates);
  return rate;
}

}  // namespace tutti_limits
