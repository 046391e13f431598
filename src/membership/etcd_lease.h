// EtcdLease: the lease of a job's keys. All processes that share a place in etcd share one lease, whose number stands
// in a key there; each that has changed anything keeps it alive from a thread of its own. So the keys stay as long as
// any process of the job lives, whoever wrote them, and vanish within the lease's time when the last has gone.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "src/membership/etcd_cluster.h"
#include "src/membership/store_seal.h"

namespace tutti {

class EtcdLease {
 public:
  EtcdLease(EtcdCluster& cluster, const StoreSeal& seal, std::string key, std::int64_t seconds)
      : cluster_(cluster), seal_(seal), key_(std::move(key)), seconds_(seconds) {}
  ~EtcdLease();

  // The number to write keys with: that of the others, or a new one that the others will find. Thread-safe.
  Result<std::int64_t> number(Instant deadline);

  // etcd does not know `lease` any more (all processes were cut off for longer than it lasts).
  void forget(std::int64_t lease);

 private:
  Result<std::int64_t> find_or_make(Instant deadline);
  Result<std::int64_t> renew(std::int64_t lease, Instant deadline);  // the seconds left, 0: it is gone
  void keep_alive();

  EtcdCluster& cluster_;
  const StoreSeal& seal_;
  const std::string key_;
  const std::int64_t seconds_;
  std::mutex mutex_;
  std::condition_variable wakes_;
  std::int64_t lease_ = 0;  // 0: none yet
  bool stops_ = false;
  std::thread thread_;
};

}  // namespace tutti
