#include "src/membership/callback_store.h"

#include <span>

#include "src/base/format.h"
#include "src/base/random.h"
#include "src/membership/store_errors.h"

namespace tutti {

namespace {

constexpr std::size_t kFrameHeader = 4;
constexpr std::size_t kMarkBytes = 49;  // process id (32) | "-" | number of the entry (16)

std::string entry_key(std::uint64_t position) { return format("tutti/{}", position); }

Status apply_change(const StoreRequest& change, StoreTable& table) {
  switch (change.operation) {
    case StoreOperation::set:
      return table.set(change.key, change.value);
    case StoreOperation::remove:
      (void)table.remove(change.key);
      return {};
    default:
      return {Code::invalid, format("an entry of kind {}, which nobody writes", static_cast<int>(change.operation))};
  }
}

}  // namespace

Result<std::unique_ptr<CallbackStore>> CallbackStore::create(std::shared_ptr<StorePrimitives> primitives,
                                                             std::string_view secret) {
  const auto seal = StoreSeal::create(secret, "tutti callback store v1");
  if (!seal) return seal.status();
  Id128 id;
  std::uint64_t words[2] = {};
  TUTTI_RETURN_IF_ERROR(secure_random(std::as_writable_bytes(std::span(words))));
  id.high = words[0];
  id.low = words[1];
  return std::unique_ptr<CallbackStore>(new CallbackStore(std::move(primitives), *seal, id));
}

std::uint64_t CallbackStore::position() {
  const std::lock_guard lock(mutex_);
  return position_;
}

Status CallbackStore::apply(std::uint64_t position, const std::string& sealed) {
  const auto entry = seal_.open(entry_key(position), sealed);
  if (!entry) return entry.status();
  const auto change = decode_request(std::string_view(*entry).substr(std::min(entry->size(), kMarkBytes)));
  if (!change) return change.status().prefixed(entry_key(position));
  const std::lock_guard lock(mutex_);
  if (position_ != position) return {};
  ++position_;
  return apply_change(*change, table_);
}

Result<bool> CallbackStore::read_entry(std::uint64_t position, Instant deadline) {
  const auto sealed = primitives_->get(entry_key(position), deadline);
  if (sealed.status().code() == Code::timeout) return false;
  const Status status = sealed ? apply(position, *sealed) : sealed.status();
  if (!status) return at_store(*this, status);
  return true;
}

Status CallbackStore::append(const Decide& decide, Instant deadline) {
  while (true) {
    std::uint64_t position = 0;
    std::string entry;
    {
      const std::lock_guard lock(mutex_);
      position = position_;
      const auto change = decide(table_);
      if (!change) return at_store(*this, change.status());
      if (*change) {
        if ((*change)->operation == StoreOperation::set)
          TUTTI_RETURN_IF_ERROR(at_store(*this, table_.check_room((*change)->key, (*change)->value)));
        entry = format("{}-{:016x}", to_string(id_), ++written_);
        entry += encode(**change).substr(kFrameHeader);
      }
    }
    if (entry.empty()) {
      // Nothing to do, if the table is that of now.
      const auto is_behind = read_entry(position, Instant{});
      if (!is_behind) return is_behind.status();
      if (!*is_behind) return {};
      continue;
    }
    const std::string key = entry_key(position);
    const auto sealed = seal_.seal(key, entry);
    if (!sealed) return at_store(*this, sealed.status());
    const auto present = primitives_->set_if_absent(key, *sealed, deadline);
    if (!present) {
      return at_store(*this, {present.status().code(),
                              format("{}. Whether the change has happened is open", present.status().text())});
    }
    TUTTI_RETURN_IF_ERROR(at_store(*this, apply(position, *present)));
    if (*present == *sealed) return {};
    if (monotonic_now() >= deadline) {
      return at_store(*this, {Code::timeout,
                              "others changed the store again and again until the deadline; nothing was "
                              "stored"});
    }
  }
}

Status CallbackStore::wait_for(const std::function<bool(const StoreTable&)>& ready, Instant deadline) {
  Instant until{};  // first all that is there already, without waiting
  while (true) {
    const std::uint64_t next = position();
    if (until != Instant{}) {
      const std::lock_guard lock(mutex_);
      if (ready(table_)) return {};
    }
    const auto has_come = read_entry(next, until);
    if (!has_come) return has_come.status();
    if (*has_come) continue;
    if (until == deadline) return {Code::timeout, ""};
    until = deadline;
  }
}

Status CallbackStore::set(std::string_view key, std::string_view value, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_value(value)));
  const StoreRequest change{.operation = StoreOperation::set, .key = std::string(key), .value = std::string(value)};
  return append([&](const StoreTable&) { return std::optional(change); }, deadline);
}

Result<std::string> CallbackStore::get(std::string_view key, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  std::string value;
  const auto is_there = [&](const StoreTable& table) {
    const std::string* const found = table.find(key);
    if (found != nullptr) value = *found;
    return found != nullptr;
  };
  const Status status = wait_for(is_there, deadline);
  if (status) return value;
  if (status.code() == Code::timeout) return at_store(*this, absent_key(key));
  return status;
}

Result<Store::Swap> CallbackStore::compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                                    std::string_view desired, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_value(desired)));
  Swap swap;
  const auto decide = [&](const StoreTable& table) -> Result<std::optional<StoreRequest>> {
    const std::string* const present = table.find(key);
    swap.stored = present != nullptr ? expected == std::string_view(*present) : !expected;
    swap.value = present != nullptr ? std::optional(*present) : std::nullopt;
    if (!swap.stored) return std::optional<StoreRequest>();
    swap.value = desired;
    return std::optional(
        StoreRequest{.operation = StoreOperation::set, .key = std::string(key), .value = std::string(desired)});
  };
  TUTTI_RETURN_IF_ERROR(append(decide, deadline));
  return swap;
}

Result<std::int64_t> CallbackStore::add(std::string_view key, std::int64_t delta, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  std::int64_t sum = 0;
  const auto decide = [&](const StoreTable& table) -> Result<std::optional<StoreRequest>> {
    StoreTable one;  // knows what a number is and when a sum does not fit
    if (const std::string* const present = table.find(key)) TUTTI_RETURN_IF_ERROR(one.set(key, *present));
    const auto added = one.add(key, delta);
    if (!added) return added.status();
    sum = *added;
    return std::optional(
        StoreRequest{.operation = StoreOperation::set, .key = std::string(key), .value = *one.find(key)});
  };
  TUTTI_RETURN_IF_ERROR(append(decide, deadline));
  return sum;
}

Store::Gathered CallbackStore::gather(std::string_view prefix, std::size_t count, Instant deadline) {
  if (const Status status = StoreTable::check_prefix(prefix); !status) return {at_store(*this, status), {}};
  Gathered gathered;
  const auto are_there = [&](const StoreTable& table) { return table.count(prefix) >= count; };
  gathered.status = wait_for(are_there, deadline);
  {
    const std::lock_guard lock(mutex_);
    gathered.entries = table_.entries(prefix);
  }
  if (gathered.status.code() == Code::timeout)
    gathered.status = at_store(*this, too_few_keys(prefix, gathered.entries.size(), count));
  return gathered;
}

Result<std::int64_t> CallbackStore::remove(std::string_view prefix, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_prefix(prefix)));
  std::int64_t removed = 0;
  const auto decide = [&](const StoreTable& table) -> Result<std::optional<StoreRequest>> {
    removed = static_cast<std::int64_t>(table.count(prefix));
    if (removed == 0) return std::optional<StoreRequest>();
    return std::optional(StoreRequest{.operation = StoreOperation::remove, .key = std::string(prefix)});
  };
  TUTTI_RETURN_IF_ERROR(append(decide, deadline));
  return removed;
}

}  // namespace tutti
