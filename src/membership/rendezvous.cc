// In the store: rendezvous/GROUP/rank/000003 holds what rank 3 published: a reply of the store's protocol (a form
// that is there already, bounded and fuzzed) with the blob as its value, the size as its number, and host and pid as
// entries; or, with a code other than OK, why the group fails. A rank that fails puts the failure under every number
// that is still free: so all waits end, by the same gather as ever. rendezvous/GROUP/left counts who has the roster;
// the last one tidies up.
#include "src/membership/rendezvous.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "src/base/format.h"
#include "src/base/ids.h"
#include "src/membership/store_protocol.h"

namespace tutti {

namespace {

constexpr std::size_t kFrameHeader = 4;

struct Entry {
  int rank = 0;
  int size = 0;
  std::string host;
  std::int64_t pid = 0;
  std::string blob;
  Status failure;

  std::string who() const { return format("rank {} ({} pid {})", rank, host, pid); }
};

std::string group_prefix(const std::string& group) { return format("rendezvous/{}/", group); }
std::string rank_prefix(const std::string& group) { return group_prefix(group) + "rank/"; }
std::string rank_key(const std::string& group, int rank) { return format("{}{:06}", rank_prefix(group), rank); }

std::string encode_entry(int rank, int size, std::string blob, const Status& failure) {
  StoreReply form;
  form.code = failure.code();
  form.text = failure.text();
  form.number = size;
  form.value = std::move(blob);
  form.entries = {{"host", host_name()}, {"pid", format("{}", getpid())}, {"rank", format("{}", rank)}};
  return encode(form).substr(kFrameHeader);
}

Result<Entry> decode_entry(const Store& store, std::string_view key, std::string_view text) {
  auto form = decode_reply(text);
  const auto damaged = [&] {
    return Status(Code::invalid, format("store {}: the key {} holds {} bytes that no rank published", store.address(),
                                        key, text.size()));
  };
  if (!form || form->entries.size() != 3 || !form->value) return damaged();
  Entry entry;
  try {
    entry.host = form->entries[0].second;
    entry.pid = std::stoll(form->entries[1].second);
    entry.rank = std::stoi(form->entries[2].second);
  } catch (const std::logic_error&) {
    return damaged();
  }
  entry.size = static_cast<int>(form->number);
  entry.blob = std::move(*form->value);
  if (form->code != Code::ok) {
    entry.failure = Status(form->code, format("{} cannot take part: {}", entry.who(), form->text), entry.rank);
  }
  return entry;
}

std::string name_ranks(const std::vector<int>& ranks) {
  constexpr std::size_t kNamed = 8;
  std::string text;
  const std::size_t named = std::min(ranks.size(), kNamed);
  const bool more = ranks.size() > named;
  for (std::size_t i = 0; i < named; ++i) {
    if (i > 0) text += i + 1 == named && !more ? " and " : ", ";
    text += format("rank {}", ranks[i]);
  }
  if (more) text += format(" and {} others", ranks.size() - named);
  return text;
}

Status check_arguments(const std::string& group, int rank, int size) {
  if (size < 1 || rank < 0 || rank >= size) {
    return {Code::invalid,
            format("group {}: rank {} of {} cannot be; expected a rank from 0 to size - 1", group, rank, size)};
  }
  return {};
}

// Ends the others' wait with `why` and returns it.
Status spread(Store& store, const std::string& group, int rank, int size, const Status& why, Instant deadline) {
  constexpr auto kLittleTime = std::chrono::seconds(2);  // if the deadline is the reason, it is too late to use it
  const Instant until = std::max(deadline, deadline_after(monotonic_now(), kLittleTime));
  const Status posted = fail_rendezvous(store, group, rank, size, why, until);
  if (posted) return why;
  return {why.code(), format("{} (and the other ranks could not be told: {})", why.text(), posted.text()),
          why.culprit()};
}

Status publish(Store& store, const std::string& group, int rank, int size, std::span<const std::byte> blob,
               Instant deadline) {
  const std::string key = rank_key(group, rank);
  const std::string mine =
      encode_entry(rank, size, std::string(reinterpret_cast<const char*>(blob.data()), blob.size()), Status());
  const auto swap = store.set_if_absent(key, mine, deadline);
  if (!swap) return swap.status().prefixed(format("group {}: publish rank {}", group, rank));
  if (swap->stored) return {};
  const auto other = decode_entry(store, key, *swap->value);
  if (!other) return other.status();
  if (!other->failure.is_ok()) return other->failure.prefixed(format("group {}", group));
  const Status why(
      Code::invalid,
      format("group {}: two processes are rank {}: {} pid {}, which came first, and {} pid {}. Start each "
             "rank once, and give another job another store or name",
             group, rank, other->host, other->pid, host_name(), getpid()),
      rank);
  return spread(store, group, rank, size, why, deadline);
}

Status missing_ranks(const std::string& group, int size, const std::vector<bool>& arrived, Nanoseconds waited,
                     const Status& cause) {
  std::vector<int> missing;
  for (int rank = 0; rank < size; ++rank) {
    if (!arrived[static_cast<std::size_t>(rank)]) missing.push_back(rank);
  }
  return {
      Code::timeout,
      format("group {}: {} of {} did not arrive within {}; {} {} there ({}). Check that every rank is started and "
             "reaches the same store",
             group, name_ranks(missing), size, format_duration(waited),
             static_cast<std::size_t>(size) - missing.size(),
             static_cast<std::size_t>(size) - missing.size() == 1 ? "was" : "were", cause.text()),
      missing.empty() ? Status::kNobody : missing.front()};
}

}  // namespace

Result<Roster> rendezvous(Store& store, const std::string& group_name, int rank, int size,
                          std::span<const std::byte> my_blob, Instant deadline) {
  const Instant start = monotonic_now();
  TUTTI_RETURN_IF_ERROR(check_arguments(group_name, rank, size));
  TUTTI_RETURN_IF_ERROR(publish(store, group_name, rank, size, my_blob, deadline));
  const auto gathered = store.gather(rank_prefix(group_name), static_cast<std::size_t>(size), deadline);
  Roster roster;
  roster.members.resize(static_cast<std::size_t>(size));
  std::vector<bool> arrived(static_cast<std::size_t>(size));
  for (const auto& [key, value] : gathered.entries) {
    auto entry = decode_entry(store, key, value);
    if (!entry) return entry.status();
    if (!entry->failure.is_ok()) return entry->failure.prefixed(format("group {}", group_name));
    if (entry->size != size) {
      const Status why(Code::invalid,
                       format("group {}: {} was started with size {}, rank {} ({} pid {}) with size {}", group_name,
                              entry->who(), entry->size, rank, host_name(), getpid(), size),
                       entry->rank);
      return spread(store, group_name, rank, std::max(size, entry->size), why, deadline);
    }
    if (entry->rank < 0 || entry->rank >= size) {
      return Status(Code::invalid, format("group {}: {} is outside of size {}", group_name, entry->who(), size));
    }
    const auto index = static_cast<std::size_t>(entry->rank);
    arrived[index] = true;
    const auto bytes = std::as_bytes(std::span(entry->blob));
    roster.members[index] = {std::move(entry->host), entry->pid, {bytes.begin(), bytes.end()}};
  }
  if (gathered.status.code() == Code::timeout) {
    return missing_ranks(group_name, size, arrived, monotonic_now() - start, gathered.status);
  }
  if (!gathered.status) return gathered.status.prefixed(format("group {}: wait for the other ranks", group_name));
  // What follows only tidies up: the roster is complete whether it succeeds or not.
  const auto left = store.add(group_prefix(group_name) + "left", 1, deadline);
  if (left && *left == size) (void)store.remove(group_prefix(group_name), deadline);
  return roster;
}

Status fail_rendezvous(Store& store, const std::string& group_name, int rank, int size, const Status& why,
                       Instant deadline) {
  const std::string entry = encode_entry(rank, size, "", why);
  for (int each = 0; each < size; ++each) {
    const auto swap = store.set_if_absent(rank_key(group_name, each), entry, deadline);
    if (!swap) return swap.status();
  }
  return {};
}

}  // namespace tutti
