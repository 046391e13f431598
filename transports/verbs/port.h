// Ports: which of this machine's RDMA ports are used, found once when the transport is made.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/status.h"
#include "transports/verbs/greeting.h"
#include "transports/verbs/library.h"
#include "transports/verbs/verbs.h"

namespace tutti::verbs {

// An opened device as others use it: closed with its last port.
struct Device {
  Device(const Library& its_library, ibv_context* its_context) : library(its_library), context(its_context) {}
  ~Device() { library.close_device(context); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Library& library;
  ibv_context* const context;
};

struct Port {
  std::unique_ptr<Device> device;
  ibv_device_attr limits{};
  std::string device_name;
  std::uint8_t number = 1;
  std::uint16_t lid = 0;
  ibv_mtu mtu = IBV_MTU_1024;
  std::uint32_t message_bytes_max = 0;
  double bytes_per_second = 0;
  GidEntry gid;
  std::string why;  // of the GID
  PortFacts facts;

  const std::string& name() const { return facts.name; }
};

// Whether the entries of TUTTI_VERBS_DEVICES admit the port.
bool admits(const std::vector<std::string>& filter, std::string_view device, std::uint8_t port);

// The ports that are admitted, up and have a GID; at most kPortsMax. `unsupported`, with what is wrong with each,
// where there is none.
Result<std::vector<Port>> find_ports(const Library& library, const VerbsOptions& options);

const char* state_name(ibv_port_state state);
unsigned mtu_bytes(ibv_mtu mtu);
// Looks again: the state of the port now, or `Status` where the device does not answer.
Result<ibv_port_state> read_state(const Port& port);

}  // namespace tutti::verbs
