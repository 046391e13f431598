// What the transports have in common that leave the driving of a network to somebody else's library (transports/ucx,
// transports/ofi, transports/ncclnet): everything but the moving of messages.
//
// Each link has a control connection, a link of another transport (TCP) to the same process. It is there first: both
// sides prove over it that they know the secret, exactly one results when both connect, its end says at once that the
// process is gone, and why. Over it they tell each other how to reach the library's side, and a random number, the
// key of the link, without which nothing that comes from the network is taken. Frames go by the library alone.
//
//   a   control: prove, greet (key, address of the port)                    b
//     <===================================================================>
//   a   wire: frames, with the other's key; how many were taken rides along  b
//     <------------------------------------------------------------------->
//
// Bounded memory: at most kWindow frames of a link are on their way or unreleased, small ones (WireLimits) as copies,
// of large ones the announcement. What the receiver is done with it tells in its own frames, or alone after a quarter
// of the window.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/ids.h"
#include "src/base/log.h"
#include "src/transport/transport.h"
#include "transports/fabric/wire.h"

namespace tutti {

struct FabricOptions {
  ProcessId process;
  std::string host_name;  // for messages
  // Between the control connection and the other's greeting, where the other opened it.
  Nanoseconds greeting_limit = std::chrono::seconds(10);
  // A link with frames that the peer does not confirm asks it. It ends as cut off where the wire turns out to have
  // lost messages, and nothing but answers has come for half of this time: a library that loses a connection and
  // makes another one may tell nobody. 0: it never asks.
  Nanoseconds stall_limit{0};
  // It ends as cut off also where the wire has brought nothing for so long, though the control connection lives. Not
  // right where there is no other way: a peer that is stopped does not answer either.
  bool ends_when_silent = false;
  Log log;
};

// With a lane for each wire, which are of one kind and have limits alike (but for speed and latency): lane l goes
// over the wire l modulo their number, on either side, so that the two may have unlike numbers.
std::unique_ptr<Transport> make_fabric_transport(std::unique_ptr<Transport> control,
                                                 std::vector<std::unique_ptr<fabric::Wire>> wires,
                                                 FabricOptions options);

}  // namespace tutti
