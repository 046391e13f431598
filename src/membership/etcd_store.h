// EtcdStore: a store in an etcd cluster (v3 API, through its HTTP gateway), for sites that run one. It outlives every
// process of the job, and the death of a minority of etcd's members.
//
// - Keys stand below PREFIX/data/, sealed with the job's secret (store_seal.h), on a lease that the job's processes
//   share and keep alive (etcd_lease.h). etcd's own users and TLS keep others away from them.
// - Every change happens exactly once, though its answer be lost (etcd_session.h).
// - Who waits is woken by a watch. It is renewed every few seconds from where it stood, at the next member each time,
//   so that one that has fallen silent is left.
// - A call ends by its deadline; if the cluster does not even answer, at most one second later. PEER_LOST comes when
//   the cluster had answered before and then no member could serve for half a minute.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "src/membership/etcd_cluster.h"
#include "src/membership/etcd_lease.h"
#include "src/membership/etcd_session.h"
#include "src/membership/store.h"
#include "src/membership/store_seal.h"

namespace tutti {

struct EtcdAddress {
  bool tls = false;
  std::vector<HostPort> members;
  std::string prefix;
};

// "etcd://HOST:PORT[,HOST:PORT...][/PREFIX]", or "etcds://..." for TLS; the prefix is "tutti" where none is given.
Result<EtcdAddress> parse_etcd_address(std::string_view address);

class EtcdStore final : public Store {
 public:
  struct Options {
    EtcdLimits limits;
    EtcdAccess access;                                 // but for its `tls`, which the address tells
    Nanoseconds watch_time = std::chrono::seconds(5);  // then it is renewed
    std::int64_t lease_seconds = 3600;                 // for which the keys outlive the job
    std::int64_t session_seconds = 600;
  };

  static Result<std::unique_ptr<EtcdStore>> create(std::string_view address, std::string_view secret,
                                                   Options options);
  static Result<std::unique_ptr<EtcdStore>> create(std::string_view address, std::string_view secret) {
    return create(address, secret, Options());
  }

  Status set(std::string_view key, std::string_view value, Instant deadline) override;
  Result<std::string> get(std::string_view key, Instant deadline) override;
  Result<Swap> compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                std::string_view desired, Instant deadline) override;
  Result<std::int64_t> add(std::string_view key, std::int64_t delta, Instant deadline) override;
  Gathered gather(std::string_view prefix, std::size_t count, Instant deadline) override;
  Result<std::int64_t> remove(std::string_view prefix, Instant deadline) override;
  std::string address() const override;

 private:
  using Entries = std::map<std::string, std::string, std::less<>>;

  // What a key holds, and since which revision (0: it is absent).
  struct State {
    std::int64_t revision = 0;
    std::optional<std::string> value;
  };
  // What to store in its place; nothing: leave it.
  using Decide = std::function<Result<std::optional<std::string>>(const State&)>;

  EtcdStore(EtcdAddress address, std::unique_ptr<HttpClient> client, const StoreSeal& seal, Options options);

  std::string data_key(std::string_view key) const { return data_prefix_ + std::string(key); }
  // With the address in front of the sentence.
  Result<State> read(const std::string& name, Instant deadline);
  Result<State> to_state(const std::string& name, const EtcdResponse& found) const;
  // Decides on what the key holds, and again where that has changed meanwhile; the result is what was decided on.
  Result<State> change_key(const std::string& name, State known, const Decide& decide, Instant deadline);
  EtcdSession::Outcome change(const std::vector<EtcdCompare>& conditions, EtcdOperation operation,
                              const std::vector<EtcdOperation>& otherwise, Instant deadline);

  // Reads the range and follows it until `ready`; what was there last is in `entries`, by the store's own names.
  Status follow(const EtcdRange& range, Instant deadline, Entries& entries, const std::function<bool()>& ready);
  Result<std::int64_t> read_entries(const EtcdRange& range, Instant deadline, Entries& entries);
  Status apply(const EtcdEvent& event, Entries& entries) const;

  const EtcdAddress address_;
  const Options options_;
  const std::string data_prefix_;
  const StoreSeal seal_;
  EtcdCluster cluster_;
  EtcdLease lease_;
  std::mutex mutex_;
  std::vector<EtcdSession> sessions_;  // that no call uses
};

}  // namespace tutti
