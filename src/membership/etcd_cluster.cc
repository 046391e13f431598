#include "src/membership/etcd_cluster.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "src/base/format.h"

namespace tutti {

namespace {

using namespace std::chrono_literals;

constexpr int kHttpOk = 200;
constexpr std::size_t kWordsMax = 300;  // of a stranger's own words in a sentence of ours

std::string shortened(std::string text) {
  if (text.size() > kWordsMax) text = text.substr(0, kWordsMax) + "...";
  return text;
}

// Collects a body up to a limit.
class Collector {
 public:
  explicit Collector(std::size_t limit) : limit_(limit) {}
  bool take(std::string_view piece) {
    if (piece.size() > limit_ - text.size()) return false;
    text += piece;
    return true;
  }
  std::string text;

 private:
  std::size_t limit_;
};

// The refusals that remain when those that may pass are taken out.
Code code_of(const EtcdRefusal& refusal) {
  constexpr int kInvalidArgument = 3;
  constexpr int kUnauthenticated = 16;
  constexpr int kPermissionDenied = 7;
  const bool is_ours =
      refusal.code == kInvalidArgument || refusal.code == kUnauthenticated || refusal.code == kPermissionDenied;
  return is_ours ? Code::invalid : Code::system;
}

}  // namespace

std::string EtcdCluster::url(std::size_t member, std::string_view path) const {
  return format("{}://{}/v3/{}", access_.tls ? "https" : "http", to_string(members_[member]), path);
}

std::string EtcdCluster::token() const {
  const std::lock_guard lock(mutex_);
  return token_;
}

void EtcdCluster::set_token(std::string token) {
  const std::lock_guard lock(mutex_);
  token_ = std::move(token);
}

// Threads whose token has become old at the same time log in each for itself: etcd takes any number of tokens.
EtcdCluster::Try EtcdCluster::try_once(std::size_t member, std::string_view path, const std::string& request,
                                       Nanoseconds limit) {
  if (access_.user.empty()) return ask(member, path, request, limit, {});
  const Instant until = deadline_after(monotonic_now(), limit);
  const auto left = [&] { return std::max<Nanoseconds>(until - monotonic_now(), 1ms); };
  if (const std::string known = token(); !known.empty()) {
    Try one = ask(member, path, request, left(), known);
    if (!one.wants_login) return one;
  }
  Try entered = log_in(member, left());
  return entered.answer.status.is_ok() ? ask(member, path, request, left(), token()) : entered;
}

EtcdCluster::Try EtcdCluster::log_in(std::size_t member, Nanoseconds limit) {
  Try entered = ask(member, "auth/authenticate", encode_etcd_login(access_.user, access_.password), limit, {});
  Status& status = entered.answer.status;
  if (status.is_ok()) {
    auto token = decode_etcd_token(entered.answer.body);
    if (token) set_token(*std::move(token));
    status = token.status();
  }
  status = status.prefixed(format("log in as {} (TUTTI_ETCD_USER)", access_.user));
  entered.answer.in_doubt = false;  // of what was to be done, nothing is
  return entered;
}

EtcdCluster::Try EtcdCluster::ask(std::size_t member, std::string_view path, const std::string& request,
                                  Nanoseconds limit, const std::string& token) {
  const std::string name = to_string(members_[member]);
  Collector body(limits_.reply_bytes);
  const HttpReply reply = client_->post(
      url(member, path), request, limit, [&](std::string_view piece) { return body.take(piece); }, token);
  Try result;
  result.answer.in_doubt = reply.may_be_repeated;
  const auto lost = [&](std::string words) {
    result.may_pass = true;
    result.answer.in_doubt |= reply.end != HttpReply::End::unreachable;
    result.answer.status = Status(Code::again, format("member {}: {}", name, shortened(std::move(words))));
    return result;
  };
  switch (reply.end) {
    case HttpReply::End::answered:
      break;
    case HttpReply::End::stopped:
      result.answer.in_doubt = true;
      result.answer.status =
          Status(Code::system, format("member {} answers with more than {}, which is too much to take", name,
                                      format_bytes(limits_.reply_bytes)));
      return result;
    case HttpReply::End::timed_out:
      return lost(format("no answer within {}", format_duration(limit)));
    case HttpReply::End::distrusted:
      result.answer.status =
          Status(Code::invalid, format("member {}: {}. See TUTTI_ETCD_AUTHORITY, TUTTI_ETCD_CERTIFICATE and "
                                       "TUTTI_ETCD_KEY",
                                       name, reply.words));
      return result;
    case HttpReply::End::unreachable:
    case HttpReply::End::lost:
      return lost(reply.words);
  }
  if (reply.http_status == kHttpOk) {
    result.answer.body = std::move(body.text);
    return result;
  }
  const auto refusal = decode_etcd_refusal(body.text);
  if (!refusal) {
    result.is_foreign = true;
    return lost(format("HTTP status {}, {}", reply.http_status, refusal.status().text()));
  }
  result.wants_login = refusal->wants_login();
  if (refusal->may_pass()) return lost(format("{} (gRPC {})", refusal->text, refusal->code));
  result.answer.refusal = refusal->code;
  result.answer.status = Status(
      code_of(*refusal), format("member {} refuses: {} (gRPC {})", name, shortened(refusal->text), refusal->code));
  return result;
}

EtcdCluster::Answer EtcdCluster::call(std::string_view path, const std::string& request, Instant deadline) {
  const Instant start = monotonic_now();
  Nanoseconds pause = 10ms;
  bool in_doubt = false;
  std::size_t foreign = 0;
  for (std::size_t tries = 1;; ++tries) {
    const Instant now = monotonic_now();
    const Nanoseconds left = deadline == kNever ? limits_.one_try : std::max<Nanoseconds>(deadline - now, 0ns);
    const std::size_t first = first_.load(std::memory_order_relaxed);
    Try one = try_once(first % members_.size(), path, request, std::min(limits_.one_try, left + limits_.grace));
    if (!one.may_pass) {
      one.answer.in_doubt |= in_doubt;
      has_answered_.store(true, std::memory_order_relaxed);
      return one.answer;
    }
    in_doubt |= one.answer.in_doubt;
    foreign = one.is_foreign ? foreign + 1 : 0;
    std::size_t expected = first;  // unless another call has left this member meanwhile
    first_.compare_exchange_strong(expected, first + 1, std::memory_order_relaxed);

    const Instant then = monotonic_now();
    const auto end = [&](Code code, std::string_view what) {
      Answer answer;
      answer.in_doubt = in_doubt;
      answer.status = Status(code, format("{}; {} {} in {}. {}", one.answer.status.text(), tries,
                                          tries == 1 ? "try" : "tries", format_duration(then - start), what));
      return answer;
    };
    constexpr std::size_t kForeignMax = 3;
    if (foreign >= std::max(kForeignMax, members_.size()))
      return end(Code::invalid, "This is not etcd's v3 API: check TUTTI_STORE");
    if (has_answered_.load(std::memory_order_relaxed) && then - start >= limits_.silence)
      return end(Code::peer_lost, "No member of the cluster could serve all that time");
    if (then < deadline && tries % members_.size() == 0) {
      std::this_thread::sleep_for(std::min<Nanoseconds>(pause, deadline - then));
      pause = std::min<Nanoseconds>(pause * 2, 250ms);
    }
    if (monotonic_now() >= deadline) return end(Code::timeout, "Check that etcd runs and that it can be reached");
  }
}

Status EtcdCluster::watch(const std::string& request, Instant until, const TakeLine& take) {
  const std::size_t member = first_.load(std::memory_order_relaxed) % members_.size();
  const Nanoseconds limit = std::max<Nanoseconds>(until - monotonic_now(), 1ms);
  std::string unfinished;
  bool has_begun = false;
  bool is_too_long = false;
  const HttpReply reply = client_->post(
      url(member, "watch"), request, limit,
      [&](std::string_view piece) {
        while (true) {
          const std::size_t end = piece.find('\n');
          if (piece.substr(0, end).size() > limits_.reply_bytes - unfinished.size()) {
            is_too_long = true;
            return false;
          }
          unfinished += piece.substr(0, end);
          if (end == std::string_view::npos) return true;
          has_begun = true;
          const bool goes_on = take(unfinished);
          unfinished.clear();
          if (!goes_on) return false;
          piece.remove_prefix(end + 1);
        }
      },
      token());
  if (is_too_long) {
    return {Code::system, format("member {} sends an event of more than {}, which is too much to take",
                                 to_string(members_[member]), format_bytes(limits_.reply_bytes))};
  }
  if (has_begun) return {};
  return {Code::again, format("member {}: a watch did not begin: {}", to_string(members_[member]),
                              reply.words.empty() ? format("HTTP status {}", reply.http_status) : reply.words)};
}

}  // namespace tutti
