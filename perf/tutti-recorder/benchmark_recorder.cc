// What the flight recorder costs an operation, without reading the clock.
#include <benchmark/benchmark.h>

#include "src/diagnosis/recorder.h"

namespace tutti {
namespace {

std::unique_ptr<Recorder> open_for_benchmark(bool enabled) {
  RecorderOptions options;
  options.enabled = enabled;
  options.library_version = "benchmark";
  options.process.high = 0xbe7c4;
  return Recorder::open(options, monotonic_now(), Log());
}

void small_operation(benchmark::State& state) {
  const auto recorder = open_for_benchmark(state.range(0) != 0);
  const auto peers = state.range(1);
  Instant now = monotonic_now();
  RecordedOperation what;
  what.kind = OperationKind::all_reduce;
  what.communicator = 1;
  RecordedPeer peer;
  peer.direction = Direction::receive;
  peer.bytes = 8;
  constexpr ShortName kAlgorithm("direct");
  while (state.KeepRunning()) {
    now += Nanoseconds(1);
    ++what.number;
    const auto operation = recorder->begin_operation(what, now);
    recorder->start_operation(operation, kAlgorithm, 1, now);
    for (std::int64_t i = 0; i < peers; ++i) {
      peer.rank = static_cast<std::int32_t>(i);
      const auto moved = recorder->begin_peer(operation, peer, now);
      recorder->peer_moved(moved, 8, now);
      recorder->end_peer(moved, Code::ok);
    }
    recorder->end_operation(operation, Code::ok, Status::kNobody, now);
  }
}
BENCHMARK(small_operation)->ArgNames({"file", "peers"})->Args({1, 0})->Args({1, 1})->Args({1, 3})->Args({0, 1});

}  // namespace
}  // namespace tutti
