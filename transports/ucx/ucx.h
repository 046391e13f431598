// The UCX transport: frames by UCX's active messages, over whatever UCX finds on both hosts (InfiniBand, RoCE, ROCm,
// TCP, ...). What UCX does with which device is UCX's affair and is told to it by its own variables, such as
// UCX_NET_DEVICES. Links, their control connections and the proof of the secret: transports/fabric.
//
// libucp is loaded at run time. A frame above 16 KiB is announced; its payload goes when the receiver has said where
// to.
#pragma once

#include <memory>
#include <string>

#include "src/base/status.h"
#include "transports/fabric/fabric.h"

namespace tutti {

struct UcxOptions {
  FabricOptions fabric;
  // UCX's transports (UCX_TLS), such as "tcp"; empty leaves them to UCX. They must offer error handling: UCX's shared
  // memory does not, for which there is transports/shm.
  std::string transports;
};

// `control` makes the control connections. Fails where UCX is not installed, too old, or refuses.
Result<std::unique_ptr<Transport>> make_ucx_transport(std::unique_ptr<Transport> control, UcxOptions options);

}  // namespace tutti
