// The listening socket of a transport: one port, IPv6 and IPv4 where the host has both.
#pragma once

#include <cstdint>

#include "src/base/status.h"
#include "transports/tcp/ip.h"
#include "transports/tcp/socket.h"

namespace tutti::tcp {

class Listener {
 public:
  // Listens on the first free port of [first, last]; first 0: on one that the kernel chooses.
  static Result<Listener> open(std::uint16_t first, std::uint16_t last);

  struct Accepted {
    Descriptor descriptor;  // none: see error
    Endpoint remote;
    int error = 0;  // EAGAIN: nobody waits
  };
  Accepted accept() const;

  int descriptor() const { return descriptor_.get(); }
  std::uint16_t port() const { return port_; }
  bool has_ipv6() const { return has_ipv6_; }

 private:
  Listener(Descriptor descriptor, bool has_ipv6);

  Descriptor descriptor_;
  std::uint16_t port_;
  bool has_ipv6_;
};

}  // namespace tutti::tcp
