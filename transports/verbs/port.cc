#include "transports/verbs/port.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/format.h"

namespace tutti::verbs {

namespace {

// Lanes times the rate of one, in bits per second, by the standard's codes.
double rate_of(const ibv_port_attr& port) {
  double lanes = 1;
  switch (port.active_width) {
    case 2:
      lanes = 4;
      break;
    case 4:
      lanes = 8;
      break;
    case 8:
      lanes = 12;
      break;
    case 16:
      lanes = 2;
      break;
    default:
      break;
  }
  double gigabits = 2.5;
  switch (port.active_speed) {
    case 2:
      gigabits = 5;
      break;
    case 4:
    case 8:
      gigabits = 10;
      break;
    case 16:
      gigabits = 14;
      break;
    case 32:
      gigabits = 25;
      break;
    case 64:
      gigabits = 50;
      break;
    case 128:
      gigabits = 100;
      break;
    default:
      break;
  }
  return lanes * gigabits * 1e9;
}

Result<ibv_port_attr> query(const Device& device, std::uint8_t number, const std::string& name) {
  ibv_port_attr attributes{};
  // The library fills the older, shorter struct that the longer one begins with.
  const int error =
      device.library.query_port(device.context, number, reinterpret_cast<_compat_ibv_port_attr*>(&attributes));
  if (error != 0) return Status::from_errno(error, format("verbs: {} cannot be asked for its state", name));
  return attributes;
}

Result<GidChoice> find_gid(const Device& device, const Port& port, int table_length, int wanted) {
  std::vector<GidEntry> entries;
  for (int index = 0; index < table_length; ++index) {
    GidEntry entry;
    entry.index = index;
    ibv_gid gid{};
    if (device.library.query_gid(device.context, port.number, index, &gid) != 0) continue;
    std::memcpy(entry.gid.bytes.data(), gid.raw, sizeof gid.raw);
    if (entry.gid.is_nil()) continue;
    device.library.describe_gid(port.device_name, port.number, index, entry);
    entries.push_back(std::move(entry));
  }
  return choose_gid(entries, port.facts.layer, wanted, format("verbs: {}", port.name()));
}

// The port, or why it is not used.
Result<Port> open_port(const Library& library, ibv_device* device, std::uint8_t number, const VerbsOptions& options) {
  Port port;
  port.device_name = library.get_device_name(device);
  port.number = number;
  port.facts.name = format("{} port {}", port.device_name, number);
  if (device->transport_type == IBV_TRANSPORT_IWARP) {
    return Status(Code::unsupported, format("verbs: {} is iWARP; InfiniBand and RoCE are possible", port.name()));
  }
  ibv_context* const context = library.open_device(device);
  if (context == nullptr) return Status::from_errno(errno, format("verbs: {} cannot be opened", port.device_name));
  port.device = std::make_unique<Device>(library, context);
  if (const int error = library.query_device(context, &port.limits); error != 0)
    return Status::from_errno(error, format("verbs: {} cannot be asked for its limits", port.device_name));
  const auto attributes = query(*port.device, number, port.name());
  if (!attributes) return attributes.status();
  if (attributes->state != IBV_PORT_ACTIVE) {
    return Status(Code::unsupported, format("verbs: {} is not up: {}", port.name(), state_name(attributes->state)));
  }
  port.lid = attributes->lid;
  port.mtu = attributes->active_mtu;
  port.message_bytes_max = attributes->max_msg_sz;
  port.bytes_per_second = rate_of(*attributes) / 8;
  port.facts.layer = attributes->link_layer == IBV_LINK_LAYER_ETHERNET ? LinkLayer::ethernet : LinkLayer::infiniband;
  auto choice = find_gid(*port.device, port, attributes->gid_tbl_len, options.gid_index);
  if (!choice) return choice.status();
  port.gid = choice->entry;
  port.why = choice->why;
  port.facts.type = port.gid.type;
  port.facts.gid = port.gid.gid;
  return port;
}

std::string_view device_of(std::string_view entry) {
  if (entry.starts_with('^')) entry.remove_prefix(1);
  return entry.substr(0, entry.find(':'));
}

Status check_names(const std::vector<std::string>& filter, const std::vector<std::string>& there) {
  for (const std::string& entry : filter) {
    if (std::find(there.begin(), there.end(), device_of(entry)) != there.end()) continue;
    std::string names;
    for (const std::string& name : there) names += (names.empty() ? "" : ", ") + name;
    return Status(Code::invalid, format("verbs: there is no device {} (TUTTI_VERBS_DEVICES); there are {}",
                                        device_of(entry), names));
  }
  return {};
}

struct DeviceList {
  DeviceList(const Library& its_library, ibv_device** its_devices) : library(its_library), devices(its_devices) {}
  ~DeviceList() { library.free_device_list(devices); }
  DeviceList(const DeviceList&) = delete;
  DeviceList& operator=(const DeviceList&) = delete;
  const Library& library;
  ibv_device** const devices;
};

}  // namespace

const char* state_name(ibv_port_state state) {
  switch (state) {
    case IBV_PORT_NOP:
      return "PORT_NOP, no change of state";
    case IBV_PORT_DOWN:
      return "PORT_DOWN, no cable or its network interface is down";
    case IBV_PORT_INIT:
      return "PORT_INIT, waiting for a subnet manager";
    case IBV_PORT_ARMED:
      return "PORT_ARMED, waiting for a subnet manager";
    case IBV_PORT_ACTIVE:
      return "PORT_ACTIVE";
    case IBV_PORT_ACTIVE_DEFER:
      return "PORT_ACTIVE_DEFER";
  }
  return "a state without a name";
}

unsigned mtu_bytes(ibv_mtu mtu) { return 128u << static_cast<unsigned>(mtu); }

Result<ibv_port_state> read_state(const Port& port) {
  const auto attributes = query(*port.device, port.number, port.name());
  if (!attributes) return attributes.status();
  return attributes->state;
}

bool admits(const std::vector<std::string>& filter, std::string_view device, std::uint8_t port) {
  bool has_admitting = false;
  bool is_admitted = false;
  for (std::string_view entry : filter) {
    const bool leaves_out = entry.starts_with('^');
    const std::size_t colon = entry.find(':');
    const bool matches = device_of(entry) == device &&
                         (colon == std::string_view::npos || entry.substr(colon + 1) == std::to_string(port));
    if (leaves_out && matches) return false;
    has_admitting = has_admitting || !leaves_out;
    is_admitted = is_admitted || (!leaves_out && matches);
  }
  return is_admitted || !has_admitting;
}

Result<std::vector<Port>> find_ports(const Library& library, const VerbsOptions& options) {
  int count = 0;
  ibv_device** const devices = library.get_device_list(&count);
  if (devices == nullptr) return Status::from_errno(errno, "verbs: the RDMA devices cannot be listed");
  const DeviceList list(library, devices);
  if (count == 0)
    return Status(Code::unsupported, "verbs: this machine has no RDMA device that libibverbs has a driver for");
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.emplace_back(library.get_device_name(devices[i]));
  TUTTI_RETURN_IF_ERROR(check_names(options.devices, names));
  std::vector<Port> ports;
  Status wrong;
  std::string causes;
  for (int i = 0; i < count; ++i) {
    ibv_device_attr limits{};
    limits.phys_port_cnt = 1;
    if (ibv_context* const context = library.open_device(devices[i]); context != nullptr) {
      const Device device(library, context);
      library.query_device(context, &limits);
    }
    for (unsigned number = 1; number <= limits.phys_port_cnt && ports.size() < kPortsMax; ++number) {
      const auto port_number = static_cast<std::uint8_t>(number);
      if (!admits(options.devices, names[static_cast<std::size_t>(i)], port_number)) continue;
      auto port = open_port(library, devices[i], port_number, options);
      if (port) {
        ports.push_back(*std::move(port));
        continue;
      }
      if (port.status().code() == Code::invalid) return port.status();
      options.log.write(LogLevel::debug, "verbs", "{}", port.status().text());
      causes += (causes.empty() ? "" : "; ") + port.status().text().substr(sizeof "verbs: " - 1);
    }
  }
  if (ports.empty()) {
    return Status(Code::unsupported, format("verbs: no RDMA port can be used: {}",
                                            causes.empty() ? "TUTTI_VERBS_DEVICES leaves none" : causes));
  }
  return ports;
}

}  // namespace tutti::verbs
