// How near reductions come to the speed of memory: every type and operator, with 2, 4 and 8 sources, for targets of
// 64 KiB to 128 MiB, next to memcpy and to the loop a += b that a program would write itself. Bytes per second count
// every byte read and written once: (sources + 1) * target. Also the latency of tiny reductions.
//
//   benchmark_reduce --benchmark_filter='^(memcpy|plain_add|reduce/(float32|bfloat16)/sum)' --benchmark_repetitions=5
//
// The machine's speed drifts: compare rows of one run only.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "src/base/random.h"
#include "src/memory/reduce.h"

namespace tutti {
namespace {

constexpr std::size_t kSizes[] = {64u << 10, 1u << 20, 16u << 20, 128u << 20};

// Values between 1 and 2 for the float types, so that nothing becomes subnormal or infinite; any bits for integers.
std::uint64_t ordinary_bits(DataType type, Random& random) {
  const std::uint64_t bits = random.next();
  switch (type) {
    case DataType::float16:
      return 0x3c00 | (bits & 0x3ff);
    case DataType::bfloat16:
      return 0x3f80 | (bits & 0x7f);
    case DataType::float32:
      return 0x3f800000 | (bits & 0x7fffff);
    case DataType::float64:
      return (std::uint64_t{0x3ff} << 52) | (bits >> 12);
    case DataType::float8_e4m3:
      return 0x38 | (bits & 7);
    case DataType::float8_e5m2:
      return 0x3c | (bits & 3);
    default:
      return bits;
  }
}

using Buffer = std::vector<std::byte>;

Buffer operands(DataType type, std::size_t bytes, std::uint64_t seed) {
  Random random(seed);
  Buffer buffer(bytes);
  const std::size_t pattern = std::min<std::size_t>(bytes, 65536);
  for (std::size_t at = 0; at + size_of(type) <= pattern; at += size_of(type)) {
    const std::uint64_t bits = ordinary_bits(type, random);
    std::memcpy(buffer.data() + at, &bits, size_of(type));
  }
  for (std::size_t at = pattern; at < bytes; at += pattern) {
    std::memcpy(buffer.data() + at, buffer.data(), std::min(pattern, bytes - at));
  }
  return buffer;
}

void count_bytes(benchmark::State& state, std::size_t bytes) {
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(bytes));
}

void run_memcpy(benchmark::State& state, std::size_t bytes) {
  const Buffer source = operands(DataType::uint8, bytes, 1);
  Buffer target(bytes);
  while (state.KeepRunning()) {
    std::memcpy(target.data(), source.data(), bytes);
    benchmark::ClobberMemory();
  }
  count_bytes(state, 2 * bytes);
}

void run_copy(benchmark::State& state, std::size_t bytes) {
  const Buffer source = operands(DataType::uint8, bytes, 1);
  Buffer target(bytes);
  while (state.KeepRunning()) {
    copy(target.data(), source.data(), bytes, true);
    benchmark::ClobberMemory();
  }
  count_bytes(state, 2 * bytes);
}

void run_plain_add(benchmark::State& state, std::size_t bytes) {
  const std::size_t count = bytes / sizeof(float);
  std::vector<float> a(count, 1.0f);
  const std::vector<float> b(count, 1e-6f);
  while (state.KeepRunning()) {
    float* const to = a.data();
    const float* const from = b.data();
    for (std::size_t i = 0; i < count; ++i) to[i] += from[i];
    benchmark::ClobberMemory();
  }
  count_bytes(state, 3 * bytes);
}

void run_reduce(benchmark::State& state, Reduction reduction, std::size_t source_count, std::size_t bytes,
                bool in_place) {
  std::vector<Buffer> buffers;
  std::vector<const std::byte*> sources;
  for (std::size_t s = 0; s < source_count; ++s) buffers.push_back(operands(reduction.type, bytes, s + 1));
  for (const Buffer& buffer : buffers) sources.push_back(buffer.data());
  Buffer apart(bytes);
  std::byte* const to = in_place ? buffers[0].data() : apart.data();
  const std::size_t count = bytes / size_of(reduction.type);
  while (state.KeepRunning()) {
    reduce(reduction, to, sources, count);
    benchmark::ClobberMemory();
  }
  count_bytes(state, (source_count + 1) * bytes);
}

void register_all() {
  for (const std::size_t bytes : kSizes) {
    const std::string size = "/" + std::to_string(bytes >> 10) + "KiB";
    benchmark::RegisterBenchmark(("memcpy" + size).c_str(), run_memcpy, bytes);
    benchmark::RegisterBenchmark(("copy_streaming" + size).c_str(), run_copy, bytes);
    benchmark::RegisterBenchmark(("plain_add" + size).c_str(), run_plain_add, bytes);
  }
  for (int t = 0; t < kDataTypes; ++t) {
    for (int o = 0; o < kReduceOps; ++o) {
      Reduction reduction{static_cast<DataType>(t), static_cast<ReduceOp>(o)};
      if (!supports(reduction.type, reduction.op)) continue;
      if (reduction.op == ReduceOp::average) reduction.divisor = 7;
      const std::string prefix =
          "reduce/" + std::string(name(reduction.type)) + "/" + std::string(name(reduction.op));
      for (const std::size_t count : {1, 8, 64}) {
        const std::string label = prefix + "/2/" + std::to_string(count) + "_elements";
        benchmark::RegisterBenchmark(label.c_str(), run_reduce, reduction, 2, count * size_of(reduction.type), false);
      }
      for (const std::size_t sources : {2, 4, 8}) {
        for (const std::size_t bytes : kSizes) {
          const std::string label =
              prefix + "/" + std::to_string(sources) + "/" + std::to_string(bytes >> 10) + "KiB";
          benchmark::RegisterBenchmark(label.c_str(), run_reduce, reduction, sources, bytes, false);
          benchmark::RegisterBenchmark((label + "/in_place").c_str(), run_reduce, reduction, sources, bytes, true);
          Reduction streaming = reduction;
          streaming.streaming = true;
          benchmark::RegisterBenchmark((label + "/streaming").c_str(), run_reduce, streaming, sources, bytes, false);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tutti

int main(int argc, char** argv) {
  tutti::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
