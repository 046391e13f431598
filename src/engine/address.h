// ProcessAddress: all that others need to reach a process, as it goes through the rendezvous. Bytes from elsewhere
// are parsed defensively: every length is checked, and what does not parse is an error that says where.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/base/ids.h"
#include "src/base/status.h"

namespace tutti {

struct ProcessAddress {
  ProcessId process;
  HostId host;
  std::uint32_t pid = 0;
  std::uint64_t pid_namespace = 0;  // in which `pid` means this process; 0: not known
  std::uint32_t cores = 1;          // processors this process may use
  std::uint32_t lanes = 1;          // connections to one peer that its network transport offers
  bool has_segment = false;         // its preferred transport shares a segment with processes of the same host
  std::string host_name;
  struct Reach {
    std::string transport;
    std::vector<std::byte> address;
  };
  std::vector<Reach> reaches;

  const Reach* find(std::string_view transport) const;
  // "node07 pid 4242"
  std::string describe() const;

  std::vector<std::byte> encode() const;
  static Result<ProcessAddress> decode(std::span<const std::byte> bytes);
};

}  // namespace tutti
