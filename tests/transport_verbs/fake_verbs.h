// An implementation of the verbs without hardware, in this process: what the transport is tested with under the
// sanitizers, and for errors that a real device does not make on demand. Queue pairs find each other by their
// numbers, writes are checked against keys as a device checks them, and everything happens at once, under one lock.
//
// It is stricter than a device: too many work requests, an overflowing completion queue and bytes outside of what is
// registered are counted, and a test that ends with any of them has failed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "transports/verbs/library.h"

namespace tutti::verbs {

struct FakePort {
  std::string device;
  ibv_port_state state = IBV_PORT_ACTIVE;
  LinkLayer layer = LinkLayer::ethernet;
  ibv_mtu mtu = IBV_MTU_4096;
  std::vector<GidEntry> gids;
};

// A port of RoCE v2 on this host's loopback.
FakePort fake_port(const std::string& device);

// Begins anew, with these ports (each the only one of its device). No transport may be alive.
void reset_fake_verbs(std::vector<FakePort> ports);
const Library& fake_library();

// From now on so much may be pinned; more is refused with ENOMEM.
void limit_fake_pinned_bytes(std::size_t bytes);
// What is pinned now.
std::size_t fake_pinned_bytes();
// The most that was since the last reset.
std::size_t fake_pinned_bytes_most();
// How many registrations by dma-bufs there were since the last reset.
std::size_t fake_dma_bufs();
// What is sent through the port meets an error while it is not active; the device says so in an event.
void set_fake_port_state(const std::string& device, ibv_port_state state);
// The next write into a payload is made with a wrong key.
void break_next_fake_key();
// Writes these bytes where the next frame of any queue pair would lie: what a peer that is out of its mind does.
void garble_next_fake_frame();
// Breaches of the rules since the last reset, one sentence each.
std::vector<std::string> fake_breaches();

}  // namespace tutti::verbs
