// The transport over network plug-ins of NCCL's (libnccl-net.so): frames by whatever drives a fabric in training jobs
// already, such as aws-ofi-nccl for EFA. Links, their control connections and the proof of the secret:
// transports/fabric.
//
// The plug-in is loaded at run time, in version 8 to 12 of the interface (NCCL 2.20 and later); nothing of NCCL
// itself is needed. A link is two connections in each direction, with 274 KiB of registered memory for small frames.
// A frame above 16 KiB is announced; its payload goes from memory to memory when the receiver has said where to
// (connection.h says how the plug-in lets go of both).
//
// Plug-ins have nothing to sleep on: a process that waits longer than it spins and yields looks every 50 us to 1 ms.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/base/status.h"
#include "transports/fabric/fabric.h"

namespace tutti {

struct NcclnetOptions {
  FabricOptions fabric;
  // As in NCCL_NET_PLUGIN: a path, the name of a library, or NAME for libnccl-net-NAME.so; of several with commas
  // between the first that can be used.
  std::string plugin = "libnccl-net.so";
  // By name or number; "all", or none, which takes the first. A lane for each.
  std::vector<std::string> devices;
};

// `control` makes the control connections. Fails, `unsupported`, where no such plug-in is installed, it is none, too
// old, or finds nothing to drive; `invalid`, where it has no such device.
Result<std::unique_ptr<Transport>> make_ncclnet_transport(std::unique_ptr<Transport> control, NcclnetOptions options);

}  // namespace tutti
