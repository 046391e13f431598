#include "src/membership/memory_store.h"

#include "src/membership/store_errors.h"

namespace tutti {

Status MemoryStore::set(std::string_view key, std::string_view value, Instant) {
  const std::lock_guard lock(mutex_);
  const Status status = table_.set(key, value);
  changed_.notify_all();
  return at_store(*this, status);
}

Result<std::string> MemoryStore::get(std::string_view key, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  std::unique_lock lock(mutex_);
  const auto there = [&] { return table_.find(key) != nullptr; };
  if (!changed_.wait_until(lock, deadline, there)) return at_store(*this, absent_key(key));
  return *table_.find(key);
}

Result<Store::Swap> MemoryStore::compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                                  std::string_view desired, Instant) {
  const std::lock_guard lock(mutex_);
  auto swap = table_.compare_and_swap(key, expected, desired);
  changed_.notify_all();
  if (!swap) return at_store(*this, swap.status());
  return swap;
}

Result<std::int64_t> MemoryStore::add(std::string_view key, std::int64_t delta, Instant) {
  const std::lock_guard lock(mutex_);
  const auto sum = table_.add(key, delta);
  changed_.notify_all();
  if (!sum) return at_store(*this, sum.status());
  return sum;
}

Store::Gathered MemoryStore::gather(std::string_view prefix, std::size_t count, Instant deadline) {
  if (const Status status = StoreTable::check_prefix(prefix); !status) return {at_store(*this, status), {}};
  std::unique_lock lock(mutex_);
  const bool complete = changed_.wait_until(lock, deadline, [&] { return table_.count(prefix) >= count; });
  auto entries = table_.entries(prefix);
  const Status status = complete ? Status() : at_store(*this, too_few_keys(prefix, entries.size(), count));
  return {status, std::move(entries)};
}

Result<std::int64_t> MemoryStore::remove(std::string_view prefix, Instant) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_prefix(prefix)));
  const std::lock_guard lock(mutex_);
  return table_.remove(prefix);
}

}  // namespace tutti
