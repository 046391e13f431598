// From an address to a store.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "src/base/log.h"
#include "src/base/settings.h"
#include "src/membership/environment.h"
#include "src/membership/etcd_cluster.h"
#include "src/membership/store.h"
#include "src/membership/tcp_store.h"

namespace tutti {

// What a process has to show at the job's store.
struct StoreAccess {
  std::string secret;
  std::shared_ptr<const TlsContext> tls;  // of a tcp store; null: without
  EtcdAccess etcd;

  // Equal where two processes, or two communicators of one, can share a store.
  std::string fingerprint;
};

// INVALID or SYSTEM where a file that the settings name will not do, or TLS wants the secret and there is none.
Result<StoreAccess> read_store_access(const Settings& settings);

// "tcp://HOST:PORT" and "etcd://HOST:PORT[,HOST:PORT...][/PREFIX]" (and etcds://) connect at their first call;
// "file:///DIRECTORY" is opened at once and kept.
Result<std::unique_ptr<Store>> open_store(std::string_view address, const StoreAccess& access, Instant deadline);

// The store of a job, with its server where this process hosts it. Other ranks lose the store when this is destroyed.
struct JobStore {
  std::unique_ptr<TcpStoreServer> server;
  std::unique_ptr<Store> store;  // null when the job is one process
};

// Rank 0 of a tcp address listens on its port, on every address of its host; if that port is taken (a store that runs
// already, of an earlier communicator or by itself), it joins as the others do, and the handshake tells whose it is.
Result<JobStore> join_store(const LaunchEnvironment& launch, const StoreAccess& access, Instant deadline,
                            const Log& log);

}  // namespace tutti
