// The TCP transport: links between processes over TCP connections, several per pair and over several NICs.
//
// A lane is one connection. Lane i leaves by the i-th local NIC (modulo their number) that shares a subnet with the
// peer; where none does, by any. Both ends prove that they know the job's key before anything else is said
// (src/base/handshake.h), then tell each other which process, which lane and which limits they mean (greeting.h).
// With `tls` all of that is inside TLS; without it, what follows is neither encrypted nor signed. See transport.h for
// how exactly one link results when both dial.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/hmac.h"
#include "src/base/ids.h"
#include "src/base/log.h"
#include "src/base/status.h"
#include "src/tls/context.h"
#include "src/transport/transport.h"

namespace tutti {

struct TcpOptions {
  ProcessId process;
  HostId host;            // peers with the same one are reached over loopback first
  std::string host_name;  // for messages
  SecretKey key{};        // both ends prove that they know it

  // The key is this process's own and goes out with its address: who was given the address may connect. Otherwise the
  // key is the same in every process of the job.
  bool publish_key = false;

  // Null: no TLS. `tls_key` is the job's; mixed with the keys above it gives the pre-shared key of each connection.
  std::shared_ptr<const TlsContext> tls;
  SecretKey tls_key{};

  // NICs by name: "eth0" uses it, "^docker0" all but it. Empty: all that are up. Loopback is used where nothing else
  // is up, and towards processes on the same host.
  std::vector<std::string> interfaces;
  std::uint16_t port_first = 0;  // the port to listen on is the first free one of the range; 0: the kernel chooses
  std::uint16_t port_last = 0;
  std::size_t buffer_bytes = 0;  // SO_SNDBUF and SO_RCVBUF; 0: the kernel adapts them, which is nearly always best
  std::uint32_t lanes_max = 0;   // connections per pair; 0: two for each NIC
  // A NIC that is no faster is filled by one connection whose way is short; the others over it are for when that is
  // lost. Only where lanes_max is 0: whoever asks for a number of connections has all of them carry.
  std::uint32_t narrow_mbps = 1000;

  std::size_t frame_bytes_max = 4u << 20;    // a larger frame from a peer ends the link
  std::size_t copied_bytes_max = 16u << 10;  // payloads up to this are copied when they cannot be written at once
  std::size_t handshakes_max = 256;          // accepted connections that have not proved anything yet
  Nanoseconds handshake_limit = std::chrono::seconds(10);
  // A host from which nothing has been heard for so long, although it was asked, is lost. Negative: wait for ever. A
  // peer that is alive but does not read is never lost by this.
  Nanoseconds silence_limit = std::chrono::seconds(15);
  Log log;
};

// Fails where a setting is wrong, no listed interface is up, no port of the range is free or descriptors have run
// out.
Result<std::unique_ptr<Transport>> make_tcp_transport(TcpOptions options);

}  // namespace tutti
