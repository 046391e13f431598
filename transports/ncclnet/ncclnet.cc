#include "transports/ncclnet/ncclnet.h"

#include "transports/ncclnet/wire.h"

namespace tutti {

Result<std::unique_ptr<Transport>> make_ncclnet_transport(std::unique_ptr<Transport> control,
                                                          NcclnetOptions options) {
  const auto plugin = ncclnet::Plugin::load(options.plugin);
  if (!plugin) return plugin.status();
  auto devices = (*plugin)->devices(options.devices);
  if (!devices) return devices.status();
  std::vector<std::unique_ptr<fabric::Wire>> wires;
  for (ncclnet::Device& device : *devices) {
    if (device.message_bytes_max < ncclnet::kLargeBytesMax) {
      return Status(Code::unsupported,
                    format("{} moves at most {} bytes at a time on device {}; expected {} or more",
                           (*plugin)->describe(), device.message_bytes_max, device.name, ncclnet::kLargeBytesMax));
    }
    options.fabric.log.write(LogLevel::info, "ncclnet", "{} of {} uses device {}, {}", (*plugin)->describe(),
                             (*plugin)->file(), device.index, device.name);
    wires.push_back(std::make_unique<ncclnet::NcclnetWire>(**plugin, std::move(device), options.fabric.log));
  }
  return make_fabric_transport(std::move(control), std::move(wires), std::move(options.fabric));
}

}  // namespace tutti
