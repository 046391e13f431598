#include "tests/membership/http_server.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "src/base/format.h"

namespace tutti {

namespace {

using namespace std::chrono_literals;

// The number behind "Content-Length:".
std::size_t content_length(const std::string& head) {
  const std::string name = "Content-Length:";
  const std::size_t found = head.find(name);
  return found == std::string::npos ? 0 : std::strtoul(head.c_str() + found + name.size(), nullptr, 10);
}

}  // namespace

bool HttpServer::Peer::send(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

void HttpServer::Peer::answer(int status, std::string_view body) const {
  send(format("HTTP/1.1 {} Words\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body));
}

HttpServer::HttpServer(Handler handler) : handler_(std::move(handler)), listener_(*listen_at({"127.0.0.1", 0})) {
  port_ = *local_port(listener_.get());
  acceptor_ = std::thread([this] { accept_all(); });
}

HttpServer::~HttpServer() {
  stops_ = true;
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
}

std::string HttpServer::host_port() const { return format("127.0.0.1:{}", port_); }

void HttpServer::accept_all() {
  while (!stops_) {
    if (!wait_ready(listener_.get(), POLLIN, deadline_after(monotonic_now(), 10ms))) continue;
    const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const std::lock_guard lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { serve(fd); });
  }
}

void HttpServer::serve(int fd) {
  Descriptor owner(fd);
  std::string arrived;
  std::array<char, 65536> piece;
  while (!stops_) {
    std::size_t head = arrived.find("\r\n\r\n");
    if (head == std::string::npos || arrived.size() < head + 4 + content_length(arrived.substr(0, head))) {
      const ssize_t got = recv(fd, piece.data(), piece.size(), 0);
      if (got <= 0) break;
      arrived.append(piece.data(), static_cast<std::size_t>(got));
      continue;
    }
    const std::string first = arrived.substr(0, head);
    const std::size_t length = content_length(first);
    const std::size_t from = first.find("/v3/") + 4;
    const std::string path = first.substr(from, first.find(' ', from) - from);
    const std::string body = arrived.substr(head + 4, length);
    arrived.erase(0, head + 4 + length);
    if (!handler_(Peer(fd), path, body)) break;
  }
  const std::lock_guard lock(mutex_);
  std::erase(open_, fd);
  owner.reset();
}

}  // namespace tutti
