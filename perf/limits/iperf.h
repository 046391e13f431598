// iperf3, where it is installed: the rate that others would read off this machine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "perf/limits/limits.h"
#include "perf/limits/memory.h"

namespace tutti_limits {

// GB/s received, of the JSON that an iperf3 client writes; nothing, with a sentence in `error`, if there is no such
// figure in it.
std::optional<double> received_gbps(const std::string& json, std::string& error);

// Through the loopback by a server of our own, with 1 and 4 streams, `bytes` each time.
std::vector<Named> measure_iperf_loopback(std::uint64_t bytes, const Effort& effort);

// To a server that runs elsewhere, with 1 stream, in both directions one after the other.
std::vector<Named> measure_iperf_link(const std::string& host, int port, std::uint64_t bytes, const Effort& effort);

}  // namespace tutti_limits
