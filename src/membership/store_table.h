// StoreTable: what a store holds, as a value without threads or I/O. Every implementation of Store keeps one, so all
// mean the same by each call and say the same when they refuse it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/status.h"
#include "src/membership/store.h"

namespace tutti {

class StoreTable {
 public:
  // `limit` bounds keys and values together, with kEntryBytes more for each entry.
  explicit StoreTable(std::size_t limit = std::size_t{256} << 20) : limit_(limit) {}

  static constexpr std::size_t kEntryBytes = 96;

  static Status check_key(std::string_view key);
  static Status check_prefix(std::string_view prefix);  // a prefix may be empty
  static Status check_value(std::string_view value);

  Status check_room(std::string_view key, std::string_view value) const;  // SYSTEM when `set` would not fit

  Status set(std::string_view key, std::string_view value);
  const std::string* find(std::string_view key) const;  // null when absent; valid until the next change
  Result<Store::Swap> compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                       std::string_view desired);
  Result<std::int64_t> add(std::string_view key, std::int64_t delta);
  std::vector<std::pair<std::string, std::string>> entries(std::string_view prefix) const;
  std::size_t count(std::string_view prefix) const;
  std::int64_t remove(std::string_view prefix);

  std::size_t size() const { return map_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_with(std::string_view key, std::string_view value) const;  // after it is stored

  using Map = std::map<std::string, std::string, std::less<>>;

  Map map_;
  std::size_t bytes_ = 0;
  std::size_t limit_;
};

}  // namespace tutti
