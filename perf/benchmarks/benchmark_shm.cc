// What shared memory costs between two processes, each pinned to a core of its own: latency and rate of 8-byte
// frames, bandwidth of large ones by each way of moving them, an idle poll, and a round on a board. Medians of
// several repetitions; all figures of one run belong together. Usage: benchmark_shm [repetitions]
#include <sched.h>
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
#include <vector>

#include "perf/benchmarks/two_processes.h"
#include "src/transport/board.h"
#include "transports/shm/shm.h"

namespace tutti {
namespace {

constexpr std::size_t kAddressBytesMax = 512;

std::unique_ptr<Transport> make(const ProcessId& process, ShmCopyMode mode, SharedRegions* regions) {
  ShmOptions options;
  options.process = process;
  options.host = HostId{{1, 1}};
  options.copy_mode = mode;
  options.regions = regions;
  auto made = make_shm_transport(std::move(options));
  if (!made) give_up(made.status().text());
  return std::move(*made);
}

// One of the two processes.
struct Side {
  SharedRegions regions;
  std::unique_ptr<Transport> transport;
  Link* link = nullptr;
  int pipe = -1;
  bool first = false;
  ShmCopyMode mode = ShmCopyMode::staging;
  std::array<Event, 16> events;

  // Polls until `done`, handing each delivery to `take`.
  void run(const std::function<bool()>& done, const std::function<void(Event&)>& take) {
    while (!done()) {
      const std::size_t count = transport->poll(events, monotonic_now());
      for (std::size_t i = 0; i < count; ++i) {
        if (events[i].kind == EventKind::connected) link = events[i].link;
        if (events[i].kind == EventKind::closed) give_up(events[i].link->status().text());
        if (events[i].kind == EventKind::delivery || events[i].kind == EventKind::sent) take(events[i]);
      }
    }
  }

  void connect() {
    std::array<std::byte, kAddressBytesMax> other{};
    const auto own = transport->address();
    if (write(pipe, own.data(), own.size()) < 0) give_up("cannot pass an address");
    const ssize_t got = read(pipe, other.data(), other.size());
    if (got <= 0) give_up("no address came");
    if (first) {
      const auto connected =
          transport->connect(ProcessId{{2, 2}}, std::span(other).first(static_cast<std::size_t>(got)), 0,
                             monotonic_now() + std::chrono::seconds(10));
      if (!connected) give_up(connected.status().text());
    }
    run([&] { return link != nullptr; }, [](Event&) {});
  }

  void send(const std::byte* payload, std::size_t bytes) {
    while (link->send(Header{}, payload, bytes, 0) == SendState::again) {
      run([polls = 0]() mutable { return polls++ > 0; }, [](Event&) {});
    }
  }
};

// One way, in ns: half of a frame there and one back.
double ping_pong(Side& side) {
  constexpr int kRounds = 20'000;
  std::uint64_t word = 0;
  int received = 0;
  const auto take = [&](Event& event) {
    if (event.kind != EventKind::delivery) return;
    std::memcpy(&word, event.data, sizeof word);
    side.link->release(event.token);
    ++received;
  };
  const Instant begin = monotonic_now();
  for (int round = 0; round < kRounds; ++round) {
    if (side.first) side.send(reinterpret_cast<const std::byte*>(&word), sizeof word);
    side.run([&] { return received > round; }, take);
    if (!side.first) side.send(reinterpret_cast<const std::byte*>(&word), sizeof word);
  }
  return seconds_since(begin) * 1e9 / kRounds / 2;
}

// Frames of `bytes` out of a buffer of `span`, one after the other; the receiver copies each to its own buffer. In
// bytes (or, for 8-byte frames, by division: frames) per second; from the first frame to the last answer.
double stream(Side& side, std::byte* buffer, std::size_t span, std::size_t bytes, std::size_t total) {
  const std::size_t frames = total / bytes;
  std::size_t received = 0;
  std::size_t outstanding = 0;
  bool answered = false;
  const auto take = [&](Event& event) {
    if (event.kind == EventKind::sent) {
      --outstanding;
      return;
    }
    std::byte* const target = buffer + received % (span / bytes) * bytes;
    if (side.first) {
      answered = true;
    } else if (!event.data && event.bytes > 0) {
      if (side.link->fetch(event.token, target) != FetchState::done) give_up("a fetch did not work");
    } else if (event.data != nullptr) {
      std::memcpy(target, event.data, event.bytes);
    }
    ++received;
    side.link->release(event.token);
  };
  const Instant begin = monotonic_now();
  if (side.first) {
    for (std::size_t i = 0; i < frames;) {
      const SendState state = side.link->send(Header{}, buffer + i % (span / bytes) * bytes, bytes, 0);
      outstanding += state == SendState::pending ? 1 : 0;
      i += state != SendState::again ? 1 : 0;
      if (state == SendState::again || outstanding > 4) {
        side.run([&, polls = 0]() mutable { return polls++ > 0 && outstanding <= 4; }, take);
      }
    }
    side.run([&] { return answered && outstanding == 0; }, take);
  } else {
    side.run([&] { return received == frames; }, take);
    side.send(nullptr, 0);
  }
  return static_cast<double>(total) / seconds_since(begin);
}

// Both sides at once: each makes its next frame (adds to what lies there, as a reduction step would have), sends it,
// and adds each frame that comes to a buffer of its own. In bytes per second and direction.
double exchange(Side& side, std::byte* source, std::byte* target, std::size_t span, std::size_t bytes,
                std::size_t total) {
  static std::vector<std::byte> scratch(std::size_t{1} << 20);
  const std::size_t frames = total / bytes;
  const std::size_t places = span / bytes;
  std::size_t sent = 0;
  std::size_t ended = 0;
  std::size_t received = 0;
  bool made = false;
  const auto add = [&](std::byte* to, const std::byte* from) {
    auto* const sums = reinterpret_cast<float*>(to);
    const auto* const terms = reinterpret_cast<const float*>(from);
    for (std::size_t i = 0; i < bytes / sizeof(float); ++i) sums[i] += terms[i];
  };
  const auto take = [&](Event& event) {
    if (event.kind == EventKind::sent) {
      ++ended;
      return;
    }
    const std::byte* data = event.data;
    if (!data) {
      if (side.link->fetch(event.token, scratch.data()) != FetchState::done) give_up("a fetch did not work");
      data = scratch.data();
    }
    add(target + received++ % places * bytes, data);
    side.link->release(event.token);
  };
  const Instant begin = monotonic_now();
  while (ended < frames || received < frames) {
    if (sent < frames && sent - ended < 2 && sent < received + 4) {
      std::byte* const frame = source + sent % places * bytes;
      if (!made) add(frame, target + sent % places * bytes);
      const SendState state = side.link->send(Header{}, frame, bytes, 0);
      made = state == SendState::again;
      sent += made ? 0 : 1;
      ended += state == SendState::copied ? 1 : 0;
    }
    side.run([polls = 0]() mutable { return polls++ > 0; }, take);
  }
  return static_cast<double>(total) / seconds_since(begin);
}

// A round on a board: both publish 8 bytes and read the other's. In ns.
double board_round(Side& side, std::uint64_t& sequence) {
  constexpr int kRounds = 50'000;
  const std::uint32_t self = side.first ? 0 : 1;
  std::vector<std::byte*> parts(2);
  parts[self] = side.transport->segment();
  parts[1 - self] = side.link->segment();
  static std::unique_ptr<Board> board;
  if (!board) board = std::make_unique<Board>(parts, self, 64, 1);
  std::uint64_t sum = 0;
  const Instant begin = monotonic_now();
  for (int round = 0; round < kRounds; ++round) {
    ++sequence;
    std::byte* target = nullptr;
    while ((target = board->begin(sequence)) == nullptr) {
    }
    std::memcpy(target, &sequence, sizeof sequence);
    board->publish(sequence, Header{}, sizeof sequence);
    while (board->peek(1 - self, sequence) == nullptr) {
    }
    std::uint64_t word = 0;
    std::memcpy(&word, board->payload_of(1 - self, sequence), sizeof word);
    sum += word;
    board->consume(sequence);
  }
  if (sum == 0) give_up("nothing was read from the board");
  return seconds_since(begin) * 1e9 / kRounds;
}

// An idle poll of a transport with `peers` links, in ns.
double idle_poll(int peers) {
  const auto self = make(ProcessId{{100, 0}}, ShmCopyMode::staging, nullptr);
  std::vector<std::unique_ptr<Transport>> others;
  std::array<Event, 16> events;
  int connected = 0;
  for (int i = 0; i < peers; ++i) {
    const ProcessId id{{101, static_cast<std::uint64_t>(i)}};
    others.push_back(make(id, ShmCopyMode::staging, nullptr));
    if (!self->connect(id, others.back()->address(), 0, kNever)) give_up("no link");
  }
  while (connected < peers) {
    connected += static_cast<int>(self->poll(events, monotonic_now()));
    for (const auto& other : others) other->poll(events, monotonic_now());
  }
  std::vector<double> results;
  constexpr int kPolls = 100'000;
  const Instant now = monotonic_now();
  for (int repetition = 0; repetition < 9; ++repetition) {
    const Instant begin = monotonic_now();
    for (int i = 0; i < kPolls; ++i) self->poll(events, now);
    results.push_back(seconds_since(begin) * 1e9 / kPolls);
  }
  return median(results);
}

void measure(Side& side, int repetitions) {
  const auto report = [&](const char* what, const char* unit, double scale, const std::function<double()>& once) {
    std::vector<double> results;
    for (int i = 0; i < repetitions; ++i) results.push_back(once() * scale);
    if (side.first) {
      std::printf("  %-48s %9.2f %s (best %.2f)\n", what, median(results), unit,
                  std::strcmp(unit, "ns") == 0 ? *std::min_element(results.begin(), results.end())
                                               : *std::max_element(results.begin(), results.end()));
      std::fflush(stdout);
    }
  };
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  const bool cross_memory = side.mode == ShmCopyMode::cross_memory;
  std::vector<std::byte> own(64 * kMiB, std::byte{1});
  if (!cross_memory) {
    std::vector<std::byte> small(8);
    std::uint64_t sequence = 0;
    report("8 B, one way", "ns", 1, [&] { return ping_pong(side); });
    report("8 B, rate", "M/s", 1e-6 / 8, [&] { return stream(side, small.data(), 8, 8, 8 * 500'000); });
    report("4 KiB, stream", "GB/s", 1e-9, [&] { return stream(side, own.data(), kMiB, 4096, 64 * kMiB); });
    report("board, a round of 8 B", "ns", 1, [&] { return board_round(side, sequence); });
  }
  auto* const region = *side.regions.allocate(64 * kMiB);
  std::memset(region, 0, 64 * kMiB);
  std::vector<std::byte> target(64 * kMiB);
  const char* const how = cross_memory ? "cross-memory" : "staging";
  for (const bool cached : {true, false}) {
    for (const std::size_t bytes : {kMiB / 16, kMiB / 4, kMiB}) {
      const std::size_t span = cached ? 8 * bytes : 64 * kMiB;
      const auto name = [&](const char* what, const char* path) {
        return format("{}, {}, {} out of {}", what, path, format_bytes(bytes), format_bytes(span));
      };
      const std::size_t total = 256 * kMiB;
      report(name("stream", how).c_str(), "GB/s", 1e-9, [&] { return stream(side, own.data(), span, bytes, total); });
      report(name("exchange", how).c_str(), "GB/s", 1e-9,
             [&] { return exchange(side, own.data(), target.data(), span, bytes, total); });
      if (cross_memory) continue;
      report(name("stream", "region").c_str(), "GB/s", 1e-9,
             [&] { return stream(side, side.first ? region : own.data(), span, bytes, total); });
      report(name("exchange", "region").c_str(), "GB/s", 1e-9,
             [&] { return exchange(side, region, target.data(), span, bytes, total); });
    }
  }
}

void pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  sched_setaffinity(0, sizeof set, &set);
}

// Two processes with links that move large payloads by `mode`.
void compare(ShmCopyMode mode, int repetitions) {
  std::array<int, 2> pipes{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pipes.data()) != 0) give_up("no socket pair");
  const pid_t child = fork();
  Side side;
  side.first = child != 0;
  side.mode = mode;
  pin(side.first ? 0 : 1);
  side.pipe = pipes[side.first ? 0 : 1];
  close(pipes[side.first ? 1 : 0]);
  side.transport = make(side.first ? ProcessId{{1, 1}} : ProcessId{{2, 2}}, mode, &side.regions);
  side.connect();
  measure(side, repetitions);
  if (!side.first) {
    char end = 0;
    [[maybe_unused]] const ssize_t got = read(side.pipe, &end, 1);
    std::_Exit(0);
  }
  close(side.pipe);
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace tutti

int main(int argc, char** argv) try {
  const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  std::printf("two processes, a core each\n");
  tutti::compare(tutti::ShmCopyMode::staging, repetitions);
  tutti::compare(tutti::ShmCopyMode::cross_memory, repetitions);
  std::printf("one process\n");
  for (const int peers : {1, 7}) std::printf("  idle poll, %d peers %37.2f ns\n", peers, tutti::idle_poll(peers));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "benchmark_shm: %s\n", error.what());
  return 1;
}
