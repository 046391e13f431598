// EtcdSession: makes a change happen exactly once although its answer may be lost and it may be sent again.
//
// A session is a key of its own that holds a mark of its last change. Every change is a transaction that expects the
// mark before and writes its own: sent twice it happens once, and who sends it again learns that it has happened. A
// session serves one change at a time; a store has as many as it has calls at once. It lives on a lease that nobody
// renews: it is given up for a new one well before that runs out, and goes by itself when its process dies.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "src/membership/etcd_cluster.h"
#include "src/membership/etcd_protocol.h"

namespace tutti {

class EtcdSession {
 public:
  enum class What {
    happened,
    happened_unseen,  // but the answer with the responses was lost
    unmet,            // a condition did not hold; nothing happened and nothing will
    forgotten,        // the session is gone; nothing happened and nothing will: open another and try again
  };
  struct Outcome {
    Status status;    // when not ok: as EtcdCluster::call, or PEER_LOST where what happened cannot be found out
    int refusal = 0;  // by gRPC's number, where etcd refused and nothing happened
    What what = What::unmet;
    std::int64_t revision = 0;            // of the change, where it happened
    std::vector<EtcdResponse> responses;  // of the operations; when unmet, of the ranges of `otherwise`
  };

  // `prefix` such as "tutti/session/".
  static Result<EtcdSession> open(EtcdCluster& cluster, const std::string& prefix, std::int64_t lease_seconds,
                                  Instant deadline);

  // False once it should be replaced, and after an outcome that leaves open what happened.
  bool is_usable(Instant now) const { return now < given_up_at_; }

  Outcome change(EtcdCluster& cluster, const std::vector<EtcdCompare>& conditions,
                 const std::vector<EtcdOperation>& operations, const std::vector<EtcdOperation>& otherwise,
                 Instant deadline);

 private:
  EtcdSession() = default;

  // The transaction that moves the mark from mark_ to `next`, with what is to happen besides.
  EtcdTransaction transaction(const std::string& next, std::vector<EtcdOperation> operations,
                              std::vector<EtcdOperation> otherwise) const;
  Outcome give_up(Status why, int refusal = 0);
  // After `unmet` in doubt: a copy of the change may be on its way and find its conditions true when it arrives.
  // Moves the mark, so that it cannot happen any more, and finds out whether it has.
  Outcome settle(EtcdCluster& cluster, const std::string& next, Outcome unmet, Instant deadline);

  std::string key_;
  std::uint64_t number_ = 0;  // of the last change
  std::string mark_ = "0";
  Instant given_up_at_{};
};

}  // namespace tutti
