// MemoryStore: a store among the threads of one process, for tests and for communicators that live in one process.
#pragma once

#include <condition_variable>
#include <mutex>

#include "src/membership/store.h"
#include "src/membership/store_table.h"

namespace tutti {

class MemoryStore final : public Store {
 public:
  Status set(std::string_view key, std::string_view value, Instant deadline) override;
  Result<std::string> get(std::string_view key, Instant deadline) override;
  Result<Swap> compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                std::string_view desired, Instant deadline) override;
  Result<std::int64_t> add(std::string_view key, std::int64_t delta, Instant deadline) override;
  Gathered gather(std::string_view prefix, std::size_t count, Instant deadline) override;
  Result<std::int64_t> remove(std::string_view prefix, Instant deadline) override;
  std::string address() const override { return "memory:"; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  StoreTable table_;
};

}  // namespace tutti
