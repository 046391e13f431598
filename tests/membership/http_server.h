// An HTTP server for tests that answers whatever a test wants it to: nonsense, halves, nothing, or what a real server
// said. One thread a connection; each gets its requests one after the other.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "src/membership/tcp_socket.h"

namespace tutti {

class HttpServer {
 public:
  // The connection of one request, to say anything on.
  class Peer {
   public:
    explicit Peer(int fd) : fd_(fd) {}
    bool send(std::string_view bytes) const;  // false: the client has gone
    void answer(int status, std::string_view body) const;

   private:
    int fd_;
  };
  // Answers one request; false closes the connection. `path` is what follows "/v3/".
  using Handler = std::function<bool(const Peer& peer, const std::string& path, const std::string& body)>;

  explicit HttpServer(Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const { return port_; }
  std::string host_port() const;

 private:
  void accept_all();
  void serve(int fd);

  const Handler handler_;
  Descriptor listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stops_{false};
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace tutti
