#include "src/membership/etcd_lease.h"

#include <charconv>
#include <chrono>

#include "src/base/format.h"

namespace tutti {

EtcdLease::~EtcdLease() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
  }
  wakes_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<std::int64_t> EtcdLease::number(Instant deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (lease_ != 0) return lease_;
  }
  const auto found = find_or_make(deadline);  // several threads may do so at once: they find the same
  if (!found) return found;
  const std::lock_guard lock(mutex_);
  lease_ = *found;
  if (!thread_.joinable()) thread_ = std::thread([this] { keep_alive(); });
  return found;
}

void EtcdLease::forget(std::int64_t lease) {
  const std::lock_guard lock(mutex_);
  if (lease_ == lease) lease_ = 0;
}

Result<std::int64_t> EtcdLease::renew(std::int64_t lease, Instant deadline) {
  const auto answer = cluster_.call("lease/keepalive", encode_lease(lease), deadline);
  if (!answer.status) return answer.status;
  const auto kept = decode_etcd_keep_alive(answer.body);
  if (!kept) return kept.status();
  return kept->seconds_left;
}

// The key lives on the lease that it names, so it is absent once the lease is gone.
Result<std::int64_t> EtcdLease::find_or_make(Instant deadline) {
  std::int64_t granted = 0;
  while (true) {
    const auto answer = cluster_.call("kv/range", encode(EtcdRange{.key = key_}), deadline);
    if (!answer.status) return answer.status;
    const auto reply = decode_etcd_range(answer.body);
    if (!reply) return reply.status();
    if (!reply->found.entries.empty()) {
      const auto text = seal_.open(key_, reply->found.entries.front().value);
      if (!text) return text.status();
      std::int64_t lease = 0;
      std::from_chars(text->data(), text->data() + text->size(), lease);
      if (granted != 0 && granted != lease) (void)cluster_.call("lease/revoke", encode_lease(granted), deadline);
      const auto left = renew(lease, deadline);
      if (!left) return left.status();
      if (*left > 0) return lease;
      granted = 0;
      continue;
    }
    if (granted == 0) {
      const auto made = cluster_.call("lease/grant", encode_lease_grant(seconds_), deadline);
      if (!made.status) return made.status;
      const auto lease = decode_etcd_lease_grant(made.body);
      if (!lease) return lease.status();
      granted = lease->lease;
    }
    const auto value = seal_.seal(key_, format("{}", granted));
    if (!value) return value.status();
    const EtcdTransaction publish{{{.key = key_, .what = EtcdCompare::What::create_revision}},
                                  {{.key = key_, .value = *value, .lease = granted}},
                                  {}};
    const auto published = cluster_.call("kv/txn", encode(publish), deadline);
    if (published.refusal == EtcdRefusal::kNotFound) {
      granted = 0;
    } else if (!published.status) {
      return published.status;
    }
    if (monotonic_now() >= deadline) return Status(Code::timeout, "no lease for the job's keys by the deadline");
  }
}

void EtcdLease::keep_alive() {
  const auto period = std::chrono::milliseconds(seconds_ * 1000 / 6);
  std::unique_lock lock(mutex_);
  while (!wakes_.wait_for(lock, period, [this] { return stops_; })) {
    const std::int64_t lease = lease_;
    if (lease == 0) continue;
    lock.unlock();
    // One that could not be renewed is tried again in time; one that is gone is noticed by the next change. Shortly,
    // since the destructor waits for it.
    (void)renew(lease, monotonic_now() + std::chrono::seconds(1));
    lock.lock();
  }
}

}  // namespace tutti
