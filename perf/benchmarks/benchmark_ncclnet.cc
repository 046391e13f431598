// What a network plug-in of NCCL's costs by itself, between two processes on this host: a ping-pong of 8 bytes, and
// messages one way, eight under way, from and to registered memory, with no copy, no link and no frame. One line a
// figure, named as benchmark_fabrics names those of the transport over it; perf/fabrics/ncclnet sets them side by
// side.
//
// usage: benchmark_ncclnet PLUGIN [SECONDS]
#include <sys/wait.h>

#include <array>
#include <cstdint>

#include "perf/benchmarks/two_processes.h"
#include "transports/ncclnet/plugin.h"

namespace tutti {
namespace {

using ncclnet::Answer;
using ncclnet::Handle;
using ncclnet::Plugin;

constexpr std::size_t kLarge = 1 << 20;
constexpr std::size_t kUnderWay = 8;

struct Side {
  Plugin& plugin;
  bool is_first;
  int pipe;
  void* sender = nullptr;
  void* receiver = nullptr;
  std::vector<std::byte> out = std::vector<std::byte>(kLarge, std::byte{1});
  std::vector<std::byte> in = std::vector<std::byte>(kUnderWay * kLarge);
  void* out_registration = nullptr;
  void* in_registration = nullptr;

  void must(Answer answer, const char* call) const {
    if (answer != Answer::success) give_up(plugin.words_of(answer, call));
  }

  void connect(int device) {
    Handle own;
    Handle others;
    void* listener = nullptr;
    must(plugin.listen(device, own, &listener), "listen");
    put(pipe, own.bytes.data(), own.bytes.size());
    get(pipe, others.bytes.data(), others.bytes.size());
    while (sender == nullptr || receiver == nullptr) {
      if (sender == nullptr) must(plugin.connect(device, others, &sender), "connect");
      if (receiver == nullptr) must(plugin.accept(listener, &receiver), "accept");
    }
    must(plugin.close_listener(listener), "closeListen");
    must(plugin.register_memory(sender, out.data(), out.size(), &out_registration), "regMr");
    must(plugin.register_memory(receiver, in.data(), in.size(), &in_registration), "regMr");
  }

  void* start_send(std::size_t bytes) {
    void* request = nullptr;
    while (request == nullptr) must(plugin.send(sender, out.data(), bytes, out_registration, &request), "isend");
    return request;
  }
  void* start_receive(std::size_t place, std::size_t bytes) {
    void* request = nullptr;
    std::byte* const target = in.data() + place % kUnderWay * kLarge;
    while (request == nullptr) must(plugin.receive(receiver, target, bytes, in_registration, &request), "irecv");
    return request;
  }
  void finish(void* request) const {
    bool is_done = false;
    std::size_t bytes = 0;
    while (!is_done) must(plugin.test(request, &is_done, &bytes), "test");
  }
};

// Seconds for so many round trips; each side's first receive is posted before the other sends.
double ping_pong(Side& side, int rounds) {
  void* coming = side.start_receive(0, 8);
  meet(side.pipe);
  const Instant began = monotonic_now();
  for (int i = 0; i < rounds; ++i) {
    void* const request = side.is_first ? side.start_send(8) : nullptr;
    if (request != nullptr) side.finish(request);
    side.finish(coming);
    if (i + 1 < rounds) coming = side.start_receive(0, 8);
    if (!side.is_first) side.finish(side.start_send(8));
  }
  return seconds_since(began);
}

// Seconds for so many large messages from the first to the second, until it has them all.
double stream(Side& side, int count) {
  std::array<void*, kUnderWay> requests{};
  meet(side.pipe);
  const Instant began = monotonic_now();
  const auto messages = static_cast<std::size_t>(count);
  for (std::size_t i = 0; i < messages + kUnderWay; ++i) {
    void*& request = requests[i % kUnderWay];
    if (request != nullptr) side.finish(request);
    request = nullptr;
    if (i < messages) request = side.is_first ? side.start_send(kLarge) : side.start_receive(i, kLarge);
  }
  meet(side.pipe);
  return seconds_since(began);
}

void run(Side& side, double seconds) {
  // Both processes do the same number, which a short run says.
  const auto count_for = [&](double took, int tried) {
    int count = static_cast<int>(seconds / took * tried) + 1;
    side.is_first ? put(side.pipe, &count, sizeof count) : get(side.pipe, &count, sizeof count);
    return count;
  };
  const int rounds = count_for(ping_pong(side, 200), 200);
  const double latency = ping_pong(side, rounds) / rounds / 2;
  const int messages = count_for(stream(side, 16), 16);
  const double bandwidth = messages * static_cast<double>(kLarge) / stream(side, messages);
  if (!side.is_first) return;
  std::printf("latency_8_mean_us %.6g\none_way_%zu_MBps %.6g\n", 1e6 * latency, kLarge, 1e-6 * bandwidth);
}

}  // namespace
}  // namespace tutti

int main(int count, char** words) {
  if (count < 2) tutti::give_up("usage: benchmark_ncclnet PLUGIN [SECONDS]");
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) tutti::give_up("no socket pair");
  const pid_t child = fork();
  const auto plugin = tutti::ncclnet::Plugin::load(words[1]);
  if (!plugin) tutti::give_up(plugin.status().text());
  const auto devices = (*plugin)->devices({});
  if (!devices) tutti::give_up(devices.status().text());
  tutti::Side side{**plugin, child != 0, ends[child != 0 ? 0 : 1]};
  side.connect(devices->front().index);
  tutti::run(side, count > 2 ? std::atof(words[2]) : 0.5);
  if (child != 0) waitpid(child, nullptr, 0);
  return 0;
}
