// What the implementation of fake_verbs.h knows: devices, queues, queue pairs and what is under way between them.
// Plain data, under Fabric::mutex.
#pragma once

#include <infiniband/verbs.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/transport_verbs/fake_verbs.h"

namespace tutti::verbs {

struct FakeDevice {
  ibv_device base{};
  std::size_t port = 0;
};

struct FakeContext {
  ibv_context base{};
  std::size_t port = 0;
  std::deque<ibv_async_event> events;
};

struct FakeChannel {
  ibv_comp_channel base{};
  std::deque<ibv_cq*> events;
};

struct FakeQueue {
  ibv_cq base{};
  FakeChannel* channel = nullptr;
  std::deque<ibv_wc> completions;
  std::size_t capacity = 0;
  bool armed = false;
};

struct FakeRegion {
  ibv_mr base{};
  int access = 0;
};

struct Request {
  std::uint64_t id = 0;
  ibv_wr_opcode opcode = IBV_WR_SEND;
  std::uint32_t immediate = 0;
  std::vector<std::byte> in_line;
  std::vector<ibv_sge> parts;
  bool is_inline = false;
  bool is_signaled = false;
  std::uint64_t address = 0;
  std::uint32_t key = 0;
};

struct FakePair {
  ibv_qp base{};
  std::size_t port = 0;
  std::uint32_t target = 0;
  std::size_t send_max = 0;
  std::size_t receive_max = 0;
  std::size_t outstanding = 0;   // sends whose completions, or those of a later one, were not taken
  std::size_t unreported = 0;    // of them, that are done and had no completion
  std::deque<std::size_t> ends;  // how many sends each completion that was not taken ends
  std::deque<Request> sends;
  std::deque<std::uint64_t> receives;
};

struct Fabric {
  std::mutex mutex;
  std::vector<FakePort> ports;
  std::vector<std::unique_ptr<FakeDevice>> devices;
  std::vector<FakeContext*> contexts;
  std::map<std::uint32_t, FakePair*> pairs;
  std::map<std::uint32_t, FakeRegion*> regions;
  std::uint32_t next_number = 17;
  std::uint32_t next_key = 0x1000;
  std::size_t pinned = 0;
  std::size_t pinned_most = 0;
  std::size_t pinned_limit = SIZE_MAX;
  std::size_t dma_bufs = 0;
  bool break_key = false;
  bool garble = false;
  std::vector<std::string> breaches;
};

}  // namespace tutti::verbs
