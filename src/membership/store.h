// Store: the small shared memory of a job, a map from names to bytes that all its processes see. They meet in it
// (rendezvous.h), and every decision that must not fork is one compare_and_swap on it.
//
// Contract, kept by every implementation and tested by tests/membership/store_conformance.h:
// - Each call is atomic; all processes see all calls in one order.
// - Each call ends by its deadline, with TIMEOUT if it could not end otherwise, or with PEER_LOST when the store went
//   away. Whether a change that ended so has taken effect is open.
// - Keys are 1 to kKeyBytes bytes, values 0 to kValueBytes, of any content. What does not fit is INVALID.
// - Thread-safe: a call that waits does not keep other threads from calling.
// - Errors name the store's address and repeat the system's words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"

namespace tutti {

class Store {
 public:
  static constexpr std::size_t kKeyBytes = 1024;
  static constexpr std::size_t kValueBytes = std::size_t{1} << 20;

  // What a compare_and_swap found: whether it stored, and what the key holds now (nothing: the key is absent).
  struct Swap {
    bool stored = false;
    std::optional<std::string> value;
  };

  // Status, and whatever was there: complete when the status is ok, else what had arrived by the deadline. Sorted.
  struct Gathered {
    Status status;
    std::vector<std::pair<std::string, std::string>> entries;
  };

  virtual ~Store() = default;

  virtual Status set(std::string_view key, std::string_view value, Instant deadline) = 0;

  // Waits until the key is there.
  virtual Result<std::string> get(std::string_view key, Instant deadline) = 0;

  // Stores `desired` if the key holds `expected`, or is absent where `expected` is nothing.
  virtual Result<Swap> compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                        std::string_view desired, Instant deadline) = 0;

  // Adds to a number kept as decimal text, 0 where the key is absent, and returns the sum. INVALID when the key holds
  // anything else or the sum does not fit.
  virtual Result<std::int64_t> add(std::string_view key, std::int64_t delta, Instant deadline) = 0;

  // Waits until at least `count` keys begin with `prefix` and returns all of them; `count` 0 never waits.
  virtual Gathered gather(std::string_view prefix, std::size_t count, Instant deadline) = 0;

  // Removes all keys that begin with `prefix` and returns how many they were.
  virtual Result<std::int64_t> remove(std::string_view prefix, Instant deadline) = 0;

  // For messages and for other processes: open_store (stores.h) opens the same store by it.
  virtual std::string address() const = 0;

  // Stores `value` if the key is absent; the result holds what is there now either way.
  Result<Swap> set_if_absent(std::string_view key, std::string_view value, Instant deadline) {
    return compare_and_swap(key, std::nullopt, value, deadline);
  }
};

}  // namespace tutti
