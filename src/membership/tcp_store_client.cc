// The client of the tcp store: a pool of connections, one for each call under way, and what is said over them.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "src/base/format.h"
#include "src/base/handshake.h"
#include "src/membership/store_errors.h"
#include "src/membership/store_table.h"
#include "src/membership/tcp_store.h"

namespace tutti {

namespace {

using namespace std::chrono_literals;

constexpr std::string_view kScheme = "tcp://";
constexpr Nanoseconds kGrace = 1s;  // beyond the deadline for the server's own answer that it has passed

Instant with_grace(Instant deadline) { return deadline_after(deadline, kGrace); }

// Whether the other end still holds an idle connection: nothing is expected on it, so anything to read is its end.
bool usable(int fd) {
  std::byte probe;
  return recv(fd, &probe, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

Status lost(int error, std::string_view what) { return {Code::peer_lost, Status::from_errno(error, what).text()}; }

// The server's own words where it has refused us in TLS.
Status lost(Conduit conduit, int error, std::string_view what) {
  return conduit.tls != nullptr && conduit.tls->failed() ? conduit.tls->status() : lost(error, what);
}

Status send_all(Conduit conduit, std::string_view bytes, Instant deadline) {
  while (!bytes.empty() || conduit.has_unsent()) {
    const ssize_t sent = send_to(conduit, bytes.data(), bytes.size());
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_ready(conduit.fd, POLLOUT, deadline)) {
        return {Code::timeout, format("{} bytes of a request were not taken by the deadline", bytes.size())};
      }
    } else {
      return lost(conduit, errno, "send a request");
    }
  }
  return {};
}

Result<StoreReply> receive_reply(Conduit conduit, Instant deadline) {
  FrameReader reader(kStoreReplyBytes);
  std::vector<char> arrived(64 * 1024);
  while (true) {
    const auto frame = reader.next();
    if (!frame) return frame.status();
    if (*frame) return decode_reply(**frame);
    const ssize_t got = receive_from(conduit, arrived.data(), arrived.size());
    if (got > 0) {
      reader.feed({arrived.data(), static_cast<std::size_t>(got)});
    } else if (got == 0) {
      return Status(Code::peer_lost,
                    "the connection was closed before the reply came. The process that hosts the store "
                    "(rank 0 by default) has ended or refused the request");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_ready(conduit.fd, POLLIN, deadline)) {
        return Status(Code::timeout, "a request was not answered by the deadline");
      }
    } else {
      return lost(conduit, errno, "receive a reply");
    }
  }
}

std::int64_t wait_until(Instant deadline) {
  if (deadline == kNever) return -1;
  return std::max<std::int64_t>(0, (deadline - monotonic_now()).count());
}

}  // namespace

Result<SecretKey> tcp_store_key(std::string_view secret) { return derive_key(secret, "tutti store v1"); }

Result<SecretKey> tcp_store_tls_key(std::string_view secret) { return derive_key(secret, "tutti store tls v1"); }

Result<std::unique_ptr<TcpStore>> TcpStore::create(std::string_view address, std::string_view secret,
                                                   std::shared_ptr<const TlsContext> tls) {
  if (!address.starts_with(kScheme)) {
    return Status(Code::invalid, format("the address \"{}\" is malformed; expected tcp://HOST:PORT", address));
  }
  auto server = parse_host_port(address.substr(kScheme.size()), address);
  if (!server) return server.status();
  const auto key = tcp_store_key(secret);
  if (!key) return key.status();
  const auto tls_key = tcp_store_tls_key(secret);
  if (!tls_key) return tls_key.status();
  return std::unique_ptr<TcpStore>(new TcpStore(*std::move(server), *key, std::move(tls), *tls_key));
}

std::string TcpStore::address() const { return std::string(kScheme) + to_string(server_); }

Status TcpStore::set(std::string_view key, std::string_view value, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_value(value)));
  return call({.operation = StoreOperation::set, .key = std::string(key), .value = std::string(value)}, deadline)
      .status();
}

Result<std::string> TcpStore::get(std::string_view key, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  auto reply = call({.operation = StoreOperation::get, .key = std::string(key)}, deadline);
  if (!reply) return reply.status();
  if (reply->code != Code::ok) return at_store(*this, {reply->code, reply->text});
  return std::move(reply->value).value_or("");
}

Result<Store::Swap> TcpStore::compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                               std::string_view desired, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_value(desired)));
  if (expected) TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_value(*expected)));
  StoreRequest request{
      .operation = StoreOperation::compare_and_swap, .key = std::string(key), .value = std::string(desired)};
  if (expected) request.expected = std::string(*expected);
  auto reply = call(std::move(request), deadline);
  if (!reply) return reply.status();
  return Swap{reply->stored, std::move(reply->value)};
}

Result<std::int64_t> TcpStore::add(std::string_view key, std::int64_t delta, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_key(key)));
  const auto reply = call({.operation = StoreOperation::add, .key = std::string(key), .number = delta}, deadline);
  if (!reply) return reply.status();
  return reply->number;
}

Store::Gathered TcpStore::gather(std::string_view prefix, std::size_t count, Instant deadline) {
  if (const Status status = StoreTable::check_prefix(prefix); !status) return {at_store(*this, status), {}};
  auto reply = call(
      {.operation = StoreOperation::gather, .key = std::string(prefix), .number = static_cast<std::int64_t>(count)},
      deadline);
  if (!reply) return {reply.status(), {}};
  return {at_store(*this, {reply->code, reply->text}), std::move(reply->entries)};
}

Result<std::int64_t> TcpStore::remove(std::string_view prefix, Instant deadline) {
  TUTTI_RETURN_IF_ERROR(at_store(*this, StoreTable::check_prefix(prefix)));
  const auto reply = call({.operation = StoreOperation::remove, .key = std::string(prefix)}, deadline);
  if (!reply) return reply.status();
  return reply->number;
}

// A TIMEOUT of the server comes back as a reply, since it carries what a gather found; other errors as a status.
Result<StoreReply> TcpStore::call(StoreRequest request, Instant deadline) {
  auto used = connection(deadline);
  if (!used) return used.status();
  request.wait_ns = wait_until(deadline);
  const Instant hard_deadline = with_grace(deadline);
  TUTTI_RETURN_IF_ERROR(at_store(*this, send_all(used->conduit(), encode(request), hard_deadline)));
  auto reply = receive_reply(used->conduit(), hard_deadline);
  if (!reply) return at_store(*this, reply.status());
  {
    const std::lock_guard lock(mutex_);
    idle_.push_back(*std::move(used));
  }
  if (reply->code != Code::ok && reply->code != Code::timeout) return at_store(*this, {reply->code, reply->text});
  return reply;
}

Result<TcpStore::Connection> TcpStore::connection(Instant deadline) {
  bool was_connected = false;
  while (true) {
    Connection idle;
    {
      const std::lock_guard lock(mutex_);
      was_connected = was_connected_;
      if (idle_.empty()) break;
      idle = std::move(idle_.back());
      idle_.pop_back();
    }
    if (usable(idle.fd.get())) return idle;
  }
  auto made = connect(deadline, was_connected);
  if (made && !was_connected) {
    const std::lock_guard lock(mutex_);
    was_connected_ = true;
  }
  return made;
}

// Tries again, more and more slowly, for as long as the cause may pass.
Result<TcpStore::Connection> TcpStore::connect(Instant deadline, bool was_connected) const {
  const Instant start = monotonic_now();
  Nanoseconds pause = 5ms;
  for (int tries = 1;; ++tries) {
    auto fd = connect_once(server_, deadline);
    Status cause = fd.status();
    if (fd) {
      Connection made{*std::move(fd), nullptr};
      cause = authenticate(made, deadline);
      if (cause) return made;
    }
    if (cause.code() != Code::again) return at_store(*this, cause);
    if (was_connected && !fd && cause.text().find("(ECONNREFUSED") != std::string::npos) {
      return at_store(*this,
                      {Code::peer_lost, format("{}. It was there before: the process that hosts the store (rank "
                                               "0 by default) has ended, and what it held is gone",
                                               cause.text())});
    }
    // No try begins after the deadline: it would only hide the cause behind a timeout of our own making.
    if (const Instant now = monotonic_now(); now < deadline) {
      std::this_thread::sleep_for(std::min<Nanoseconds>(pause, deadline - now));
      pause = std::min<Nanoseconds>(pause * 2, 250ms);
    }
    if (const Instant now = monotonic_now(); now >= deadline) {
      return at_store(
          *this,
          {Code::timeout, format("{}; {} {} in {}. Check that the process that hosts the store (rank 0 by default) "
                                 "is started and that its port can be reached",
                                 cause.text(), tries, tries == 1 ? "try" : "tries", format_duration(now - start))});
    }
  }
}

// AGAIN when the connection ended: the server may have been too busy, or be on its way down.
Status TcpStore::secure(Connection& connection, Handshake& handshake, Instant deadline) const {
  connection.tls = std::make_unique<TlsChannel>(tls_, TlsChannel::Role::client, tls_key_, name());
  while (true) {
    const TlsChannel::Step step = connection.tls->handshake(connection.fd.get());
    if (step == TlsChannel::Step::done) break;
    const Status& status = connection.tls->status();
    if (step == TlsChannel::Step::failed) {
      return status.code() == Code::peer_lost ? Status(Code::again, status.text()) : status;
    }
    const short events = connection.tls->has_unsent() ? POLLIN | POLLOUT : POLLIN;
    if (!wait_ready(connection.fd.get(), events, deadline)) {
      return {Code::again, format("{} took the connection but did not answer it in TLS", name())};
    }
  }
  const auto binding = connection.tls->binding();
  return binding ? handshake.bind(*binding) : binding.status();
}

// AGAIN as above. In TLS 1.3 the server judges us last, so its refusal may come only here.
Status TcpStore::authenticate(Connection& connection, Instant deadline) const {
  const auto nonce = new_nonce();
  if (!nonce) return nonce.status();
  Handshake handshake(Handshake::Role::client, key_, *nonce, name());
  if (tls_ != nullptr) TUTTI_RETURN_IF_ERROR(secure(connection, handshake, deadline));
  const Conduit conduit = connection.conduit();
  const auto ended = [&](Status otherwise) {
    std::byte none;
    if (conduit.tls != nullptr && !conduit.tls->failed()) static_cast<void>(receive_from(conduit, &none, 1));
    return conduit.tls != nullptr && conduit.tls->failed() ? conduit.tls->status() : otherwise;
  };
  while (true) {
    const auto output = handshake.take_output();
    const std::string_view bytes(reinterpret_cast<const char*>(output.data()), output.size());
    const Status sent = send_all(conduit, bytes, deadline);
    if (handshake.failed()) return handshake.status();
    if (!sent) return ended({Code::again, sent.text()});
    if (handshake.done()) return {};
    std::array<std::byte, 128> arrived;
    const ssize_t got = receive_from(conduit, arrived.data(), std::min(arrived.size(), handshake.wanted()));
    if (got > 0) {
      handshake.feed(std::span(arrived).first(static_cast<std::size_t>(got)));
    } else if (got == 0) {
      return ended({Code::again, format("{} closed the connection", name())});
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
      return ended({Code::again, Status::from_errno(errno, "handshake").text()});
    } else if (!wait_ready(conduit.fd, POLLIN, deadline)) {
      return {Code::again, format("{} took the connection but did not answer it", name())};
    }
  }
}

}  // namespace tutti
