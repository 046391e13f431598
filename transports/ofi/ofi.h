// The libfabric transport: frames over one of libfabric's providers (EFA, Slingshot's cxi, verbs, tcp), by a
// connected endpoint for each link (FI_EP_MSG) where the provider has them itself, else by one endpoint of reliable
// datagrams for all (FI_EP_RDM). Links, their control connections and the proof of the secret: transports/fabric.
//
// libfabric is loaded at run time. A frame above 16 KiB is announced; its payload goes in pieces when the receiver
// has said where to, copied there, and, where the endpoint is of all, also by the sender (domain.h says why).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/base/status.h"
#include "transports/fabric/fabric.h"

namespace tutti {

struct OfiOptions {
  FabricOptions fabric;
  std::string provider;  // as fi_info names it, such as "tcp" or "efa"; empty takes the best there is
  // Its domains, each of one NIC, as fi_info names them; "all", or none, which takes the first. A lane for each.
  std::vector<std::string> domains;
};

// `control` makes the control connections. Fails where libfabric is not installed, too old, or has no such provider.
Result<std::unique_ptr<Transport>> make_ofi_transport(std::unique_ptr<Transport> control, OfiOptions options);

}  // namespace tutti
