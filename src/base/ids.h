// Identities. A ProcessId names one life of one process (random, never reused); a HostId says which processes share a
// kernel and a network namespace, so that "same host" is decided per pair from facts and never from a setting.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#include "src/base/status.h"

namespace tutti {

struct Id128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const Id128&) const = default;
  bool is_nil() const { return high == 0 && low == 0; }
};

struct ProcessId : Id128 {
  auto operator<=>(const ProcessId&) const = default;
};

// Equal on two processes exactly when they run under one kernel (boot id) in one network namespace.
struct HostId : Id128 {
  auto operator<=>(const HostId&) const = default;
};

Result<ProcessId> new_process_id();
Result<HostId> this_host_id();
std::string host_name();                 // gethostname, for messages
std::string to_string(const Id128& id);  // 32 hex digits

struct Id128Hash {
  std::size_t operator()(const Id128& id) const {
    return static_cast<std::size_t>(id.high ^ (id.low * 0x9e3779b97f4a7c15ull));
  }
};

}  // namespace tutti
