// What is said to etcd and what it answers: the v3 API as its HTTP gateway writes it in JSON, as far as the etcd
// store needs it. Pure: requests become text, text becomes replies, and nothing that an answer contains makes it read
// out of bounds. Bytes are base64 there, 64-bit numbers are text, and what is zero, false or empty is left out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/status.h"

namespace tutti {

std::string to_base64(std::string_view bytes);
Result<std::string> from_base64(std::string_view text);

// The end of the range of all keys that begin with `prefix`. REQUIRES: it has a byte that is not 0xff.
std::string etcd_range_end(std::string prefix);

// ---- Requests. An empty range_end means the key alone.

struct EtcdRange {
  std::string key;
  std::string range_end;
  std::int64_t revision = 0;  // 0: as of now
  bool count_only = false;
};

struct EtcdCompare {
  enum class What { create_revision, mod_revision, value };
  std::string key;
  What what = What::value;
  std::int64_t revision = 0;  // 0: the key is absent
  std::string value;
};

struct EtcdOperation {
  enum class Kind { put, range, remove };
  Kind kind = Kind::put;
  std::string key;
  std::string range_end;   // not of a put
  std::string value;       // of a put
  std::int64_t lease = 0;  // of a put
  bool keeps_lease = false;
};

struct EtcdTransaction {
  std::vector<EtcdCompare> compares;  // all must hold
  std::vector<EtcdOperation> success;
  std::vector<EtcdOperation> failure;
};

std::string encode(const EtcdRange& range);
std::string encode(const EtcdTransaction& transaction);
std::string encode_watch(const EtcdRange& range);  // from range.revision on
std::string encode_lease_grant(std::int64_t seconds);
std::string encode_lease(std::int64_t lease);  // of a keep-alive or a revocation
std::string encode_etcd_login(std::string_view user, std::string_view password);

// ---- Replies. INVALID with the reason when the text is not such a reply.

struct EtcdKeyValue {
  std::string key;
  std::string value;
  std::int64_t create_revision = 0;
  std::int64_t mod_revision = 0;
};

// Of a range, a put or a removal.
struct EtcdResponse {
  std::vector<EtcdKeyValue> entries;
  std::int64_t count = 0;
  std::int64_t removed = 0;
};

struct EtcdRangeReply {
  std::int64_t revision = 0;
  EtcdResponse found;
};

struct EtcdTransactionReply {
  std::int64_t revision = 0;
  bool succeeded = false;
  std::vector<EtcdResponse> responses;  // of the branch that was taken
};

struct EtcdEvent {
  bool is_removal = false;
  EtcdKeyValue entry;
};

struct EtcdWatchReply {
  std::int64_t revision = 0;
  bool is_created = false;
  bool is_cancelled = false;
  bool is_fragment = false;  // more events of the same revision follow
  std::vector<EtcdEvent> events;
};

struct EtcdLeaseReply {
  std::int64_t lease = 0;
  std::int64_t seconds_left = 0;  // 0: there is no such lease
};

// What etcd says when it cannot do as asked; `code` is gRPC's number.
struct EtcdRefusal {
  enum Code : int { kNotFound = 5 };
  int code = 0;
  std::string text;

  // Whether another try, or another member, may do better. The request may then have been acted upon all the same.
  bool may_pass() const;
  // Whether the token that was shown is no longer good, or none was: logging in (again) may help.
  bool wants_login() const;
};

Result<EtcdRangeReply> decode_etcd_range(std::string_view text);
Result<EtcdTransactionReply> decode_etcd_transaction(std::string_view text);
Result<EtcdWatchReply> decode_etcd_watch(std::string_view line);
Result<EtcdLeaseReply> decode_etcd_lease_grant(std::string_view text);
Result<EtcdLeaseReply> decode_etcd_keep_alive(std::string_view text);
Result<std::string> decode_etcd_token(std::string_view text);
Result<EtcdRefusal> decode_etcd_refusal(std::string_view text);

}  // namespace tutti
