// CallbackStore: a store made of somebody else's, such as a framework's own, which needs no more than two things:
// wait for a key, and store a key if it is absent. There is no listing, no removal, no comparison of values.
//
// So the store is a journal, as the file store's: entry n is the n-th change, under the key "tutti/n", written if
// absent. Every process keeps the table that it has read so far; whoever wants to change it tries to write the entry
// behind those it knows, and if another was faster, has thereby read that one, and decides again. All processes see
// the same changes in the same order by construction, and who waits is woken by the next entry. The price: the
// entries stay in the framework's store for as long as that lives, and every process reads each of them.
//
// Entries are sealed with the job's secret (store_seal.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "src/base/ids.h"
#include "src/membership/store.h"
#include "src/membership/store_protocol.h"
#include "src/membership/store_seal.h"
#include "src/membership/store_table.h"

namespace tutti {

// What somebody else's store must be able to do. Thread-safe: a call that waits does not keep others from calling.
class StorePrimitives {
 public:
  virtual ~StorePrimitives() = default;

  // Waits until the key is there; TIMEOUT when it is not by the deadline, at once when that has passed.
  virtual Result<std::string> get(const std::string& key, Instant deadline) = 0;

  // Stores the value, which is not empty and no two are ever alike, if the key is absent. What is there now either
  // way.
  virtual Result<std::string> set_if_absent(const std::string& key, const std::string& value, Instant deadline) = 0;

  virtual std::string address() const = 0;
};

class CallbackStore final : public Store {
 public:
  static Result<std::unique_ptr<CallbackStore>> create(std::shared_ptr<StorePrimitives> primitives,
                                                       std::string_view secret);

  Status set(std::string_view key, std::string_view value, Instant deadline) override;
  Result<std::string> get(std::string_view key, Instant deadline) override;
  Result<Swap> compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                std::string_view desired, Instant deadline) override;
  Result<std::int64_t> add(std::string_view key, std::int64_t delta, Instant deadline) override;
  Gathered gather(std::string_view prefix, std::size_t count, Instant deadline) override;
  Result<std::int64_t> remove(std::string_view prefix, Instant deadline) override;
  std::string address() const override { return primitives_->address(); }

 private:
  // What is to be appended given the table, or nothing. Called with the lock held, perhaps several times.
  using Decide = std::function<Result<std::optional<StoreRequest>>(const StoreTable&)>;

  CallbackStore(std::shared_ptr<StorePrimitives> primitives, const StoreSeal& seal, const Id128& id)
      : primitives_(std::move(primitives)), seal_(seal), id_(id) {}

  // All give their errors with the address in front.
  Status append(const Decide& decide, Instant deadline);
  // Waits until `ready`, which looks at the table with the lock held. TIMEOUT without a sentence when it never was.
  Status wait_for(const std::function<bool(const StoreTable&)>& ready, Instant deadline);

  // Reads the entry at `position`; false: it is not there by the deadline.
  Result<bool> read_entry(std::uint64_t position, Instant deadline);
  // Takes what stands at `position` into the table, unless another thread has. INVALID when it is no entry of ours.
  Status apply(std::uint64_t position, const std::string& sealed);
  std::uint64_t position();

  const std::shared_ptr<StorePrimitives> primitives_;
  const StoreSeal seal_;
  const Id128 id_;  // makes entries unlike those of other processes
  std::mutex mutex_;
  StoreTable table_;
  std::uint64_t position_ = 0;  // how many entries are in the table
  std::uint64_t written_ = 0;   // how many entries this process has tried to write
};

}  // namespace tutti
