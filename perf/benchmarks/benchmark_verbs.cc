// What the verbs transport costs between two processes on two RDMA ports: latency of 8-byte frames, bandwidth of
// 64 KiB and 1 MiB frames, and what it costs to register 1 MiB of memory against copying it. Medians of several
// repetitions. Usage: benchmark_verbs DEVICE DEVICE [rounds [repetitions]]
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "perf/benchmarks/two_processes.h"
#include "src/transport/transport.h"
#include "transports/tcp/tcp.h"
#include "transports/verbs/port.h"
#include "transports/verbs/verbs.h"

namespace tutti {
namespace {

// One of the two processes.
struct Side {
  bool first = false;
  int pipe = -1;
  SharedRegions regions;
  std::unique_ptr<Transport> transport;
  Link* link = nullptr;
  std::array<Event, 64> events;
  std::byte* memory = nullptr;

  void poll(const std::function<void(const Event&)>& take) { poll_once(*transport, events, take); }
};

void open_transport(Side& side, const std::string& device) {
  const ProcessId own = *new_process_id();
  VerbsOptions options;
  options.process = own;
  options.host_name = side.first ? "first" : "second";
  options.devices = {device};
  options.regions = &side.regions;
  options.make_control = [&] {
    TcpOptions tcp;
    tcp.process = own;
    tcp.host = *this_host_id();
    return make_tcp_transport(std::move(tcp));
  };
  auto made = make_verbs_transport(std::move(options));
  if (!made) give_up(made.status().text());
  side.transport = *std::move(made);
  side.memory = *side.regions.allocate(std::size_t{4} << 20);
  const OtherSide other = introduce(side.pipe, own, *side.transport);
  if (side.first) {
    const auto link =
        side.transport->connect(other.process, other.address, 0, monotonic_now() + std::chrono::seconds(10));
    if (!link) give_up(link.status().text());
  }
  while (side.link == nullptr) {
    side.poll([&](const Event& event) {
      if (event.kind == EventKind::connected) side.link = event.link;
    });
  }
}

// Microseconds one way.
double measure_latency(Side& side, int rounds) {
  const std::array<std::byte, 8> payload{};
  meet(side.pipe);
  const Instant began = monotonic_now();
  int received = 0;
  int sent = side.first ? 0 : 1;
  while (received < rounds) {
    if (sent <= received && sent < rounds + (side.first ? 0 : 1)) {
      if (side.link->send(Header{}, payload.data(), payload.size(), 0) == SendState::copied) ++sent;
    }
    side.poll([&](const Event& event) {
      if (event.kind == EventKind::delivery) event.link->release(event.token), ++received;
    });
  }
  while (!side.first && sent <= received) {
    if (side.link->send(Header{}, payload.data(), payload.size(), 0) == SendState::copied) ++sent;
  }
  while (!side.link->is_drained()) side.poll([](const Event&) {});
  return 1e6 * seconds_since(began) / (2.0 * rounds);
}

// Megabytes a second, from the first to the second; both sides return when all has come.
double measure_bandwidth(Side& side, std::size_t bytes, int frames) {
  meet(side.pipe);
  const Instant began = monotonic_now();
  int sent = 0;
  int ended = 0;
  int under_way = 0;
  bool is_answered = false;
  while (side.first ? !is_answered : ended < frames) {
    while (side.first && sent < frames && under_way < 16 &&
           side.link->send(Header{}, side.memory, bytes, 0) == SendState::pending) {
      ++sent;
      ++under_way;
    }
    side.poll([&](const Event& event) {
      if (event.kind == EventKind::sent) --under_way;
      if (event.kind == EventKind::fetched) event.link->release(event.token), ++ended;
      if (event.kind != EventKind::delivery) return;
      is_answered = true;
      event.bytes > 0 ? static_cast<void>(event.link->fetch(event.token, side.memory))
                      : event.link->release(event.token);
    });
  }
  while (!side.first && side.link->send(Header{}, nullptr, 0, 0) != SendState::copied) side.poll([](const Event&) {});
  while (!side.link->is_drained()) side.poll([](const Event&) {});
  return 1e-6 * static_cast<double>(bytes) * frames / seconds_since(began);
}

// Microseconds to register and give back, and to copy, 1 MiB.
void measure_registration(const std::string& device) {
  constexpr std::size_t kBytes = 1 << 20;
  constexpr int kRounds = 50;
  const auto library = verbs::load_library();
  if (!library) give_up(library.status().text());
  VerbsOptions options;
  options.devices = {device};
  auto ports = verbs::find_ports(**library, options);
  if (!ports) give_up(ports.status().text());
  ibv_pd* const domain = (*library)->alloc_pd(ports->front().device->context);
  std::vector<std::byte> from(kBytes, std::byte{1});
  std::vector<std::byte> to(kBytes);
  Instant began = monotonic_now();
  for (int i = 0; i < kRounds; ++i) {
    ibv_mr* const region = ((*library)->reg_mr)(domain, to.data(), kBytes, IBV_ACCESS_LOCAL_WRITE);
    if (region == nullptr) give_up("1 MiB cannot be registered");
    (*library)->dereg_mr(region);
  }
  const double registering = 1e6 * seconds_since(began) / kRounds;
  began = monotonic_now();
  for (int i = 0; i < kRounds; ++i) {
    from[static_cast<std::size_t>(i)] = to[static_cast<std::size_t>(i)];
    std::memcpy(to.data(), from.data(), kBytes);
  }
  std::printf("register_1M_us %.1f\ncopy_1M_us %.1f\n", registering, 1e6 * seconds_since(began) / kRounds);
  (*library)->dealloc_pd(domain);
}

void run(Side& side, const std::string& device, int rounds, int repetitions) {
  open_transport(side, device);
  std::vector<double> latency;
  std::vector<double> medium;
  std::vector<double> large;
  for (int i = 0; i < repetitions; ++i) {
    latency.push_back(measure_latency(side, rounds));
    medium.push_back(measure_bandwidth(side, 64 << 10, rounds / 4 + 16));
    large.push_back(measure_bandwidth(side, 1 << 20, rounds / 16 + 8));
  }
  if (!side.first) return;
  std::printf("latency_8_us %.1f\nbandwidth_64K_MBps %.1f\nbandwidth_1M_MBps %.1f\n", median(latency), median(medium),
              median(large));
}

}  // namespace
}  // namespace tutti

int main(int count, char** arguments) {
  if (count < 3) tutti::give_up("usage: benchmark_verbs DEVICE DEVICE [rounds [repetitions]]");
  const int rounds = count > 3 ? std::atoi(arguments[3]) : 2000;
  const int repetitions = count > 4 ? std::atoi(arguments[4]) : 5;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) tutti::give_up("no socket pair");
  const pid_t child = fork();
  tutti::Side side;
  side.first = child != 0;
  side.pipe = ends[side.first ? 0 : 1];
  tutti::run(side, arguments[side.first ? 1 : 2], rounds, repetitions);
  side.transport.reset();
  if (!side.first) return 0;
  waitpid(child, nullptr, 0);
  tutti::measure_registration(arguments[1]);
  return 0;
}
