// The embedded tcp store: a server that lives in one process of the job (rank 0 by default), and the client of it. No
// server needs to be installed. Connections are authenticated by the handshake (src/base/handshake.h), inside TLS
// where a TlsContext is given.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "src/base/handshake.h"
#include "src/base/hmac.h"
#include "src/base/log.h"
#include "src/membership/store.h"
#include "src/membership/store_protocol.h"
#include "src/membership/tcp_socket.h"
#include "src/tls/conduit.h"

namespace tutti {

// One thread serves every client. A stranger, garbage, a frame too large, or a client that does not finish its
// handshake or does not read its replies costs that connection alone: it is closed and a line says so (at most a few
// a second).
class TcpStoreServer {
 public:
  struct Options {
    std::string host;                       // empty: every address, IPv4 and IPv6
    std::uint16_t port = 0;                 // 0: any that is free
    std::string secret;                     // empty: whoever speaks the protocol is let in
    std::shared_ptr<const TlsContext> tls;  // null: without
    Nanoseconds handshake_time = std::chrono::seconds(10);
    Nanoseconds stall_time = std::chrono::seconds(60);  // for a client that does not take its reply
    std::size_t clients = 65536;                        // connections at once
    std::size_t strangers = 4096;  // of them those that have not proven themselves yet; in TLS at most 1024
    std::size_t table_bytes = std::size_t{256} << 20;   // what may be stored
    std::size_t unsent_bytes = std::size_t{512} << 20;  // replies that wait for slow readers, all together
  };

  static Result<std::unique_ptr<TcpStoreServer>> start(Options options, Log log);
  ~TcpStoreServer();  // closes every connection; calls under way at the clients end with PEER_LOST

  std::uint16_t port() const { return port_; }
  std::string address(const std::string& host) const;  // "tcp://HOST:PORT" for a client on that name of this host

 private:
  class Loop;
  TcpStoreServer(std::unique_ptr<Loop> loop, Descriptor stop, std::uint16_t port);

  std::unique_ptr<Loop> loop_;
  Descriptor stop_;  // an eventfd that ends the loop
  const std::uint16_t port_;
  std::thread thread_;
};

// Connects at the first call and keeps trying until that call's deadline. Each call has a connection to itself while
// it runs (idle ones are kept for the next), so threads do not wait for each other. A call that waits at the server
// ends by its deadline; if the server does not even answer, at most one second later. Once it was connected, a port
// at which nobody listens any more is PEER_LOST at once: what the server held is gone with it.
class TcpStore final : public Store {
 public:
  // `address` is "tcp://HOST:PORT".
  static Result<std::unique_ptr<TcpStore>> create(std::string_view address, std::string_view secret,
                                                  std::shared_ptr<const TlsContext> tls = nullptr);

  Status set(std::string_view key, std::string_view value, Instant deadline) override;
  Result<std::string> get(std::string_view key, Instant deadline) override;
  Result<Swap> compare_and_swap(std::string_view key, std::optional<std::string_view> expected,
                                std::string_view desired, Instant deadline) override;
  Result<std::int64_t> add(std::string_view key, std::int64_t delta, Instant deadline) override;
  Gathered gather(std::string_view prefix, std::size_t count, Instant deadline) override;
  Result<std::int64_t> remove(std::string_view prefix, Instant deadline) override;
  std::string address() const override;

 private:
  struct Connection {
    Descriptor fd;
    std::unique_ptr<TlsChannel> tls;  // null: without
    Conduit conduit() const { return {fd.get(), tls.get()}; }
  };

  TcpStore(HostPort server, const SecretKey& key, std::shared_ptr<const TlsContext> tls, const SecretKey& tls_key)
      : server_(std::move(server)), key_(key), tls_(std::move(tls)), tls_key_(tls_key) {}

  Result<StoreReply> call(StoreRequest request, Instant deadline);
  Result<Connection> connection(Instant deadline);
  Result<Connection> connect(Instant deadline, bool was_connected) const;
  std::string name() const { return "the store at " + to_string(server_); }
  Status secure(Connection& connection, Handshake& handshake, Instant deadline) const;
  Status authenticate(Connection& connection, Instant deadline) const;

  const HostPort server_;
  const SecretKey key_;
  const std::shared_ptr<const TlsContext> tls_;
  const SecretKey tls_key_;
  std::mutex mutex_;
  std::vector<Connection> idle_;  // connections that no call uses
  bool was_connected_ = false;    // the server has answered us before
};

// The key of the handshake between them.
Result<SecretKey> tcp_store_key(std::string_view secret);
// And that of TLS, where it goes by a pre-shared key.
Result<SecretKey> tcp_store_tls_key(std::string_view secret);

}  // namespace tutti
