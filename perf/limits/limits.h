// What is measured: the machine's own limits as values. Rates are GB/s (10^9 bytes) of payload: bytes of one array
// per pass, whatever the pass reads and writes besides; passes_moved() says how many times that it moves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/limits/sample.h"

namespace tutti_limits {

// copy: memcpy. add: a += b. sum: c = a + b. read: only reads a. All of float32 but read, which adds up words.
enum class Pass { copy, add, sum, read };
inline constexpr int kPasses = 4;

// "memcpy", "a += b", "c = a + b", "read a"
const char* pass_name(Pass pass);
// Bytes read and written for each byte of payload: copy 2, add 3, sum 3, read 1.
int passes_moved(Pass pass);

struct MemoryRate {
  Pass pass = Pass::copy;
  int threads = 1;
  std::uint64_t bytes = 0;  // of one array of one thread
  Sample gbps;              // all threads together
};

struct SizedRate {
  std::uint64_t bytes = 0;
  Figure gbps;
};

struct Named {
  std::string name;
  Figure figure;
};

struct Limits {
  int cores = 1;  // that this process may use
  std::vector<MemoryRate> memory;
  std::vector<SizedRate> process_vm_readv;
  std::vector<Named> hand_over_us;  // one way
  std::vector<Named> loopback_us;   // 8 bytes one way
  std::vector<Named> loopback_gbps;
  std::vector<Named> iperf_gbps;
  std::vector<Named> link_gbps;  // empty if no link was asked for
};

// The figure of that name; nullptr if there is none or it could not be measured.
const Sample* find(const std::vector<Named>& figures, const std::string& name);

// The names by which bounds.cc finds its figures.
inline constexpr const char* kSpin = "spinning on a cache line, two cores";
inline constexpr const char* kYield = "sched_yield, one core";
inline constexpr const char* kFutexOne = "futex, one core";
inline constexpr const char* kFutexTwo = "futex, two cores";
inline constexpr const char* kTcpBlockingOne = "blocking, one core";
inline constexpr const char* kTcpBlockingTwo = "blocking, two cores";
inline constexpr const char* kTcpPolling = "polling, two cores";

}  // namespace tutti_limits
