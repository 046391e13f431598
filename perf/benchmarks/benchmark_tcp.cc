// What the tcp transport costs between two processes over loopback, each pinned to a core of its own: latency of
// 8-byte frames against a bare pair of sockets polled in the same way, an idle poll, and bandwidth and processor time
// of larger frames over one, two and four lanes against a bare pair of sockets. Medians of several repetitions; all
// figures of one run belong together. Usage: benchmark_tcp [repetitions [copied_bytes_max]]
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "perf/benchmarks/two_processes.h"
#include "src/transport/transport.h"
#include "transports/tcp/tcp.h"

namespace tutti {
namespace {

constexpr int kRounds = 20000;
constexpr std::size_t kStreamBytes = std::size_t{256} << 20;

// One of the two processes.
struct Side {
  bool first = false;
  int pipe = -1;
  int bare = -1;  // a bare connection to the other process
  std::unique_ptr<Transport> transport;
  std::vector<Link*> links;
  std::array<Event, 64> events;
  std::vector<std::byte> memory = std::vector<std::byte>(std::size_t{8} << 20);

  // Sleeps until poll() has something to do.
  void wait() const {
    if (transport->prepare_wait()) {
      pollfd descriptor{transport->wait_descriptor(), POLLIN, 0};
      ::poll(&descriptor, 1, -1);
      transport->finish_wait();
    }
  }

  // Returns the number of events.
  template <typename Take>
  std::size_t poll(const Take& take) {
    return poll_once(*transport, events, take);
  }
};

void open_transport(Side& side, std::size_t copied_bytes_max, std::uint32_t lanes) {
  TcpOptions options;
  options.process = *new_process_id();
  options.host = *this_host_id();
  options.host_name = side.first ? "first" : "second";
  options.copied_bytes_max = copied_bytes_max;
  const ProcessId own = options.process;
  auto made = make_tcp_transport(std::move(options));
  if (!made) give_up(made.status().text());
  side.transport = *std::move(made);
  const OtherSide other = introduce(side.pipe, own, *side.transport);
  if (side.first) {
    for (std::uint32_t lane = 0; lane < lanes; ++lane) {
      auto link =
          side.transport->connect(other.process, other.address, lane, monotonic_now() + std::chrono::seconds(10));
      if (!link) give_up(link.status().text());
    }
  }
  while (side.links.size() < lanes) {
    side.poll([&](const Event& event) {
      if (event.kind == EventKind::connected) side.links.push_back(event.link);
    });
  }
  std::sort(side.links.begin(), side.links.end(), [](Link* a, Link* b) { return a->lane() < b->lane(); });
  meet(side.pipe);
}

// A bare connection between the two, by the parent before it forks.
void open_bare(int ends[2]) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  ends[0] = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), bytes) != 0 || listen(listener, 1) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &bytes) != 0 ||
      connect(ends[0], reinterpret_cast<sockaddr*>(&address), bytes) != 0) {
    give_up("no bare connection");
  }
  ends[1] = accept(listener, nullptr, nullptr);
  const int on = 1;
  for (int i = 0; i < 2; ++i) setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  close(listener);
}

// Half of the median round trip, seen by the first process: the mean would tell of the other programs on the machine.
double bare_latency_us(Side& side) {
  char message[8] = {};
  std::vector<double> trips;
  meet(side.pipe);
  for (int round = 0; round < kRounds; ++round) {
    const Instant begin = monotonic_now();
    if (side.first && send(side.bare, message, 8, MSG_NOSIGNAL) != 8) give_up("bare send");
    while (recv(side.bare, message, 8, MSG_DONTWAIT) != 8) {
    }
    if (!side.first && send(side.bare, message, 8, MSG_NOSIGNAL) != 8) give_up("bare send");
    trips.push_back(seconds_since(begin));
  }
  return median(std::move(trips)) / 2 * 1e6;
}

double latency_us(Side& side) {
  std::byte message[8] = {};
  std::vector<double> trips;
  meet(side.pipe);
  for (int round = 0; round < kRounds; ++round) {
    const Instant begin = monotonic_now();
    if (side.first) side.links[0]->send({}, message, 8, 0);
    for (bool came = false; !came;) {
      side.poll([&](const Event& event) {
        if (event.kind != EventKind::delivery) return;
        event.link->release(event.token);
        came = true;
      });
    }
    if (!side.first) side.links[0]->send({}, message, 8, 0);
    trips.push_back(seconds_since(begin));
  }
  return median(std::move(trips)) / 2 * 1e6;
}

double idle_poll_ns(Side& side) {
  constexpr int kPolls = 100;
  std::vector<double> batches;
  meet(side.pipe);
  const Instant now = monotonic_now();
  for (int batch = 0; batch < 1000; ++batch) {
    const Instant begin = monotonic_now();
    for (int i = 0; i < kPolls; ++i) side.transport->poll(side.events, now);
    batches.push_back(seconds_since(begin) / kPolls * 1e9);
  }
  meet(side.pipe);
  return median(std::move(batches));
}

struct Rate {
  double gigabytes_per_second = 0;
  double cpu_seconds_per_gigabyte = 0;  // of both processes
};

Rate rate_of(Side& side, Instant begin, double cpu_begin) {
  const double seconds = seconds_since(begin);
  double own = cpu_seconds() - cpu_begin;
  double other = 0;
  put(side.pipe, &own, sizeof own);
  get(side.pipe, &other, sizeof other);
  return {kStreamBytes / seconds / 1e9, (own + other) / (kStreamBytes / 1e9)};
}

Rate bare_rate(Side& side, std::size_t bytes) {
  meet(side.pipe);
  const Instant begin = monotonic_now();
  const double cpu = cpu_seconds();
  for (std::size_t moved = 0; moved < kStreamBytes;) {
    const std::size_t part = std::min(bytes, kStreamBytes - moved);
    const ssize_t done = side.first ? send(side.bare, side.memory.data(), part, MSG_NOSIGNAL)
                                    : recv(side.bare, side.memory.data(), part, 0);
    if (done <= 0) give_up("bare transfer");
    moved += static_cast<std::size_t>(done);
  }
  meet(side.pipe);
  return rate_of(side, begin, cpu);
}

Rate rate(Side& side, std::size_t bytes, std::size_t lanes) {
  const std::size_t frames = kStreamBytes / bytes;
  meet(side.pipe);
  const Instant begin = monotonic_now();
  const double cpu = cpu_seconds();
  std::size_t queued = 0;
  std::size_t finished = 0;
  while (finished < frames) {
    bool moves = false;
    for (std::size_t lane = 0; side.first && lane < lanes && queued < frames; ++lane) {
      const SendState state = side.links[lane]->send({}, side.memory.data(), bytes, 0);
      if (state == SendState::again) continue;
      moves = true;
      ++queued;
      if (state == SendState::copied) ++finished;
    }
    const std::size_t events = side.poll([&](const Event& event) {
      if (event.kind == EventKind::sent || event.kind == EventKind::fetched) ++finished;
      if (event.kind == EventKind::fetched) event.link->release(event.token);
      if (event.kind != EventKind::delivery) return;
      std::byte* const target = side.memory.data() + event.link->lane() * bytes;
      if (event.data != nullptr) {
        std::copy_n(event.data, event.bytes, target);
      } else if (event.link->fetch(event.token, target) == FetchState::pending) {
        return;
      }
      ++finished;
      event.link->release(event.token);
    });
    if (!moves && events == 0 && finished < frames) side.wait();
  }
  const bool drained = side.first;
  while (drained &&
         !std::all_of(side.links.begin(), side.links.end(), [](Link* link) { return link->is_drained(); })) {
    side.poll([](const Event&) {});
  }
  meet(side.pipe);
  return rate_of(side, begin, cpu);
}

void report(const Side& side, const std::string& what, const std::vector<double>& values, const char* unit) {
  if (side.first) std::printf("%-44s %9.3f %s\n", what.c_str(), median(values), unit);
}

void report(const Side& side, const std::string& what, const std::vector<Rate>& rates) {
  std::vector<double> speed;
  std::vector<double> cost;
  for (const Rate& one : rates) {
    speed.push_back(one.gigabytes_per_second);
    cost.push_back(one.cpu_seconds_per_gigabyte);
  }
  if (side.first) std::printf("%-44s %9.3f GB/s %9.3f CPU s/GB\n", what.c_str(), median(speed), median(cost));
}

void run(Side& side, int repetitions, std::size_t copied_bytes_max) {
  open_transport(side, copied_bytes_max, 4);
  std::vector<double> bare;
  std::vector<double> ours;
  std::vector<double> ratio;
  std::vector<double> idle;
  for (int i = 0; i < repetitions; ++i) {
    bare.push_back(bare_latency_us(side));
    ours.push_back(latency_us(side));
    ratio.push_back(ours.back() / bare.back());
    idle.push_back(idle_poll_ns(side));
  }
  report(side, "8 B one way, bare sockets polled", bare, "us");
  report(side, "8 B one way, tcp transport", ours, "us");
  report(side, "  ratio of each pair", ratio, "x");
  report(side, "idle poll, 4 links", idle, "ns");
  for (const std::size_t kib : {16, 64, 256, 1024, 4096}) {
    std::vector<Rate> rates;
    for (int i = 0; i < repetitions; ++i) rates.push_back(bare_rate(side, kib << 10));
    report(side, format("{} KiB one way, bare sockets", kib), rates);
    for (const std::size_t lanes : {1, 2, 4}) {
      if (lanes * (kib << 10) > side.memory.size()) continue;
      rates.clear();
      for (int i = 0; i < repetitions; ++i) rates.push_back(rate(side, kib << 10, lanes));
      report(side, format("{} KiB one way, {} lanes", kib, lanes), rates);
    }
  }
}

}  // namespace
}  // namespace tutti

int main(int argc, char** argv) {
  using namespace tutti;
  const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 5;
  const std::size_t copied_bytes_max = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : TcpOptions().copied_bytes_max;
  int pipes[2];
  int bare[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pipes) != 0) give_up("no socket pair");
  open_bare(bare);
  const pid_t child = fork();
  if (child < 0) give_up("no second process");
  const int own = child == 0 ? 1 : 0;
  close(pipes[1 - own]);
  close(bare[1 - own]);
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(own, &cores);
  sched_setaffinity(0, sizeof cores, &cores);
  Side side;
  side.first = own == 0;
  side.pipe = pipes[own];
  side.bare = bare[own];
  run(side, repetitions, copied_bytes_max);
  if (child == 0) return 0;
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? 0 : 1;
}
