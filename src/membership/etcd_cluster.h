// EtcdCluster: the members of an etcd cluster as one that answers. A call goes to one member; when that one cannot be
// reached, does not answer in time or says that it cannot serve now (no leader, an election), the next is asked,
// until the deadline. So the death of a member or of the leader costs time and nothing else.
//
// A request whose answer was lost may have been acted upon, and is sent again all the same: what must not happen
// twice is a transaction that can tell (etcd_session.h).
//
// Where there is a user, the first call logs in, and each later one whose token etcd no longer takes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "src/membership/etcd_protocol.h"
#include "src/membership/http_client.h"
#include "src/membership/tcp_socket.h"

namespace tutti {

struct EtcdLimits {
  Nanoseconds one_try = std::chrono::seconds(3);   // then another member is asked
  Nanoseconds silence = std::chrono::seconds(30);  // PEER_LOST when nobody could serve a call for so long
  Nanoseconds grace = std::chrono::seconds(1);     // beyond the deadline, for the last answer
  std::size_t reply_bytes = std::size_t{96} << 20;
};

// How to get in: TLS or not, and who logs in.
struct EtcdAccess {
  bool tls = false;
  HttpCertificates certificates;
  std::string user;  // empty: nobody logs in
  std::string password;
};

class EtcdCluster {
 public:
  struct Answer {
    Status status;
    int refusal = 0;        // gRPC's number, where etcd refused: the status has its words
    std::string body;       // when the status is ok
    bool in_doubt = false;  // another try may have been acted upon as well, or this one where the status is not ok
  };
  // Judges one line; false ends the stream.
  using TakeLine = std::function<bool(std::string_view)>;

  EtcdCluster(std::vector<HostPort> members, std::unique_ptr<HttpClient> client, EtcdAccess access, EtcdLimits limits)
      : members_(std::move(members)), client_(std::move(client)), access_(std::move(access)), limits_(limits) {}

  // `path` such as "kv/txn". Thread-safe. The first try is made even after the deadline, with the grace.
  // - TIMEOUT: the deadline passed; the cause of the last try is in the sentence.
  // - PEER_LOST: the cluster has answered before, but in this call no member did for the time of silence.
  // - INVALID: the members answer, but not as etcd does.
  // - what etcd refused for good: SYSTEM, INVALID where it calls the request wrong, `refusal` its number.
  Answer call(std::string_view path, const std::string& request, Instant deadline);

  // One stream from one member, until it ends, the taker has enough, or `until`. Ok unless it did not even begin.
  Status watch(const std::string& request, Instant until, const TakeLine& take);

  // Another member is asked first from now on.
  void leave_member() { first_.fetch_add(1, std::memory_order_relaxed); }

 private:
  struct Try {
    Answer answer;
    bool may_pass = false;
    bool is_foreign = false;  // whoever answered is no etcd
    bool wants_login = false;
  };

  Try try_once(std::size_t member, std::string_view path, const std::string& request, Nanoseconds limit);
  Try ask(std::size_t member, std::string_view path, const std::string& request, Nanoseconds limit,
          const std::string& token);
  Try log_in(std::size_t member, Nanoseconds limit);
  std::string token() const;
  void set_token(std::string token);
  std::string url(std::size_t member, std::string_view path) const;

  const std::vector<HostPort> members_;
  const std::unique_ptr<HttpClient> client_;
  const EtcdAccess access_;
  const EtcdLimits limits_;
  mutable std::mutex mutex_;
  std::string token_;                  // that etcd gave us for the password; empty: not logged in
  std::atomic<std::size_t> first_{0};  // the member to ask, modulo their number
  std::atomic<bool> has_answered_{false};
};

}  // namespace tutti
