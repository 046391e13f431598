// Which transports a process has: by TUTTI_TRANSPORTS, or, where that is auto, by what is there. The only place that
// names every one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/log.h"
#include "src/base/settings.h"
#include "src/engine/engine.h"

namespace tutti {

// The transports of this process, the preferred first. Fails where one that was asked for by name cannot be used; one
// that auto has chosen is left out then, and a line is written. `classes` as below.
Result<std::vector<std::unique_ptr<Transport>>> make_transports(const Settings& settings,
                                                                const EngineOptions& options, const Log& log,
                                                                const std::string& classes = "/sys/class");

// What auto stands for on a host whose devices are listed below `classes` (/sys/class): self, shm, whatever drives a
// NIC for RDMA that is there, ncclnet where a plug-in is named, tcp. `built` are the transports of this build;
// `plugin` is what named_plugin() says.
std::vector<std::string> automatic_transports(const std::string& classes, const std::vector<std::string_view>& built,
                                              const std::string& plugin);

// The network plug-in of NCCL's that somebody has asked for: by TUTTI_NCCLNET_PLUGIN (`setting`), else by
// NCCL_NET_PLUGIN (`variable`, may be null), where "none" asks for none. Empty: nobody has.
std::string named_plugin(const std::string& setting, const char* variable);

}  // namespace tutti
