#include "src/membership/store_service.h"

#include <algorithm>

#include "src/base/format.h"
#include "src/membership/store_errors.h"

namespace tutti {

namespace {

StoreReply refusal(const Status& status) { return {.code = status.code(), .text = status.text()}; }

}  // namespace

void StoreService::handle(Client client, const StoreRequest& request, Instant now) {
  if (request.operation == StoreOperation::get) return handle_get(client, request, now);
  if (request.operation == StoreOperation::gather) return handle_gather(client, request, now);
  const std::size_t size_before = table_.size();
  const StoreReply reply = change(request);
  answer(client, reply);
  if (reply.code != Code::ok || request.operation == StoreOperation::remove) return;
  answer_waiters(request.key, table_.size() > size_before);
}

StoreReply StoreService::change(const StoreRequest& request) {
  if (request.operation == StoreOperation::remove) {
    if (const Status status = StoreTable::check_prefix(request.key); !status) return refusal(status);
    const std::int64_t removed = table_.remove(request.key);
    for (auto& [prefix, group] : gatherers_) group.present = table_.count(prefix);
    return {.number = removed};
  }
  if (request.operation == StoreOperation::compare_and_swap) {
    auto swap = table_.compare_and_swap(request.key, request.expected, request.value);
    if (!swap) return refusal(swap.status());
    return {.stored = swap->stored, .value = std::move(swap->value)};
  }
  if (request.operation == StoreOperation::add) {
    const auto sum = table_.add(request.key, request.number);
    if (!sum) return refusal(sum.status());
    return {.number = *sum};
  }
  const Status status = table_.set(request.key, request.value);
  return refusal(status);
}

void StoreService::handle_get(Client client, const StoreRequest& request, Instant now) {
  if (const Status status = StoreTable::check_key(request.key); !status) return answer(client, refusal(status));
  if (const std::string* const value = table_.find(request.key)) return answer(client, {.value = *value});
  getters_[request.key].insert(client);
  begin_wait(client, {StoreOperation::get, request.key, 0, deadline_after(now, Nanoseconds(request.wait_ns))});
}

void StoreService::handle_gather(Client client, const StoreRequest& request, Instant now) {
  if (const Status status = StoreTable::check_prefix(request.key); !status) return answer(client, refusal(status));
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(0, request.number));
  const std::size_t present = table_.count(request.key);
  if (present >= count) return answers_.push_back({client, gather_frame(request.key, count)});
  GatherGroup& group = gatherers_[request.key];
  group.present = present;
  group.waiters.insert({count, client});
  begin_wait(client, {StoreOperation::gather, request.key, count, deadline_after(now, Nanoseconds(request.wait_ns))});
}

void StoreService::begin_wait(Client client, Wait wait) {
  if (wait.deadline != kNever) deadlines_.insert({wait.deadline, client});
  waits_.emplace(client, std::move(wait));
}

void StoreService::forget(Client client) {
  const auto found = waits_.find(client);
  if (found == waits_.end()) return;
  const Wait wait = std::move(found->second);
  waits_.erase(found);
  deadlines_.erase({wait.deadline, client});
  if (wait.operation == StoreOperation::get) {
    const auto getters = getters_.find(wait.key);
    getters->second.erase(client);
    if (getters->second.empty()) getters_.erase(getters);
  } else {
    const auto group = gatherers_.find(wait.key);
    group->second.waiters.erase({wait.count, client});
    if (group->second.waiters.empty()) gatherers_.erase(group);
  }
}

void StoreService::expire(Instant now) {
  std::vector<std::pair<Client, Wait>> gathers;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const Client client = deadlines_.begin()->second;
    const Wait wait = waits_.at(client);
    forget(client);
    if (wait.operation == StoreOperation::get) {
      answer(client, refusal(absent_key(wait.key)));
    } else {
      gathers.emplace_back(client, wait);
    }
  }
  answer_gathers(std::move(gathers));
}

void StoreService::answer(Client client, const StoreReply& reply) {
  answers_.push_back({client, std::make_shared<const std::string>(encode(reply))});
}

void StoreService::answer_waiters(const std::string& key, bool inserted) {
  const std::string* const value = table_.find(key);
  if (!value) return;  // a compare_and_swap that expected a value where there is none
  if (const auto found = getters_.find(key); found != getters_.end()) {
    const std::set<Client> waiters = found->second;
    const auto frame = std::make_shared<const std::string>(encode(StoreReply{.value = *value}));
    for (const Client client : waiters) {
      forget(client);
      answers_.push_back({client, frame});
    }
  }
  if (!inserted) return;
  std::vector<std::pair<Client, Wait>> complete;
  for (auto& [prefix, group] : gatherers_) {
    if (!key.starts_with(prefix)) continue;
    ++group.present;
    for (const auto& [count, client] : group.waiters) {
      if (count > group.present) break;
      complete.emplace_back(client, waits_.at(client));
    }
  }
  for (const auto& [client, wait] : complete) forget(client);
  answer_gathers(std::move(complete));
}

// Equal waits get one frame.
void StoreService::answer_gathers(std::vector<std::pair<Client, Wait>> waits) {
  std::map<std::pair<std::string, std::size_t>, Frame> frames;
  for (const auto& [client, wait] : waits) {
    Frame& frame = frames[{wait.key, wait.count}];
    if (!frame) frame = gather_frame(wait.key, wait.count);
    answers_.push_back({client, frame});
  }
}

StoreService::Frame StoreService::gather_frame(const std::string& prefix, std::size_t count) const {
  constexpr std::size_t kRoom = 4096;  // for the sentence and the fixed fields
  StoreReply reply;
  reply.entries = table_.entries(prefix);
  std::size_t bytes = 0;
  for (const auto& [key, value] : reply.entries) bytes += key.size() + value.size() + 8;
  if (bytes + kRoom > kStoreReplyBytes) {
    reply =
        refusal({Code::invalid, format("the keys that begin with {} hold {}, more than the {} of one reply; use a "
                                       "longer prefix",
                                       prefix, format_bytes(bytes), format_bytes(kStoreReplyBytes))});
  } else if (reply.entries.size() < count) {
    const Status status = too_few_keys(prefix, reply.entries.size(), count);
    reply.code = status.code();
    reply.text = status.text();
  }
  return std::make_shared<const std::string>(encode(reply));
}

}  // namespace tutti
