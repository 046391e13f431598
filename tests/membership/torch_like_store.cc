#include "tests/membership/torch_like_store.h"

#include <algorithm>

namespace tutti {

std::optional<std::string> TorchLikeStore::get(const std::string& key, std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  const auto there = [&] { return map_.contains(key); };
  if (!changed_.wait_until(lock, deadline_after(monotonic_now(), timeout), there)) return std::nullopt;
  return map_[key];
}

std::string TorchLikeStore::compare_set(const std::string& key, const std::string& expected,
                                        const std::string& desired) {
  const std::lock_guard lock(mutex_);
  const auto found = map_.find(key);
  if (found == map_.end() && !expected.empty()) return expected;
  if (found != map_.end() && found->second != expected) return found->second;
  map_[key] = desired;
  changed_.notify_all();
  return desired;
}

Result<std::string> TorchLikePrimitives::get(const std::string& key, Instant deadline) {
  auto value = store_.get(key, std::max(deadline - monotonic_now(), Nanoseconds(0)));
  if (!value) return Status(Code::timeout, "wait timed out");
  return *std::move(value);
}

Result<std::string> TorchLikePrimitives::set_if_absent(const std::string& key, const std::string& value, Instant) {
  return store_.compare_set(key, "", value);
}

}  // namespace tutti
