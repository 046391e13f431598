#include "src/membership/etcd_store.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "src/base/format.h"
#include "src/membership/store_errors.h"
#include "src/membership/store_table.h"

namespace tutti {

namespace {

constexpr std::string_view kScheme = "etcd://";
constexpr std::string_view kTlsScheme = "etcds://";
constexpr std::string_view kDefaultPrefix = "tutti";

}  // namespace

Result<EtcdAddress> parse_etcd_address(std::string_view address) {
  const auto bad = [&] {
    return Status(Code::invalid,
                  format("the address \"{}\" is malformed; expected etcd://HOST:PORT[,HOST:PORT...][/PREFIX], or "
                         "etcds:// for TLS",
                         address));
  };
  EtcdAddress parsed;
  parsed.tls = address.starts_with(kTlsScheme);
  if (!parsed.tls && !address.starts_with(kScheme)) return bad();
  std::string_view rest = address.substr(parsed.tls ? kTlsScheme.size() : kScheme.size());
  const std::size_t slash = rest.find('/');
  parsed.prefix = slash == std::string_view::npos ? kDefaultPrefix : rest.substr(slash + 1);
  while (parsed.prefix.ends_with('/')) parsed.prefix.pop_back();
  if (parsed.prefix.empty()) parsed.prefix = kDefaultPrefix;
  if (parsed.prefix.size() > Store::kKeyBytes) return bad();
  rest = rest.substr(0, slash);
  while (true) {
    const std::size_t comma = rest.find(',');
    const auto member = parse_host_port(rest.substr(0, comma), address);
    if (!member) return bad();
    parsed.members.push_back(*member);
    if (comma == std::string_view::npos) return parsed;
    rest.remove_prefix(comma + 1);
  }
}

Result<std::unique_ptr<EtcdStore>> EtcdStore::create(std::string_view address, std::string_view secret,
                                                     Options options) {
  auto parsed = parse_etcd_address(address);
  if (!parsed) return parsed.status();
  const auto seal = StoreSeal::create(secret, "tutti etcd store v1");
  if (!seal) return seal.status();
  options.access.tls = parsed->tls;
  auto client = HttpClient::create(options.access.certificates);
  if (!client) return client.status().prefixed(format("store {}", address));
  return std::unique_ptr<EtcdStore>(new EtcdStore(*std::move(parsed), *std::move(client), *seal, std::move(options)));
}

EtcdStore::EtcdStore(EtcdAddress address, std::unique_ptr<HttpClient> client, const StoreSeal& seal, Options options)
    : address_(std::move(address)),
      options_(std::move(options)),
      data_prefix_(address_.prefix + "/data/"),
      seal_(seal),
      cluster_(address_.members, std::move(client), options_.access, options_.limits),
      lease_(cluster_, seal_, address_.prefix + "/lease", options_.lease_seconds) {}

std::string EtcdStore::address() const {
  std::string text(address_.tls ? kTlsScheme : kScheme);
  for (const HostPort& member : address_.members) {
    if (!text.ends_with('/')) text += ',';
    text += to_string(member);
  }
  return text + '/' + address_.prefix;
}

// ---- Changes.

Result<EtcdStore::State> EtcdStore::to_state(const std::string& name, const EtcdResponse& found) const {
  if (found.entries.empty()) return State{};
  auto value = seal_.open(name, found.entries.front().value);
  if (!value) return value.status();
  return State{found.entries.front().mod_revision, *std::move(value)};
}

Result<EtcdStore::State> EtcdStore::read(const std::string& name, Instant deadline) {
  const auto answer = cluster_.call("kv/range", encode(EtcdRange{.key = name}), deadline);
  if (!answer.status) return at_store(*this, answer.status);
  const auto reply = decode_etcd_range(answer.body);
  auto state = reply ? to_state(name, reply->found) : Result<State>(reply.status());
  if (!state) return at_store(*this, state.status());
  return state;
}

// With the job's lease where it puts, in a session; both are had anew where etcd does not know them any more.
EtcdSession::Outcome EtcdStore::change(const std::vector<EtcdCompare>& conditions, EtcdOperation operation,
                                       const std::vector<EtcdOperation>& otherwise, Instant deadline) {
  const auto failed = [&](const Status& status) {
    EtcdSession::Outcome outcome;
    outcome.status = at_store(*this, status);
    return outcome;
  };
  while (true) {
    if (operation.kind == EtcdOperation::Kind::put) {
      const auto lease = lease_.number(deadline);
      if (!lease) return failed(lease.status());
      operation.lease = *lease;
    }
    std::optional<EtcdSession> session;
    {
      const std::lock_guard lock(mutex_);
      while (!sessions_.empty() && !session) {
        if (sessions_.back().is_usable(monotonic_now())) session = std::move(sessions_.back());
        sessions_.pop_back();
      }
    }
    if (!session) {
      auto opened = EtcdSession::open(cluster_, address_.prefix + "/session/", options_.session_seconds, deadline);
      if (!opened) return failed(opened.status());
      session = *std::move(opened);
    }
    auto outcome = session->change(cluster_, conditions, {operation}, otherwise, deadline);
    if (session->is_usable(monotonic_now())) {
      const std::lock_guard lock(mutex_);
      sessions_.push_back(*std::move(session));
    }
    const bool lease_is_gone = outcome.refusal == EtcdRefusal::kNotFound;
    if (lease_is_gone) lease_.forget(operation.lease);
    const bool tries_again = lease_is_gone || (outcome.status && outcome.what == EtcdSession::What::forgotten);
    if (!tries_again || monotonic_now() >= deadline) {
      if (outcome.status && outcome.what == EtcdSession::What::forgotten)
        return failed({Code::timeout, "etcd forgot this process, and the deadline passed before it could try again"});
      outcome.status = at_store(*this, outcome.status);
      return outcome;
    }
  }
}

Result<EtcdStore::State> EtcdStore::change_key(const std::string& name, State known, const Decide& decide,
                                               Instant deadline) {
  while (true) {
    const auto value = decide(known);
    if (!value) return at_store(*this, value.status());
    if (!*value) return known;
    const auto sealed = seal_.seal(name, **value);
    if (!sealed) return at_store(*this, sealed.status());
    const auto outcome =
        change({{.key = name, .what = EtcdCompare::What::mod_revision, .revision = known.revision}},
               {.key = name, .value = *sealed}, {{.kind = EtcdOperation::Kind::range, .key = name}}, deadline);
    if (!outcome.status) return outcome.status;
    if (outcome.what != EtcdSession::What::unmet) return known;
    auto now = to_state(name, outcome.responses.front());
    if (!now) return at_store(*this, now.status());
    known = *std::move(now);
    if (monotonic_now() >= deadline) {
      return at_store(*this, {Code::timeout,
                              "others changed the key again and again until the deadline; nothing was "
                              "stored"});
    }
  }
}

Status EtcdStore::set(std::string_view key, std::string_view value, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_value(value)));
  const std::string name = data_key(key);
  const auto sealed = seal_.seal(name, value);
  if (!sealed) return at_store(*this, sealed.status());
  return change({}, {.key = name, .value = *sealed}, {}, deadline).status;
}

Result<Store::Swap> EtcdStore::compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                                std::string_view desired, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_value(desired)));
  if (expected) TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_value(*expected)));
  const std::string name = data_key(key);
  bool matches = false;
  // By the revision instead of the value: two values of the largest size do not fit in one request.
  const auto decide = [&](const State& state) -> Result<std::optional<std::string>> {
    matches = state.value ? expected == std::string_view(*state.value) : !expected;
    return matches ? std::optional<std::string>(desired) : std::nullopt;
  };
  State known;
  if (expected) {
    auto state = read(name, deadline);
    if (!state) return state.status();
    known = *std::move(state);
  }
  auto state = change_key(name, std::move(known), decide, deadline);
  if (!state) return state.status();
  if (matches) return Swap{true, std::string(desired)};
  return Swap{false, std::move(state->value)};
}

Result<std::int64_t> EtcdStore::add(std::string_view key, std::int64_t delta, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  const std::string name = data_key(key);
  std::int64_t sum = 0;
  const auto decide = [&](const State& state) -> Result<std::optional<std::string>> {
    StoreTable table;  // knows what a number is and when a sum does not fit
    if (state.value) TUTTI_RETURN_IF_ERROR(table.set(key, *state.value));
    const auto added = table.add(key, delta);
    if (!added) return added.status();
    sum = *added;
    return std::optional<std::string>(format("{}", sum));
  };
  auto known = read(name, deadline);
  if (!known) return known.status();
  const auto state = change_key(name, *std::move(known), decide, deadline);
  if (!state) return state.status();
  return sum;
}

Result<std::int64_t> EtcdStore::remove(std::string_view prefix, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_prefix(prefix)));
  const std::string first = data_key(prefix);
  const std::string end = etcd_range_end(first);
  const auto outcome =
      change({}, {.kind = EtcdOperation::Kind::remove, .key = first, .range_end = end}, {}, deadline);
  if (!outcome.status) return outcome.status;
  if (outcome.what == EtcdSession::What::happened) return outcome.responses.front().removed;
  // The answer was lost; how many there were is still known of the revision before.
  const EtcdRange before{.key = first, .range_end = end, .revision = outcome.revision - 1, .count_only = true};
  const auto answer = cluster_.call("kv/range", encode(before), deadline);
  const auto reply = answer.status ? decode_etcd_range(answer.body) : Result<EtcdRangeReply>(answer.status);
  if (reply) return reply->found.count;
  return at_store(*this, {Code::peer_lost, format("the keys are removed, but how many they were cannot be said: {}",
                                                  reply.status().text())});
}

// ---- Waiting.

Result<std::string> EtcdStore::get(std::string_view key, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  Entries entries;
  const Status status = follow({.key = data_key(key)}, deadline, entries, [&] { return !entries.empty(); });
  if (!status) return at_store(*this, status);
  if (entries.empty()) return at_store(*this, absent_key(key));
  return std::move(entries.begin()->second);
}

Store::Gathered EtcdStore::gather(std::string_view prefix, std::size_t count, Instant deadline) {
  if (const Status status = StoreTable::check_prefix(prefix); !status) return {at_store(*this, status), {}};
  Entries entries;
  const std::string first = data_key(prefix);
  Status status = follow({.key = first, .range_end = etcd_range_end(first)}, deadline, entries,
                         [&] { return entries.size() >= count; });
  if (status && entries.size() < count) status = too_few_keys(prefix, entries.size(), count);
  return {at_store(*this, status), {entries.begin(), entries.end()}};
}

Status EtcdStore::apply(const EtcdEvent& event, Entries& entries) const {
  if (!event.entry.key.starts_with(data_prefix_)) {
    return {Code::invalid, format("etcd sends an event of the key {}, which nobody asked for", event.entry.key)};
  }
  std::string key = event.entry.key.substr(data_prefix_.size());
  if (event.is_removal) {
    entries.erase(key);
    return {};
  }
  auto value = seal_.open(event.entry.key, event.entry.value);
  if (!value) return value.status();
  entries[std::move(key)] = *std::move(value);
  return {};
}

Result<std::int64_t> EtcdStore::read_entries(const EtcdRange& range, Instant deadline, Entries& entries) {
  const auto answer = cluster_.call("kv/range", encode(range), deadline);
  if (!answer.status) return answer.status;
  const auto reply = decode_etcd_range(answer.body);
  if (!reply) return reply.status();
  entries.clear();
  for (const EtcdKeyValue& entry : reply->found.entries) {
    TUTTI_RETURN_IF_ERROR(apply({false, entry}, entries));
  }
  return reply->revision;
}

// Ok as well when the deadline passed before `ready`: what that means is for the caller to say.
Status EtcdStore::follow(const EtcdRange& range, Instant deadline, Entries& entries,
                         const std::function<bool()>& ready) {
  while (true) {
    const auto read = read_entries(range, deadline, entries);
    if (!read) return read.status();
    EtcdRange from = range;
    from.revision = *read + 1;
    bool goes_on = true;
    while (goes_on) {
      if (ready() || monotonic_now() >= deadline) return {};
      Status damage;
      bool is_partial = false;
      const auto take = [&](std::string_view line) {
        const auto reply = decode_etcd_watch(line);
        if (!reply || reply->is_cancelled) {  // compacted away, say: what is there now is read anew
          goes_on = false;
          return false;
        }
        for (const EtcdEvent& event : reply->events) {
          damage = apply(event, entries);
          if (!damage) return false;
          from.revision = std::max(from.revision, event.entry.mod_revision + (reply->is_fragment ? 0 : 1));
        }
        is_partial = reply->is_fragment;
        return is_partial || !ready();
      };
      const Instant start = monotonic_now();
      const Instant until = std::min(deadline, deadline_after(start, options_.watch_time));
      const Status watched = cluster_.watch(encode_watch(from), until, take);
      if (!damage) return damage;
      if (watched.code() == Code::system) return watched;
      // Reading again goes on to the next member, patiently. What was half there is not to be counted.
      if (!watched || is_partial) goes_on = false;
      if (ready()) continue;
      cluster_.leave_member();
      // Watches that end as soon as they begin must not become a busy loop.
      constexpr Nanoseconds kShortest = std::chrono::milliseconds(50);
      const Instant now = monotonic_now();
      if (now - start < kShortest && now < deadline) std::this_thread::sleep_for(std::min(kShortest, deadline - now));
    }
  }
}

}  // namespace tutti
