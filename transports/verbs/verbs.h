// The verbs transport: links between processes by RDMA, over InfiniBand and RoCE.
//
// A lane is one reliable queue pair, set up over a link of a control transport (TCP) which goes on as long as it
// does: strangers are refused there, and the end of a process is seen there at once. Small frames are written into a
// ring of the receiver's; the payload of a large one waits at the sender until the receiver fetches it, and is then
// written straight to where the receiver wants it. transport.h has the contract; ring.h, frame.h and greeting.h what
// goes over the wire.
//
// Memory that the network reads or writes is pinned. A link costs its ring; payloads are registered for one transfer
// each, of which no more than `pinned_bytes_max` at a time, in either direction; what was allocated by
// tutti_mem_alloc is registered once and until it is freed. (Other registrations cannot be kept: nothing tells a
// library cheaply and safely that the program has unmapped memory, and a key for memory that was mapped anew names
// the old pages.)
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/base/ids.h"
#include "src/base/log.h"
#include "src/base/status.h"
#include "src/memory/shared_regions.h"
#include "src/transport/transport.h"
#include "transports/verbs/device_memory.h"

namespace tutti {

namespace verbs {
class Connector;
struct Library;
struct Port;
}  // namespace verbs

struct VerbsOptions {
  ProcessId process;
  std::string host_name;  // for messages

  // Ports: "mlx5_0" uses all of a device, "mlx5_0:1" one, "^mlx5_1" all others. Empty: all that are up.
  std::vector<std::string> devices;
  int gid_index = -1;  // -1: the best one, which a log line explains
  std::uint8_t traffic_class = 0;
  std::uint8_t service_level = 0;

  std::uint32_t lanes_max = 0;                          // queue pairs per pair of processes; 0: one for each port
  std::size_t ring_bytes = std::size_t{16} << 10;       // 16 KiB to 1 MiB; frames up to a quarter of it are copied
  std::size_t pinned_bytes_max = std::size_t{8} << 20;  // of payloads, in each direction of each port
  std::size_t frame_bytes_max = std::size_t{4} << 20;
  // A port that is down, or a host that does not answer, for so long is lost.
  Nanoseconds silence_limit = std::chrono::seconds(15);
  SharedRegions* regions = nullptr;  // may be null; must outlive the transport
  verbs::FindDmaBuf find_dma_buf;    // memory that is a device's
  Log log;

  // Makes the control transport; called once the ports are known.
  std::function<Result<std::unique_ptr<Transport>>()> make_control;
  // Makes what connects the queue pairs (connector.h); empty: what both sides tell each other by the control
  // transport. The same in all processes.
  std::function<Result<std::unique_ptr<verbs::Connector>>(std::span<const verbs::Port* const>)> make_connector;
};

// `unsupported` where this machine has no RDMA port that can be used: no device, no library, no port that is up, no
// GID. Other errors are wrong options and limits (locked memory). One sentence says which.
Result<std::unique_ptr<Transport>> make_verbs_transport(VerbsOptions options);
// On another implementation of the verbs.
Result<std::unique_ptr<Transport>> make_verbs_transport(VerbsOptions options, const verbs::Library& library);

// What a process with so many links pins, in bytes, without what the driver adds for its queues.
std::size_t verbs_pinned_bytes(const VerbsOptions& options, std::size_t ports, std::size_t links);

}  // namespace tutti
