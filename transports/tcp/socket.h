// Sockets: a descriptor that closes itself, and the few calls with which the transport makes and asks sockets.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "src/base/clock.h"
#include "src/base/status.h"
#include "transports/tcp/ip.h"

namespace tutti::tcp {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// "Connection refused (ECONNREFUSED, 111)"; for EMFILE and ENFILE with the limit that was reached.
std::string describe_errno(int error);

// A non-blocking TCP socket. errno tells why where there is none.
Descriptor open_socket(bool v6);

struct SocketTuning {
  std::size_t buffer_bytes = 0;   // 0: the kernel's own
  Nanoseconds silence_limit{-1};  // negative: never ask an idle peer
};
// No delay, buffers, and the kernel's questions to an idle peer. Best effort: a link works without any of it.
void tune(int fd, const SocketTuning& tuning);

// For a connection that does not leave this host: a congestion control that does not pace what it sends. One that
// does (bbr) looks for a bottleneck that is not there; docs/benchmarks.md, "What was learned". Best effort.
void tune_for_this_host(int fd);

// Starts to connect from `source` (port chosen by the kernel). 0 or EINPROGRESS, or the errno of the refusal.
int start_connect(int fd, const IpAddress& source, const Endpoint& destination);

// How a connection that was started stands: nothing while it goes on, 0 when it is there, else its errno.
std::optional<int> connect_outcome(int fd);

Endpoint local_endpoint(int fd);

// What the kernel knows of a peer's silence. A question is anything that has to be acknowledged.
struct Silence {
  Nanoseconds since_answer{0};     // since the last acknowledgement of any kind
  Nanoseconds since_question{0};   // since data was last sent, again or for the first time
  unsigned probes_unanswered = 0;  // of an idle peer, or of one that had no room for data
  unsigned retransmissions = 0;    // in vain: none of the data has been acknowledged since the first
};
Silence measure_silence(int fd);

// The shortest that the kernel has seen; Nanoseconds::max() where it does not tell.
Nanoseconds round_trip(int fd);

// Bytes that the kernel holds for the peer: not sent, or not acknowledged.
std::size_t unacknowledged_bytes(int fd);

}  // namespace tutti::tcp
