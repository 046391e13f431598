#include "perf/tutti-perf/session.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace tutti_perf {

namespace {

constexpr std::size_t kTextBytes = 128;
constexpr std::size_t kPageBytes = 4096;

template <typename Value>
Error gather_values(tutti_comm* comm, int ranks, tutti_datatype type, Value value, std::vector<Value>& values) {
  values.resize(static_cast<std::size_t>(ranks));
  return check_call("all_gather", tutti_all_gather(&value, values.data(), 1, type, comm, nullptr, nullptr));
}

}  // namespace

Error check_call(const char* what, tutti_status status) {
  if (status == TUTTI_OK) return Error();
  return Error(fmt::format("{}: {}: {}", what, tutti_status_name(status), tutti_last_error()));
}

Error Session::open(const std::string& transports) {
  const std::string settings = transports.empty() ? "" : "TUTTI_TRANSPORTS=" + transports;
  tutti_comm_options options = TUTTI_COMM_OPTIONS_INIT;
  options.settings = settings.c_str();
  if (Error error = check_call("joining the other ranks", tutti_comm_create_from_environment(&comm_, &options)))
    return error;
  if (Error error = check_call("rank", tutti_comm_rank(comm_, &rank_))) return error;
  return check_call("size", tutti_comm_size(comm_, &ranks_));
}

Error Session::finalize() { return check_call("finalize", tutti_comm_finalize(comm_, 0)); }

Error Session::barrier() { return check_call("barrier", tutti_barrier(comm_, nullptr, nullptr)); }

Error Session::gather(double value, std::vector<double>& values) {
  return gather_values(comm_, ranks_, TUTTI_FLOAT64, value, values);
}

Error Session::gather(std::uint64_t value, std::vector<std::uint64_t>& values) {
  return gather_values(comm_, ranks_, TUTTI_UINT64, value, values);
}

Error Session::gather(const std::string& text, std::vector<std::string>& texts) {
  std::array<char, kTextBytes> own{};
  std::memcpy(own.data(), text.data(), std::min(text.size(), kTextBytes - 1));
  std::vector<char> all(static_cast<std::size_t>(ranks_) * kTextBytes);
  if (Error error = check_call(
          "all_gather", tutti_all_gather(own.data(), all.data(), kTextBytes, TUTTI_UINT8, comm_, nullptr, nullptr))) {
    return error;
  }
  for (std::size_t r = 0; r < static_cast<std::size_t>(ranks_); ++r) texts.emplace_back(&all[r * kTextBytes]);
  return Error();
}

Memory::Memory(Memory&& other) noexcept : data_(std::exchange(other.data_, nullptr)), by_tutti_(other.by_tutti_) {}

Memory::~Memory() {
  if (by_tutti_) {
    tutti_mem_free(data_);
  } else {
    std::free(data_);
  }
}

Error Memory::allocate(std::size_t bytes, bool by_tutti) {
  by_tutti_ = by_tutti;
  const std::size_t whole_pages = (std::max<std::size_t>(bytes, 1) + kPageBytes - 1) / kPageBytes * kPageBytes;
  void* memory = nullptr;
  if (by_tutti) {
    if (Error error = check_call("buffers", tutti_mem_alloc(&memory, whole_pages))) return error;
  } else {
    memory = std::aligned_alloc(kPageBytes, whole_pages);
    if (!memory) return Error(fmt::format("no memory for a buffer of {} bytes", whole_pages));
  }
  data_ = static_cast<std::byte*>(memory);
  std::memset(data_, 0, whole_pages);
  return Error();
}

}  // namespace tutti_perf
