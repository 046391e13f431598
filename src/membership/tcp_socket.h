// The socket calls of the tcp store: an address as text, a listener, and a connection attempt that ends by a
// deadline.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "src/base/clock.h"
#include "src/base/status.h"

struct sockaddr;

namespace tutti {

// Owns one file descriptor. -1 is none.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset(int fd = -1);

 private:
  int fd_;
};

struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;
};

// "HOST:PORT" or "[IPV6]:PORT". INVALID names `whole`, what the user wrote.
Result<HostPort> parse_host_port(std::string_view text, std::string_view whole);
std::string to_string(const HostPort& address);

std::string socket_address_text(const sockaddr* address);  // "10.0.0.7:41200", "[::1]:41200"

// A non-blocking listener. An empty host is every address, IPv4 and IPv6 alike; port 0 is any that is free.
Result<Descriptor> listen_at(const HostPort& address);
Result<std::uint16_t> local_port(int fd);

// One attempt on each address that the host's name has, in order. AGAIN when trying later may help (nobody listens
// yet, the name is not known yet), with the system's words; other errors are final.
Result<Descriptor> connect_once(const HostPort& address, Instant deadline);

// No Nagle delay, and a peer whose host vanished is noticed within about two minutes.
void tune_connection(int fd);

// Waits until `events` (poll's) are there; false once the deadline passed.
bool wait_ready(int fd, short events, Instant deadline);

}  // namespace tutti
