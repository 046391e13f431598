#include "src/membership/etcd_session.h"

#include <chrono>
#include <utility>

#include "src/base/format.h"

namespace tutti {

namespace {

Status strange(std::string_view what) { return {Code::internal, format("etcd answers a transaction with {}", what)}; }

// The mark in a failed transaction's first response; nothing when the session is gone.
const EtcdKeyValue* mark_in(const EtcdTransactionReply& reply) {
  return reply.responses.front().entries.empty() ? nullptr : &reply.responses.front().entries.front();
}

// The reply with as many responses as it must have.
Result<EtcdTransactionReply> read(const std::string& body, const EtcdTransaction& asked) {
  auto reply = decode_etcd_transaction(body);
  if (!reply) return reply;
  const std::size_t expected = (reply->succeeded ? asked.success : asked.failure).size();
  if (reply->responses.size() == expected) return reply;
  return strange(format("{} responses to {} operations", reply->responses.size(), expected));
}

}  // namespace

Result<EtcdSession> EtcdSession::open(EtcdCluster& cluster, const std::string& prefix, std::int64_t lease_seconds,
                                      Instant deadline) {
  const Instant start = monotonic_now();
  const auto granted = cluster.call("lease/grant", encode_lease_grant(lease_seconds), deadline);
  if (!granted.status) return granted.status;
  const auto lease = decode_etcd_lease_grant(granted.body);
  if (!lease) return lease.status();
  EtcdSession session;
  session.key_ = format("{}{:016x}", prefix, static_cast<std::uint64_t>(lease->lease));
  session.given_up_at_ = deadline_after(start, std::chrono::seconds(lease_seconds) / 2);
  // Only where it is absent: a copy that arrives late must not turn the mark back.
  const EtcdTransaction create{{{.key = session.key_, .what = EtcdCompare::What::create_revision}},
                               {{.key = session.key_, .value = session.mark_, .lease = lease->lease}},
                               {}};
  const auto created = cluster.call("kv/txn", encode(create), deadline);
  if (!created.status) return created.status;
  return session;
}

EtcdTransaction EtcdSession::transaction(const std::string& next, std::vector<EtcdOperation> operations,
                                         std::vector<EtcdOperation> otherwise) const {
  operations.insert(operations.begin(), EtcdOperation{.key = key_, .value = next, .keeps_lease = true});
  otherwise.insert(otherwise.begin(), EtcdOperation{.kind = EtcdOperation::Kind::range, .key = key_});
  return {{{.key = key_, .value = mark_}}, std::move(operations), std::move(otherwise)};
}

EtcdSession::Outcome EtcdSession::give_up(Status why, int refusal) {
  given_up_at_ = Instant{};
  Outcome outcome;
  outcome.status = std::move(why);
  outcome.refusal = refusal;
  return outcome;
}

EtcdSession::Outcome EtcdSession::change(EtcdCluster& cluster, const std::vector<EtcdCompare>& conditions,
                                         const std::vector<EtcdOperation>& operations,
                                         const std::vector<EtcdOperation>& otherwise, Instant deadline) {
  const std::string next = format("{}", ++number_);
  EtcdTransaction asked = transaction(next, operations, otherwise);
  asked.compares.insert(asked.compares.end(), conditions.begin(), conditions.end());
  const auto answer = cluster.call("kv/txn", encode(asked), deadline);
  if (!answer.status) {
    if (!answer.in_doubt) return give_up(answer.status, answer.refusal);
    return give_up({answer.status.code(), answer.status.text() + ". Whether the change has happened is open"});
  }
  auto reply = read(answer.body, asked);
  if (!reply) return give_up(reply.status());
  Outcome outcome;
  if (reply->succeeded) {
    mark_ = next;
    outcome.what = What::happened;
    outcome.revision = reply->revision;
  } else if (const EtcdKeyValue* const mark = mark_in(*reply); mark == nullptr) {
    if (answer.in_doubt)
      return give_up({Code::peer_lost,
                      "etcd has forgotten this process, which could not reach it for too long; whether "
                      "its last change has happened is open"});
    given_up_at_ = Instant{};
    outcome.what = What::forgotten;
    return outcome;
  } else if (mark->value == next) {
    mark_ = next;
    outcome.what = What::happened_unseen;
    outcome.revision = mark->mod_revision;
    return outcome;
  } else if (mark->value != mark_) {
    return give_up(strange("a mark that was never set"));
  }
  reply->responses.erase(reply->responses.begin());
  outcome.responses = std::move(reply->responses);
  if (outcome.what == What::unmet && answer.in_doubt) return settle(cluster, next, std::move(outcome), deadline);
  return outcome;
}

EtcdSession::Outcome EtcdSession::settle(EtcdCluster& cluster, const std::string& next, Outcome unmet,
                                         Instant deadline) {
  const std::string settled = next + "-";
  const EtcdTransaction asked = transaction(settled, {}, {});
  const auto answer = cluster.call("kv/txn", encode(asked), deadline);
  if (!answer.status) {
    return give_up({answer.status.code(), answer.status.text() + ". Whether the change has happened is open"});
  }
  const auto reply = read(answer.body, asked);
  if (!reply) return give_up(reply.status());
  const EtcdKeyValue* const mark = reply->succeeded ? nullptr : mark_in(*reply);
  if (reply->succeeded || (mark != nullptr && mark->value == settled)) {
    mark_ = settled;
    return unmet;
  }
  if (mark == nullptr) {
    return give_up(
        {Code::peer_lost, "etcd has forgotten this process; whether its last change has happened is open"});
  }
  if (mark->value != next) return give_up(strange("a mark that was never set"));
  mark_ = next;
  Outcome outcome;
  outcome.what = What::happened_unseen;
  outcome.revision = mark->mod_revision;
  return outcome;
}

}  // namespace tutti
