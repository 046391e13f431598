// A store with two of the calls that the stores of torch.distributed offer, quirks included: get, which waits, and
// compare_set, which takes an absent key for an empty one, and gives back what was expected where a key is absent.
// And how a binding makes Tutti's two primitives of it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "src/membership/callback_store.h"

namespace tutti {

class TorchLikeStore {
 public:
  std::optional<std::string> get(const std::string& key, std::chrono::nanoseconds timeout);  // nothing: timed out
  std::string compare_set(const std::string& key, const std::string& expected, const std::string& desired);

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> map_;
};

class TorchLikePrimitives final : public StorePrimitives {
 public:
  Result<std::string> get(const std::string& key, Instant deadline) override;
  Result<std::string> set_if_absent(const std::string& key, const std::string& value, Instant deadline) override;
  std::string address() const override { return "callback://torch"; }

 private:
  TorchLikeStore store_;
};

}  // namespace tutti
