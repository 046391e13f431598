// What one transport for fabrics costs between two processes, measured at its links as the engine uses them: times of
// ping-pongs, rate of small frames, bandwidth one way and both ways, processor time, memory for each peer. One line a
// figure, `NAME VALUE`; perf/fabrics/run sets them beside the fabric's own tool.
//
// usage: benchmark_fabrics verbs DEVICE DEVICE | ucx TRANSPORTS | ofi PROVIDER | ncclnet PLUGIN | tcp
//        [--seconds S] [--sizes N,...]
//   --seconds: of each figure; --sizes: bytes of the frames of which bandwidth is measured
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "perf/benchmarks/two_processes.h"
#include "src/transport/transport.h"
#include "transports/ncclnet/ncclnet.h"
#include "transports/tcp/tcp.h"
#include "transports/verbs/port.h"
#include "transports/verbs/verbs.h"
#ifdef TUTTI_HAS_UCX
#include "transports/ucx/ucx.h"
#endif
#ifdef TUTTI_HAS_OFI
#include "transports/ofi/ofi.h"
#endif

namespace tutti {
namespace {

constexpr std::size_t kUnderWayMax = 16;  // frames of one direction whose payloads are not at the peer
constexpr Nanoseconds kPatience = std::chrono::microseconds(50);  // of a stream, before it sleeps
constexpr int kPeers = 8;                                         // whose memory is measured
constexpr std::size_t kPeerBytes = 1 << 20;

struct Options {
  std::string transport;
  std::vector<std::string> where;  // devices, transports of UCX's, provider
  double seconds = 0.5;
  std::vector<std::size_t> sizes = {64 << 10, 1 << 20, 4 << 20};
};

// ---- A process

using Made = Result<std::unique_ptr<Transport>>;

Made make_tcp(const ProcessId& own) {
  TcpOptions tcp;
  tcp.process = own;
  tcp.host = *this_host_id();
  return make_tcp_transport(std::move(tcp));
}

template <typename Options>
Made make_fabric(const ProcessId& own, const char* host, Made (*make_it)(std::unique_ptr<Transport>, Options),
                 Options its) {
  auto control = make_tcp(own);
  if (!control) return control;
  its.fabric.process = own;
  its.fabric.host_name = host;
  return make_it(*std::move(control), std::move(its));
}

Made make_verbs(const Options& options, const ProcessId& own, bool is_first, SharedRegions& regions) {
  VerbsOptions verbs;
  verbs.process = own;
  verbs.host_name = is_first ? "first" : "second";
  verbs.devices = {options.where[is_first ? 0 : 1]};
  verbs.regions = &regions;
  verbs.make_control = [&own] { return make_tcp(own); };
  return make_verbs_transport(std::move(verbs));
}

Made make(const Options& options, const ProcessId& own, bool is_first, SharedRegions& regions) {
  if (options.transport == "verbs") return make_verbs(options, own, is_first, regions);
  if (options.transport == "tcp") return make_tcp(own);
  const char* const host = is_first ? "first" : "second";
  if (options.transport == "ncclnet")
    return make_fabric<NcclnetOptions>(own, host, &make_ncclnet_transport, {{}, options.where[0], {}});
#ifdef TUTTI_HAS_UCX
  if (options.transport == "ucx")
    return make_fabric<UcxOptions>(own, host, &make_ucx_transport, {{}, options.where[0]});
#endif
#ifdef TUTTI_HAS_OFI
  if (options.transport == "ofi")
    return make_fabric<OfiOptions>(own, host, &make_ofi_transport, {{}, options.where[0], {}});
#endif
  return Status(Code::unsupported, "this build has no transport " + options.transport);
}

// One of the two processes.
struct Side {
  bool first = false;
  int pipe = -1;
  ProcessId own = *new_process_id();
  SharedRegions regions;
  std::unique_ptr<Transport> transport;
  Link* link = nullptr;
  std::array<Event, 64> events;
  std::byte* out = nullptr;
  std::byte* in = nullptr;
  double seconds = 0;

  template <typename Take>
  void poll(const Take& take) {
    poll_once(*transport, events, take);
  }
  void drain() {
    while (!link->is_drained()) poll([](const Event&) {});
  }
  // Returns when both are here; what the other's last frames need from this process they get.
  void meet_polling() {
    drain();
    put(pipe, "", 1);
    for (char c = 0; recv(pipe, &c, 1, MSG_DONTWAIT) != 1;) poll([](const Event&) {});
  }
  // Sleeps until poll() has something to do.
  void wait() const {
    if (!transport->prepare_wait()) return;
    pollfd descriptor{transport->wait_descriptor(), POLLIN, 0};
    ::poll(&descriptor, 1, -1);
    transport->finish_wait();
  }
};

void connect(Side& side, const OtherSide& other) {
  const auto link =
      side.transport->connect(other.process, other.address, 0, monotonic_now() + std::chrono::seconds(30));
  if (!link) give_up(link.status().text());
}

void open_transport(Side& side, const Options& options) {
  auto made = make(options, side.own, side.first, side.regions);
  if (!made) give_up(made.status().text());
  side.transport = *std::move(made);
  const std::size_t largest = std::max(kPeerBytes, *std::max_element(options.sizes.begin(), options.sizes.end()));
  side.out = *side.regions.allocate(largest);
  side.in = *side.regions.allocate(largest);
  std::memset(side.out, 1, largest);
  std::memset(side.in, 2, largest);
  const OtherSide other = introduce(side.pipe, side.own, *side.transport);
  if (side.first) connect(side, other);
  while (side.link == nullptr) {
    side.poll([&](const Event& event) {
      if (event.kind == EventKind::connected) side.link = event.link;
    });
  }
}

// ---- Figures

// Runs `measure(count)`, which both processes do, with more and more until it takes long enough; its last result.
template <typename Measure>
auto repeat(Side& side, int count, const Measure& measure) {
  while (true) {
    meet(side.pipe);
    const Instant began = monotonic_now();
    const auto result = measure(count);
    int next = 0;
    if (side.first) {
      const double took = seconds_since(began);
      if (took < side.seconds) next = static_cast<int>(count * std::clamp(1.2 * side.seconds / took, 1.5, 16.0)) + 1;
      put(side.pipe, &next, sizeof next);
    } else {
      get(side.pipe, &next, sizeof next);
    }
    if (next == 0) return result;
    count = next;
  }
}

// Takes frames as the engine does: large payloads go to side.in. Says through `ended` which have come whole.
void take(Side& side, const Event& event, std::size_t& ended, std::size_t& under_way) {
  if (event.kind == EventKind::sent) --under_way;
  if (event.kind == EventKind::fetched) event.link->release(event.token), ++ended;
  if (event.kind != EventKind::delivery) return;
  if (event.data == nullptr && event.bytes > 0) {
    const FetchState state = event.link->fetch(event.token, side.in);
    if (state == FetchState::pending) return;
  } else if (event.bytes > 0) {
    std::memcpy(side.in, event.data, event.bytes);
  }
  event.link->release(event.token);
  ++ended;
}

struct Trip {
  double median_us = 0;
  double mean_us = 0;
};

// One way, from round trips.
Trip ping_pong(Side& side, std::size_t bytes, int rounds) {
  std::vector<double> trips;
  trips.reserve(static_cast<std::size_t>(rounds));
  std::size_t ended = 0;
  std::size_t under_way = 0;
  const auto send = [&] {
    ++under_way;
    SendState state = SendState::again;
    while ((state = side.link->send(Header{}, side.out, bytes, 0)) == SendState::again)
      side.poll([&](const Event& event) { take(side, event, ended, under_way); });
    if (state == SendState::copied) --under_way;
  };
  const Instant began = monotonic_now();
  for (std::size_t round = 1; round <= static_cast<std::size_t>(rounds); ++round) {
    const Instant start = monotonic_now();
    if (side.first) send();
    while (ended < round) side.poll([&](const Event& event) { take(side, event, ended, under_way); });
    if (!side.first) send();
    trips.push_back(seconds_since(start));
  }
  const double all = seconds_since(began);
  while (under_way > 0) side.poll([&](const Event& event) { take(side, event, ended, under_way); });
  side.meet_polling();
  return {1e6 * median(trips) / 2, 1e6 * all / rounds / 2};
}

struct Rate {
  double frames_per_second = 0;  // one direction
  double cpu_seconds = 0;        // of both processes, for all frames of both directions
};

// Frames one way, or both ways at the same time; ends when everything is at its place on both sides.
Rate stream(Side& side, std::size_t bytes, int frames, bool both_ways, bool sleeps) {
  const auto count = static_cast<std::size_t>(frames);
  const std::size_t to_send = side.first || both_ways ? count : 0;
  const std::size_t to_come = !side.first || both_ways ? count : 0;
  std::size_t sent = 0;
  std::size_t ended = 0;
  std::size_t under_way = 0;
  const double cpu = cpu_seconds();
  const Instant began = monotonic_now();
  Instant idle_since = began;
  while (sent < to_send || ended < to_come || under_way > 0) {
    bool moved = false;
    while (sent < to_send && under_way < kUnderWayMax) {
      const SendState state = side.link->send(Header{}, side.out, bytes, 0);
      if (state == SendState::again) break;
      if (state == SendState::pending) ++under_way;
      ++sent;
      moved = true;
    }
    side.poll([&](const Event& event) {
      take(side, event, ended, under_way);
      moved = true;
    });
    if (moved) {
      idle_since = monotonic_now();
    } else if (sleeps || monotonic_now() - idle_since > kPatience) {  // as the engine does
      side.wait();
    } else {
      sched_yield();
    }
  }
  side.meet_polling();
  const double seconds = seconds_since(began);
  double own = cpu_seconds() - cpu;
  double other = 0;
  put(side.pipe, &own, sizeof own);
  get(side.pipe, &other, sizeof other);
  return {frames / seconds, own + other};
}

// ---- Memory

// KiB of a line of /proc/self/status.
double own_kib(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::strtod(line.c_str() + name.size() + 1, nullptr);
  }
  return 0;
}

struct Memory {
  double resident_kib = 0;
  double pinned_kib = 0;
};

// What a peer more costs: the second process is kPeers more, each of which sends the first 1 MiB and keeps its link.
Memory memory_per_peer(Side& side, const Options& options) {
  std::vector<Side> peers(side.first ? 0 : kPeers);
  meet(side.pipe);
  const Memory before{own_kib("VmRSS"), own_kib("VmPin")};
  for (int i = 0; i < kPeers; ++i) {
    if (side.first) {
      const OtherSide unused = introduce(side.pipe, side.own, *side.transport);
      std::size_t ended = 0;
      std::size_t under_way = 0;
      while (ended < 1) side.poll([&](const Event& event) { take(side, event, ended, under_way); });
      meet(side.pipe);
      continue;
    }
    Side& peer = peers[static_cast<std::size_t>(i)];
    auto made = make(options, peer.own, false, side.regions);
    if (!made) give_up(made.status().text());
    peer.transport = *std::move(made);
    connect(peer, introduce(side.pipe, peer.own, *peer.transport));
    std::size_t ended = 0;
    std::size_t under_way = 1;
    while (under_way > 0) {
      peer.poll([&](const Event& event) {
        if (event.kind == EventKind::connected) {
          const SendState state = event.link->send(Header{}, side.out, kPeerBytes, 0);
          if (state == SendState::copied) under_way = 0;
          if (state == SendState::again || state == SendState::closed) give_up("a frame of 1 MiB was not taken");
        }
        take(peer, event, ended, under_way);
      });
    }
    meet(side.pipe);
  }
  return {(own_kib("VmRSS") - before.resident_kib) / kPeers, (own_kib("VmPin") - before.pinned_kib) / kPeers};
}

// ---- Registration, of verbs

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

// ---- All of it

void run(Side& side, const Options& options) {
  open_transport(side, options);
  const auto say = [&](const std::string& name, double value) {
    if (side.first) std::printf("%s %.6g\n", name.c_str(), value), std::fflush(stdout);
  };
  const Trip small = repeat(side, 100, [&](int rounds) { return ping_pong(side, 8, rounds); });
  say("latency_8_median_us", small.median_us);
  say("latency_8_mean_us", small.mean_us);
  const Rate rate = repeat(side, 1000, [&](int frames) { return stream(side, 8, frames, false, false); });
  say("rate_8_per_s", rate.frames_per_second);
  for (const std::size_t bytes : options.sizes) {
    const double megabyte = 1e-6 * static_cast<double>(bytes);
    const std::string size = format("{}", bytes);
    const Trip large = repeat(side, 4, [&](int rounds) { return ping_pong(side, bytes, rounds); });
    say("ping_pong_" + size + "_MBps", 1e6 * megabyte / large.mean_us);
    const Rate one = repeat(side, 16, [&](int frames) { return stream(side, bytes, frames, false, false); });
    say("one_way_" + size + "_MBps", megabyte * one.frames_per_second);
    const Rate both = repeat(side, 16, [&](int frames) { return stream(side, bytes, frames, true, false); });
    say("both_ways_" + size + "_MBps", 2 * megabyte * both.frames_per_second);
    double gigabytes = 0;
    const Rate asleep = repeat(side, 16, [&](int frames) {
      gigabytes = 1e-3 * megabyte * frames;
      return stream(side, bytes, frames, false, true);
    });
    say("cpu_" + size + "_s_per_GB", asleep.cpu_seconds / gigabytes);
  }
  const Memory memory = memory_per_peer(side, options);
  say("resident_KiB_per_peer", memory.resident_kib);
  say("pinned_KiB_per_peer", memory.pinned_kib);
}

Options parse(int count, char** words) {
  constexpr const char* kUsage =
      "usage: benchmark_fabrics verbs DEVICE DEVICE | ucx TRANSPORTS | ofi PROVIDER | ncclnet PLUGIN | tcp "
      "[--seconds S] [--sizes N,...]";
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if ((word == "--seconds" || word == "--sizes") && i + 1 == count) give_up(kUsage);
    if (word == "--seconds") {
      options.seconds = std::atof(words[++i]);
    } else if (word == "--sizes") {
      options.sizes.clear();
      for (char* next = words[++i]; *next != '\0'; next += *next == ',' ? 1 : 0) {
        options.sizes.push_back(std::strtoull(next, &next, 10));
        if (options.sizes.back() == 0) give_up(kUsage);
      }
    } else if (options.transport.empty()) {
      options.transport = word;
    } else {
      options.where.push_back(word);
    }
  }
  const std::size_t names = options.transport == "verbs" ? 2 : options.transport == "tcp" ? 0 : 1;
  if (options.transport.empty() || options.where.size() != names || options.sizes.empty()) give_up(kUsage);
  return options;
}

}  // namespace
}  // namespace tutti

int main(int count, char** words) {
  const tutti::Options options = tutti::parse(count, words);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) tutti::give_up("no socket pair");
  const pid_t child = fork();
  tutti::Side side;
  side.first = child != 0;
  side.pipe = ends[side.first ? 0 : 1];
  close(ends[side.first ? 1 : 0]);
  side.seconds = options.seconds;
  tutti::run(side, options);
  if (!side.first) {
    std::fflush(nullptr);
    _exit(0);  // not before the first has seen everything: it waits for the end of the pipe
  }
  waitpid(child, nullptr, 0);
  if (options.transport == "verbs") tutti::measure_registration(options.where[0]);
  std::fflush(nullptr);
  _exit(0);
}
