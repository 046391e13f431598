#include "src/membership/store_table.h"

#include <charconv>

#include "src/base/format.h"

namespace tutti {

Status StoreTable::check_prefix(std::string_view prefix) {
  if (prefix.size() <= Store::kKeyBytes) return {};
  return {Code::invalid,
          format("a key of {} bytes is too long; at most {} are allowed", prefix.size(), Store::kKeyBytes)};
}

Status StoreTable::check_key(std::string_view key) {
  if (key.empty()) return {Code::invalid, "the key is empty; expected 1 byte or more"};
  return check_prefix(key);
}

Status StoreTable::check_value(std::string_view value) {
  if (value.size() <= Store::kValueBytes) return {};
  return {Code::invalid,
          format("a value of {} bytes is too long; at most {} are allowed", value.size(), Store::kValueBytes)};
}

std::size_t StoreTable::bytes_with(std::string_view key, std::string_view value) const {
  const std::string* const present = find(key);
  const std::size_t before = present == nullptr ? 0 : key.size() + present->size() + kEntryBytes;
  return bytes_ - before + key.size() + value.size() + kEntryBytes;
}

Status StoreTable::check_room(std::string_view key, std::string_view value) const {
  if (bytes_with(key, value) <= limit_) return {};
  return {Code::system, format("the store is full: {} of {} are in use by {} keys; nothing was stored",
                               format_bytes(bytes_), format_bytes(limit_), map_.size())};
}

Status StoreTable::set(std::string_view key, std::string_view value) {
  TUTTI_RETURN_IF_ERROR(check_key(key));
  TUTTI_RETURN_IF_ERROR(check_value(value));
  TUTTI_RETURN_IF_ERROR(check_room(key, value));
  const std::size_t after = bytes_with(key, value);
  const auto found = map_.find(key);
  if (found == map_.end()) {
    map_.emplace(key, value);
  } else {
    found->second = value;
  }
  bytes_ = after;
  return {};
}

const std::string* StoreTable::find(std::string_view key) const {
  const auto found = map_.find(key);
  return found == map_.end() ? nullptr : &found->second;
}

Result<Store::Swap> StoreTable::compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                                 std::string_view desired) {
  TUTTI_RETURN_IF_ERROR(check_key(key));
  TUTTI_RETURN_IF_ERROR(check_value(desired));
  const std::string* const present = find(key);
  const bool matches = present ? expected == std::string_view(*present) : !expected;
  if (!matches) return Store::Swap{false, present ? std::optional(*present) : std::nullopt};
  TUTTI_RETURN_IF_ERROR(set(key, desired));
  return Store::Swap{true, std::string(desired)};
}

Result<std::int64_t> StoreTable::add(std::string_view key, std::int64_t delta) {
  TUTTI_RETURN_IF_ERROR(check_key(key));
  std::int64_t value = 0;
  if (const std::string* const present = find(key)) {
    const char* const end = present->data() + present->size();
    if (const auto parsed = std::from_chars(present->data(), end, value);
        parsed.ec != std::errc() || parsed.ptr != end) {
      return Status(Code::invalid, format("the key {} holds {} bytes that are not a number; nothing was added", key,
                                          present->size()));
    }
  }
  std::int64_t sum = 0;
  if (__builtin_add_overflow(value, delta, &sum)) {
    return Status(Code::invalid,
                  format("{} + {} of the key {} does not fit in 64 bits; nothing was added", value, delta, key));
  }
  TUTTI_RETURN_IF_ERROR(set(key, format("{}", sum)));
  return sum;
}

std::vector<std::pair<std::string, std::string>> StoreTable::entries(std::string_view prefix) const {
  std::vector<std::pair<std::string, std::string>> found;
  for (auto entry = map_.lower_bound(prefix); entry != map_.end() && entry->first.starts_with(prefix); ++entry) {
    found.emplace_back(*entry);
  }
  return found;
}

std::size_t StoreTable::count(std::string_view prefix) const {
  std::size_t count = 0;
  for (auto entry = map_.lower_bound(prefix); entry != map_.end() && entry->first.starts_with(prefix); ++entry)
    ++count;
  return count;
}

std::int64_t StoreTable::remove(std::string_view prefix) {
  std::int64_t removed = 0;
  auto entry = map_.lower_bound(prefix);
  while (entry != map_.end() && entry->first.starts_with(prefix)) {
    bytes_ -= entry->first.size() + entry->second.size() + kEntryBytes;
    entry = map_.erase(entry);
    ++removed;
  }
  return removed;
}

}  // namespace tutti
