// What one rank holds during a run: the communicator, its buffers, and small exchanges with the other ranks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "perf/tutti-perf/error.h"
#include "tutti/tutti.h"

namespace tutti_perf {

// The library's sentence for a call that did not return TUTTI_OK; nothing if it did.
Error check_call(const char* what, tutti_status status);

class Session {
 public:
  Session() = default;
  ~Session() { tutti_comm_destroy(comm_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Rank, size and the way to the others come from the environment. transports: empty, or TUTTI_TRANSPORTS.
  Error open(const std::string& transports);
  Error finalize();

  tutti_comm* comm() const { return comm_; }
  int rank() const { return rank_; }
  int ranks() const { return ranks_; }

  Error barrier();
  // Every rank's value, by rank.
  Error gather(double value, std::vector<double>& values);
  Error gather(std::uint64_t value, std::vector<std::uint64_t>& values);
  // Every rank's text, cut to 127 bytes.
  Error gather(const std::string& text, std::vector<std::string>& texts);

 private:
  tutti_comm* comm_ = nullptr;
  int rank_ = 0;
  int ranks_ = 0;
};

// Bytes by tutti_mem_alloc or malloc, touched once.
class Memory {
 public:
  Memory() = default;
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  Memory(Memory&& other) noexcept;

  Error allocate(std::size_t bytes, bool by_tutti);
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  bool by_tutti_ = false;
};

}  // namespace tutti_perf
